from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from power_curves import Sensor, look, make_curve, make_load, rail_map_of

from reports.energy.energy import measure_energy
from reports.energy.series import power_series, total_power
from reports.results.power import Channel, Rail, rail_map_from_json

PACKAGE = Rail(
    name="package-0",
    kind="energy",
    channels=(Channel(id="e", unit="uJ"),),
    resolution=(61e-6,),
    wrap_j=65532.610987,
)
WINDOW = (100.0, 160.0)


def _counter(times_s: list[float], joules: list[float], wrap_j: float) -> np.ndarray:
    return np.array([times_s, [(value % wrap_j) * 1e6 for value in joules]])


@pytest.mark.parametrize("wraps", [0, 1, 2, 5])
def test_a_counter_that_wraps_inside_the_window_is_right(wraps: int) -> None:
    rng = np.random.default_rng(wraps)
    load = make_load(make_curve("square", rng), 0.05, 20.0, rng)
    wrap_j = load.energy_j / (wraps + 0.3) if wraps else 65532.6
    trace, rail_map = look(load, Sensor(kind="counter", rate_hz=10.0, wrap_j=wrap_j), rng)
    energy = measure_energy(trace, rail_map, load.window, iterations=load.marks)
    assert energy.status == "ok", energy.reason
    assert energy.method == "counter"
    assert energy.gross_j is not None
    assert abs(energy.gross_j.value - load.energy_j) <= energy.gross_j.random_u95
    assert energy.gross_j.value == pytest.approx(load.energy_j, rel=0.005)


def test_one_read_per_wrap_is_enough() -> None:
    times_s = [100.0 + 15 * k for k in range(5)]
    joules = [50.0 + 900.0 * k for k in range(5)]
    t_s, raw = _counter(times_s, joules, 1000.0)
    rail_map = rail_map_of(replace(PACKAGE, wrap_j=1000.0))
    energy = measure_energy({"e": (t_s, raw)}, rail_map, WINDOW)
    assert energy.status == "ok", energy.reason
    assert energy.gross_j is not None
    assert energy.gross_j.value == pytest.approx(3600.0)


def test_a_counter_reset_is_invalid_and_never_negative() -> None:
    times_s = np.arange(95.0, 165.0)
    raw = np.where(times_s < 130, (times_s - 90) * 20e6, (times_s - 130) * 20e6)
    for wrap_j in (None, 262143.33):
        rail_map = rail_map_of(replace(PACKAGE, wrap_j=wrap_j))
        energy = measure_energy({"e": (times_s, raw)}, rail_map, WINDOW)
        assert energy.status == "invalid"
        assert "reset" in (energy.reason or "")
        assert energy.gross_j is None


def test_an_unreadable_zone_is_missing_with_the_remedy() -> None:
    rail_map = replace(
        rail_map_of(PACKAGE, replace(PACKAGE, name="dram", channels=(Channel(id="d", unit="uJ"),))),
        missing=("dram energy_uj; EACCES; chmod a+r",),
    )
    times_s = np.arange(95.0, 165.0)
    energy = measure_energy({"e": (times_s, times_s * 20e6)}, rail_map, WINDOW)
    assert energy.status == "missing"
    assert "dram" in (energy.reason or "")
    assert energy.remedy
    assert energy.gross_j is None


def test_a_zone_that_vanishes_is_not_extrapolated() -> None:
    times_s = np.arange(95.0, 140.0)
    energy = measure_energy({"e": (times_s, times_s * 20e6)}, rail_map_of(PACKAGE), WINDOW)
    assert energy.status == "invalid"
    assert "cut window" in (energy.reason or "")


def test_unreadable_moments_do_not_harm_a_counter() -> None:
    times_s = np.arange(95.0, 165.0)
    raw = times_s * 20e6
    raw[[20, 40, 41]] = np.nan
    energy = measure_energy({"e": (times_s, raw)}, rail_map_of(PACKAGE), WINDOW)
    assert energy.gross_j is not None
    assert energy.gross_j.value == pytest.approx(1200.0)


def test_only_the_rails_of_the_total_are_summed() -> None:
    core = replace(PACKAGE, name="core", channels=(Channel(id="c", unit="uJ"),))
    rail_map = replace(rail_map_of(PACKAGE, core), total=("package-0",))
    times_s = np.arange(95.0, 165.0)
    trace = {"e": (times_s, times_s * 20e6), "c": (times_s, times_s * 12e6)}
    energy = measure_energy(trace, rail_map, WINDOW)
    assert energy.gross_j is not None
    assert energy.gross_j.value == pytest.approx(1200.0)


def test_a_counter_is_drawn_as_its_slope_across_a_wrap() -> None:
    rail = replace(PACKAGE, wrap_j=100.0)
    times_s = np.arange(0.0, 20.0)
    trace = {"e": (times_s, (times_s * 30.0 % 100.0) * 1e6)}
    middle_s, power_w = power_series(trace, rail)
    assert middle_s[0] == 0.5
    assert power_w == pytest.approx(np.full(19, 30.0))


def test_the_drawn_total_is_none_where_a_rail_is_missing() -> None:
    times_s = np.arange(0.0, 20.0)
    dram = replace(PACKAGE, name="dram", channels=(Channel(id="d", unit="uJ"),))
    trace = {"e": (times_s, times_s * 20e6)}
    assert total_power(trace, rail_map_of(PACKAGE, dram)) is None
    trace["d"] = (times_s + 0.3, times_s * 5e6)
    total = total_power(trace, rail_map_of(PACKAGE, dram))
    assert total is not None
    assert total[1] == pytest.approx(np.full(total[0].size, 25.0))
    assert total[0][0] == pytest.approx(0.8)
    assert total[0][-1] == pytest.approx(18.5)


def test_the_rail_map_file_is_read_with_unknown_fields_ignored() -> None:
    rail_map = rail_map_from_json(
        {
            "source": "powercap",
            "scope": "package",
            "rule": "packages",
            "total": ["package-0"],
            "rails": [
                {
                    "name": "package-0",
                    "kind": "energy",
                    "channels": ["c0"],
                    "conversion": "average",
                    "update_interval_s": None,
                    "resolution": None,
                    "tolerance": None,
                    "wrap_j": 262143.33,
                    "later": 1,
                }
            ],
            "channels": [{"id": "c0", "path": "/sys/class/powercap/x/energy_uj", "unit": "uJ"}],
            "interval_s": 0.1,
            "missing": [{"what": "dram", "reason": "EACCES", "remedy": "chmod"}],
        }
    )
    assert rail_map.rails[0].channels[0].path.endswith("energy_uj")
    assert rail_map.rails[0].wrap_j == 262143.33
    assert rail_map.missing == ("dram: EACCES — chmod",)
