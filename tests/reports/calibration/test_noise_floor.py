from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gate_runs import FakeBoard, make_target
from gate_simulation import block_logs, log_ratios

from reports.calibration.noise_floor import (
    AARound,
    MetricFloor,
    NoiseFloor,
    conditions_of,
    from_json,
    load,
    metric_floor,
    rounds_for,
    staleness,
    to_json,
    worst,
)
from reports.results.read import ResultError
from reports.results.records import MachineState, Probe, TorchFacts
from reports.stats.intervals import hodges_lehmann
from reports.stats.sequential import LOOKS, decide


def rounds_of(random: np.random.Generator, count: int) -> list[AARound]:
    """Return A/A rounds on the simulated board; ``again`` is the later one half of the time."""
    logs, new_first = block_logs(random, count, 0.0)
    return [
        AARound(a=math.exp(a), b=math.exp(b), a_first=first == 0)
        for (a, b), first in zip(logs, new_first, strict=True)
    ]


def floor_of(count: int = 40, seed: int = 1) -> MetricFloor:
    return metric_floor("latency", "step", rounds_of(np.random.default_rng(seed), count))


def test_a_floor_tells_what_the_board_does() -> None:
    floors = [floor_of(seed=seed) for seed in range(20)]
    assert np.mean([one.spread for one in floors]) == pytest.approx(0.018, abs=0.002)
    assert np.mean([one.slot_effect for one in floors]) == pytest.approx(0.006, abs=0.002)
    assert 0.015 < np.mean([one.drift for one in floors]) < 0.03
    assert floors[0].rounds == 40
    assert floors[0].margin == pytest.approx(floors[0].effect_q95, rel=0.02)


def test_few_effects_of_equal_kernels_exceed_the_floor() -> None:
    random = np.random.default_rng(2)
    beyond = []
    for seed in range(40):
        q95 = floor_of(count=12, seed=seed).effect_q95
        effects = [hodges_lehmann(log_ratios(random, LOOKS[0]).tolist()) for _ in range(100)]
        beyond.append(np.mean(np.abs(effects) > q95))
    assert 0.01 < np.mean(beyond) < 0.08


@pytest.mark.parametrize("look", LOOKS)
def test_the_detectable_effect_is_found_in_four_of_five_gates(look: int) -> None:
    random = np.random.default_rng(3)
    floor = floor_of(count=200)
    effect = math.expm1(floor.detectable[look])
    found = [
        decide(log_ratios(random, look, effect).tolist(), floor.margin).status == "FAIL"
        for _ in range(600)
    ]
    assert 0.7 < np.mean(found) < 0.9


def test_more_rounds_detect_less_and_a_margin_takes_the_rounds_that_it_takes() -> None:
    floor = floor_of()
    figures = [floor.detectable[look] for look in LOOKS]
    assert figures == sorted(figures, reverse=True)
    looks = [rounds_for(floor, margin) for margin in (0.10, 0.02, 0.012)]
    assert looks[0] == LOOKS[0]
    kept = [look for look in looks if look is not None]
    assert kept == sorted(kept)


def test_figures_that_never_differ_have_a_floor_of_zero() -> None:
    found = metric_floor("memory", "", [AARound(a=1e8, b=1e8, a_first=True)] * 8)
    assert (found.spread, found.effect_q95, found.margin) == (0.0, 0.0, 0.0)


def test_too_few_rounds_or_no_figures_are_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 6 rounds"):
        metric_floor("latency", "step", rounds_of(np.random.default_rng(1), 5))
    with pytest.raises(ValueError, match="positive"):
        metric_floor("energy", "step", [AARound(a=0.0, b=1.0, a_first=True)] * 8)


def test_of_several_workloads_the_worst_counts() -> None:
    quiet = replace(floor_of(), effect_q95=0.01)
    loud = replace(quiet, effect_q95=0.03)
    other = replace(quiet, phase="backward")
    assert worst([quiet, loud, other]) == (loud, other)


def stored() -> NoiseFloor:
    return NoiseFloor(
        target="nano", fingerprint="0123", measured_at="2026-11-22T19:00:00Z",
        floors=(floor_of(),), conditions={"torch": "1.10.2", "governor": "performance"},
        sentinel_spread=0.02,
    )  # fmt: skip


def test_a_floor_is_the_same_after_it_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "0123.floor.json"
    path.write_text(json.dumps(to_json(stored()), allow_nan=False))
    assert load(path) == stored()
    assert load(path) is not None
    found = load(path)
    assert found is not None
    assert found.of("latency", "step") == floor_of()
    assert found.of("energy", "step") is None
    assert load(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"schema": "gfbench/1", "type": "calibration"}']
)
def test_a_broken_file_is_told_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.floor.json"
    path.write_text(text)
    with pytest.raises(ResultError, match=r"broken\.floor\.json"):
        load(path)


def test_a_newer_floor_keeps_what_is_known_of_it() -> None:
    document = {**to_json(stored()), "calibrations": [1, 2]}
    assert from_json(document) == stored()


def test_a_floor_goes_stale_with_the_field_that_changed() -> None:
    floor = stored()
    same = dict(floor.conditions)
    assert staleness(floor, conditions=same, fingerprint="0123") == ()
    assert staleness(floor, conditions={}) == ()  # not known is not changed
    newer = {**same, "torch": "2.1.0"}
    assert staleness(floor, conditions=newer) == ("torch: 1.10.2 then, 2.1.0 now",)
    assert "0123 then, 4567 now" in staleness(floor, conditions=same, fingerprint="4567")[0]


def test_conditions_are_what_the_probe_and_the_first_block_say() -> None:
    state = MachineState(governor="performance", power_mode="MAXN", cpu_max_mhz=(1479.0, None))
    target = make_target(FakeBoard(state=lambda case, round_: state))
    probe = Probe(kernel="4.9.253-tegra", l4t="32.7.4", torch=TorchFacts(version="1.10.2"))
    assert conditions_of(replace(target, probe=probe)) == {
        "kernel of the system": "4.9.253-tegra",
        "L4T": "32.7.4",
        "torch": "1.10.2",
        "governor": "performance",
        "power mode": "MAXN",
        "clock limits (MHz)": "1479",
    }
