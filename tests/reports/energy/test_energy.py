from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from power_curves import (
    LEAD_S,
    FloatArray,
    Load,
    Sensor,
    look,
    make_curve,
    make_load,
    rail_map_of,
    run_trial,
)

from reports.energy.energy import Energy, back_to_back, measure_energy, why_not_comparable
from reports.energy.window import recommended_window_s
from reports.results.power import Channel, Rail, RailMap

Trace = dict[str, tuple[FloatArray, FloatArray]]
WINDOW = (100.0, 120.0)


def _power_rail(name: str = "VDD_IN", channel: str = "p", **fields: object) -> Rail:
    rail = Rail(name=name, kind="power", channels=(Channel(id=channel, unit="mW"),), tolerance=0.02)
    return replace(rail, **fields)  # type: ignore[arg-type]


def _steady(power_w: float = 5.0, rate_hz: float = 20.0, until_s: float = 130.0) -> FloatArray:
    times_s = np.arange(90.0, until_s, 1 / rate_hz)
    return np.stack([times_s, np.full_like(times_s, power_w * 1e3)])


def _trace(**channels: FloatArray) -> Trace:
    return {name: (series[0], series[1]) for name, series in channels.items()}


def _marks(iteration_s: float = 0.037, window: tuple[float, float] = WINDOW) -> FloatArray:
    count = int((window[1] - window[0]) / iteration_s)
    return back_to_back(window[0], [iteration_s] * count)


def test_a_steady_load_repeats_honestly() -> None:
    held = _power_rail(update_interval_s=0.1)
    energy = measure_energy(_trace(p=_steady()), rail_map_of(held), WINDOW, iterations=_marks())
    assert energy.status == "ok", energy.reason
    assert energy.samples == pytest.approx(200, abs=2)
    assert energy.mean_power_w is not None
    assert energy.mean_power_w.value == pytest.approx(5.0, rel=1e-9)


def test_held_values_count_once() -> None:
    times_s = np.arange(90.0, 130.0, 0.01)
    values = 5000 + 100 * (np.floor(times_s / 0.5).astype(int) % 7)
    rail = _power_rail(update_interval_s=0.5)
    energy = measure_energy({"p": (times_s, values)}, rail_map_of(rail), WINDOW)
    assert energy.status == "invalid"
    assert "too few samples: 40" in (energy.reason or "") or "41" in (energy.reason or "")
    assert "min_window_s" in (energy.remedy or "")


def test_a_short_window_says_how_long_it_must_be() -> None:
    rail_map = rail_map_of(_power_rail(conversion="average", update_interval_s=2.0))
    energy = measure_energy(_trace(p=_steady()), rail_map, (100.0, 102.0))
    assert energy.status == "invalid"
    assert energy.reason == "energy not measured: window too short (2 s)"
    assert "24 s" in (energy.remedy or "")
    assert energy.gross_j is None


def test_a_throttled_window_is_invalid_with_the_evidence() -> None:
    rail_map = rail_map_of(_power_rail())
    energy = measure_energy(_trace(p=_steady()), rail_map, WINDOW, throttled="oc2 +3")
    assert (energy.status, "oc2 +3" in (energy.reason or "")) == ("invalid", True)


def test_a_cut_window_is_invalid() -> None:
    rail_map = rail_map_of(_power_rail())
    ended = measure_energy(_trace(p=_steady(until_s=115.0)), rail_map, WINDOW)
    assert ended.status == "invalid"
    assert "cut window" in (ended.reason or "")
    times_s, values = _steady()
    away = (times_s < 105) | (times_s > 108)
    broken = measure_energy({"p": (times_s[away], values[away])}, rail_map, WINDOW)
    assert "not read for 3" in (broken.reason or "")


def test_a_missing_rail_makes_the_total_missing_and_never_a_partial_sum() -> None:
    rails = (_power_rail("A", "a"), _power_rail("B", "b"))
    energy = measure_energy(_trace(a=_steady()), rail_map_of(*rails), WINDOW)
    assert energy.status == "missing"
    assert "rail B" in (energy.reason or "")
    assert energy.gross_j is None
    by_name = {rail.name: rail for rail in energy.rails}
    assert by_name["A"].energy_j is not None
    assert by_name["B"].energy_j is None


def test_a_rail_that_the_map_names_but_does_not_have_is_missing() -> None:
    rail_map = replace(
        rail_map_of(_power_rail()),
        total=("VDD_IN", "VDD_5V"),
        missing=("VDD_5V; permission denied; sudo chmod a+r",),
    )
    energy = measure_energy(_trace(p=_steady()), rail_map, WINDOW)
    assert energy.status == "missing"
    assert "permission denied" in (energy.reason or "")


def test_no_power_source_is_missing_with_the_reason_of_the_probe() -> None:
    rail_map = RailMap(
        source="none", scope="", rule="", total=(), rails=(), missing=("rapl; EACCES; run as root",)
    )
    energy = measure_energy({}, rail_map, WINDOW)
    assert (energy.status, energy.reason) == ("missing", "rapl; EACCES; run as root")


def test_rails_of_the_total_are_added_and_others_are_not() -> None:
    rails = (_power_rail("A", "a"), _power_rail("B", "b"), _power_rail("NESTED", "n"))
    rail_map = replace(rail_map_of(*rails), total=("A", "B"))
    trace = _trace(a=_steady(3.0), b=_steady(2.0), n=_steady(1.0))
    energy = measure_energy(trace, rail_map, WINDOW)
    assert energy.gross_j is not None
    assert energy.gross_j.value == pytest.approx(100.0)
    assert [rail.name for rail in energy.rails] == ["A", "B", "NESTED"]


def test_every_figure_follows_from_gross_idle_and_the_marks() -> None:
    marks = _marks(0.04)
    trace = _trace(p=_steady(5.0, rate_hz=21.7))
    times_s, raw = trace["p"]
    raw[times_s < 100] = 2000.0
    raw[times_s >= 120] = 2040.0
    energy = measure_energy(
        trace,
        rail_map_of(_power_rail()),
        WINDOW,
        iterations=marks,
        loops=2,
        idle=((91.0, 99.0), (121.0, 129.0)),
    )
    assert energy.status == "ok", energy.reason
    assert energy.iterations == 1000
    for figure, value in (
        (energy.gross_j, 100.0),
        (energy.idle_power_w, 2.02),
        (energy.net_j, 100.0 - 40.4),
        (energy.per_iteration_j, 0.1),
        (energy.net_per_iteration_j, 0.0596),
        (energy.mean_power_w, 5.0),
    ):
        assert figure is not None
        assert figure.value == pytest.approx(value, rel=1e-6)
    assert energy.gross_j is not None
    assert energy.gross_j.systematic_u95 == pytest.approx(2.0)
    assert energy.idle_power_w is not None
    assert energy.idle_power_w.random_u95 >= 0.02
    assert not any("idle" in flag for flag in energy.flags)


def test_idle_power_that_changed_is_flagged() -> None:
    trace = _trace(p=_steady(5.0))
    times_s, raw = trace["p"]
    raw[times_s < 100], raw[times_s >= 120] = 2000.0, 2200.0
    energy = measure_energy(
        trace, rail_map_of(_power_rail()), WINDOW, idle=((91.0, 99.0), (121.0, 129.0))
    )
    assert any("idle power changed by 10%" in flag for flag in energy.flags)


def test_net_is_missing_without_idle_readings() -> None:
    rail_map = rail_map_of(_power_rail())
    energy = measure_energy(_trace(p=_steady()), rail_map, WINDOW, idle=((10.0, 20.0),))
    assert energy.status == "ok"
    assert energy.net_j is None
    assert any("net energy is missing" in flag for flag in energy.flags)


def test_edges_are_interpolated_and_not_clipped() -> None:
    times_s = np.arange(90.0, 130.0, 0.07)
    ramp = {"p": (times_s, (times_s - 90) * 1e3)}
    window = (100.013, 119.987)
    energy = measure_energy(ramp, rail_map_of(_power_rail()), window)
    assert energy.gross_j is not None
    exact_j = ((window[1] - 90) ** 2 - (window[0] - 90) ** 2) / 2
    assert energy.gross_j.value == pytest.approx(exact_j, rel=1e-5)


def test_volts_and_amperes_are_paired_by_time_and_unit() -> None:
    times_s = np.arange(90.0, 130.0, 0.05)
    volts_mv = np.where(times_s < 110, 5000.0, 4000.0)
    rail = Rail(
        name="VDD_IN",
        kind="volt_amp",
        channels=(Channel(id="i", unit="mA"), Channel(id="v", unit="mV")),
    )
    trace = {"v": (times_s, volts_mv), "i": (times_s + 0.004, np.full_like(times_s, 1000.0))}
    energy = measure_energy(trace, rail_map_of(rail), WINDOW)
    assert energy.gross_j is not None
    assert energy.gross_j.value == pytest.approx(90.0, rel=3e-3)
    assert any("tolerance unknown" in flag for flag in energy.flags)


def test_without_marks_a_restless_load_is_too_uncertain_at_few_samples() -> None:
    rng = np.random.default_rng(5)
    load = make_load(make_curve("square", rng), 0.05, 20.0, rng)
    trace, rail_map = look(load, Sensor(kind="on read", rate_hz=10.0), rng)
    energy = measure_energy(trace, rail_map, load.window)
    assert energy.status == "invalid"
    assert "too uncertain" in (energy.reason or "")


def test_estimators_that_disagree_are_flagged() -> None:
    # Slow beat: reads 1 % longer than the iteration pass its phases once and a bit in 110 reads.
    times_s = np.arange(90.0, 130.0, 0.101)
    window = (100.0, 113.5)
    marks = _marks(0.1, window)
    values = 4000 + 6000 * ((times_s - 100.0) / 0.1 % 1.0) ** 4
    trace = {"p": (times_s, values)}
    energy = measure_energy(trace, rail_map_of(_power_rail()), window, iterations=marks)
    assert energy.method == "folded"
    assert energy.gross_j is not None
    assert energy.gross_j.value == pytest.approx(5.2 * 13.5, rel=0.01)
    assert any("the plain and the primary estimate differ" in flag for flag in energy.flags)


def test_a_steady_load_between_idle_is_valid_on_a_held_sensor() -> None:
    trace = _trace(p=_steady(5.0))
    times_s, raw = trace["p"]
    raw[(times_s < 100) | (times_s >= 120)] = 2000.0
    rail_map = rail_map_of(_power_rail(update_interval_s=0.1))
    energy = measure_energy(trace, rail_map, WINDOW, iterations=_marks())
    assert energy.status == "ok", energy.reason
    assert energy.mean_power_w is not None
    assert energy.mean_power_w.value == pytest.approx(5.0, rel=0.005)


def _ok(scope: str = "board input", source: str = "ina", rail: str = "VDD_IN") -> Energy:
    rail_map = rail_map_of(_power_rail(rail), source=source, scope=scope)
    return measure_energy(_trace(p=_steady()), rail_map, WINDOW)


def test_figures_of_one_sensor_and_scope_are_comparable() -> None:
    assert why_not_comparable(_ok(), _ok()) is None


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (_ok(scope="package"), "scope"),
        (_ok(source="tegrastats"), "sensor"),
        (_ok(rail="VDD_CPU"), "rails"),
        (measure_energy({}, rail_map_of(_power_rail()), WINDOW), "missing"),
    ],
)
def test_figures_of_other_scope_or_sensor_are_never_compared(other: Energy, word: str) -> None:
    assert word in (why_not_comparable(_ok(), other) or "")
    assert word in (why_not_comparable(other, _ok()) or "")


def test_the_recommended_window_follows_the_slowest_rail() -> None:
    nano = _power_rail(conversion="average", update_interval_s=0.43)
    assert recommended_window_s(rail_map_of(nano)) == 10.0
    slow = _power_rail("VDD_CPU", conversion="average", update_interval_s=2.0)
    assert recommended_window_s(rail_map_of(nano, slow)) == 24.0
    assert recommended_window_s(rail_map_of(_power_rail())) == 20.0


def test_a_nano_gives_energy_in_ten_seconds() -> None:
    sensor = Sensor(kind="average", rate_hz=1 / 0.43, rounding="ina3221", reads_per_update=4)
    trial = run_trial("square", sensor, 0.2, 10.2, seed=1)
    assert trial.ok, trial.energy.reason
    assert trial.energy.method == "conversions"
    assert 18 <= trial.energy.samples <= 24
    assert trial.error < 0.01


def test_loops_are_folded_into_single_iterations() -> None:
    rng = np.random.default_rng(2)
    load = make_load(make_curve("square", rng), 0.02, 20.0, rng, jitter=0.0)
    trace, rail_map = look(load, Sensor(kind="on read", rate_hz=50.0), rng)
    count = load.starts_s.size // 10 * 10
    marks = np.stack([load.starts_s[:count:10], load.ends_s[9:count:10]], axis=1)
    window = (float(marks[0, 0]), float(marks[-1, 1]))
    energy = measure_energy(trace, rail_map, window, iterations=marks, loops=10)
    assert energy.iterations == count
    assert energy.per_iteration_j is not None
    true_j = 0.02 * load.curve.mean_w
    assert energy.per_iteration_j.value == pytest.approx(true_j, rel=0.005)
    assert abs(energy.per_iteration_j.value - true_j) <= energy.per_iteration_j.random_u95


def test_pauses_between_iterations_stay_out_of_the_energy() -> None:
    sensor = Sensor(kind="on read", rate_hz=50.0)
    trial = run_trial("square", sensor, 0.1, 20.0, seed=3, pauses=True)
    assert trial.ok, trial.energy.reason
    assert trial.covered
    assert trial.error < 0.02


BURST_S = 2.5
CHANGE_W = 9.0  # while inputs are changed; the iterations of a square curve draw 4 and 10 W in turn
SENSORS = {
    "counter": Sensor(kind="counter", rate_hz=10.0),
    "average": Sensor(kind="average", rate_hz=10.0),
    "instants": Sensor(kind="on read", rate_hz=50.0),
}


@pytest.mark.parametrize("name", SENSORS)
@pytest.mark.parametrize("gap", [0.3, 1.0])
def test_the_energy_of_changes_stays_out_of_the_iterations(name: str, gap: float) -> None:
    """Between iterations inputs are changed for a share of their length, at a power of its own."""
    right = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        load, window, changes = _with_changes(rng, gap)
        trace, rail_map = look(load, SENSORS[name], rng)
        energy = measure_energy(trace, rail_map, window, iterations=load.marks, changes=changes)
        assert energy.status == "ok", energy.reason
        assert energy.per_iteration_j is not None
        true_j = load.energy_j / load.starts_s.size
        assert energy.per_iteration_j.value == pytest.approx(true_j, rel=0.02)
        right += abs(energy.per_iteration_j.value - true_j) <= energy.per_iteration_j.random_u95
    assert right >= 4


def test_without_the_power_of_changes_a_counter_cannot_tell() -> None:
    rng = np.random.default_rng(1)
    load, window, _ = _with_changes(rng, 1.0)
    trace, rail_map = look(load, SENSORS["counter"], rng)
    energy = measure_energy(trace, rail_map, window, iterations=load.marks)
    assert energy.status == "invalid"
    assert "too uncertain" in (energy.reason or "")


def test_a_counter_that_was_not_read_during_the_changes_gives_no_energy() -> None:
    rng = np.random.default_rng(1)
    load, window, _ = _with_changes(rng, 1.0)
    trace, rail_map = look(load, SENSORS["counter"], rng)
    later = (window[1] + 1000.0, window[1] + 1005.0)
    energy = measure_energy(trace, rail_map, window, iterations=load.marks, changes=[later])
    assert energy.status == "invalid"
    assert "too rarely while the inputs were changed" in (energy.reason or "")


def _with_changes(
    rng: np.random.Generator, gap: float
) -> tuple[Load, tuple[float, float], list[tuple[float, float]]]:
    """Return a load, its window, and the bursts of changes alone in it."""
    durations_s = 0.02 * np.clip(rng.normal(1.0, 0.01, 1000), 0.9, 1.1)
    gaps_s = durations_s * gap
    gaps_s[[249, 499, 749]] += BURST_S  # changes alone
    starts_s = LEAD_S + np.concatenate([[0.0], np.cumsum(durations_s + gaps_s)[:-1]])
    ends_s = starts_s + durations_s
    load = Load(curve=make_curve("square", rng), starts_s=starts_s, ends_s=ends_s, idle_w=CHANGE_W)
    bursts = [(float(ends_s[place]), float(ends_s[place]) + BURST_S) for place in (249, 499, 749)]
    return load, (LEAD_S - 0.02 * gap, float(ends_s[-1])), bursts


def test_samples_in_the_lead_do_not_change_the_window() -> None:
    rng = np.random.default_rng(8)
    load = make_load(make_curve("sawtooth", rng), 0.05, 10.0, rng)
    trace, rail_map = look(load, Sensor(kind="on read", rate_hz=50.0), rng)
    whole = measure_energy(trace, rail_map, load.window, iterations=load.marks)
    times_s, raw = trace["p"]
    near = (times_s > LEAD_S - 1) & (times_s < load.window[1] + 1)
    cut = {"p": (times_s[near], raw[near])}
    assert measure_energy(cut, rail_map, load.window, iterations=load.marks) == whole
