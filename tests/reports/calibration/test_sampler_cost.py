"""What sampling costs, from rounds with a known difference."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from make_run import FakeTarget, make_run

from reports.calibration.sampler_cost import cost_of
from reports.page.render import render
from reports.results.read import CALIBRATION, load_run
from reports.results.sampler_cost import SPARSE, Round, SamplerCost

ROUNDS = tuple(
    Round(
        on_s=0.010 * drift * 1.02,
        off_s=0.010 * drift,
        off_again_s=0.010 * drift * (1.001 if number % 2 else 0.999),
        on_w=5.0 + 0.09,
        sparse_w=5.0 + 0.09 / SPARSE,
        cpu_share=0.004,
    )
    for number, drift in enumerate((1.0, 1.3, 0.9, 1.1, 1.0, 1.2, 0.8, 1.0))
)


def cost(rounds: tuple[Round, ...] = ROUNDS) -> SamplerCost:
    return cost_of(rounds, ("files every 0.1 s",))


def test_the_slowdown_is_found_pair_by_pair_beside_what_chance_gives() -> None:
    found = cost()
    assert found.latency.value == pytest.approx(1.02)
    assert found.latency.ci_low == pytest.approx(1.02)
    assert found.floor.value == pytest.approx(1.0, abs=1e-6)
    assert found.floor.ci_low == pytest.approx(0.999)
    assert found.floor.ci_high == pytest.approx(1.001)


def test_power_is_that_of_all_readings_though_the_sparse_sampler_takes_some() -> None:
    power = cost().power_w
    assert power is not None
    assert power.value == pytest.approx(0.09)


def test_without_a_total_there_is_no_power_and_it_is_not_zero() -> None:
    found = cost(tuple(replace(one, on_w=None, cpu_share=None) for one in ROUNDS))
    assert found.power_w is None
    assert found.cpu_share is None
    assert "mW" not in found.summary
    assert "of a core" not in found.summary


def test_few_rounds_have_no_interval() -> None:
    found = cost(ROUNDS[:3])
    assert found.latency.ci_low is None
    assert "[" not in found.summary


def test_the_report_shows_what_was_calibrated_on_the_machine(tmp_path: Path) -> None:
    path = make_run(tmp_path, targets=[FakeTarget(name="board", power=True)])
    assert load_run(path).targets[0].sampler_cost is None
    content = {"schema": "gfbench/1", "type": "calibration", "target": "board", **asdict(cost())}
    (path / "targets" / "board" / CALIBRATION).write_text(json.dumps(content))
    run = load_run(path)
    assert run.targets[0].sampler_cost == cost()
    assert cost().summary in render([run]).replace("&#43;", "+")
    assert "latency +2.00%" in cost().summary
    assert "power +90 mW" in cost().summary


def test_a_broken_calibration_is_a_note_and_no_end(tmp_path: Path) -> None:
    path = make_run(tmp_path, targets=[FakeTarget(name="board")])
    (path / "targets" / "board" / CALIBRATION).write_text('{"latency": 1}')
    target = load_run(path).targets[0]
    assert target.sampler_cost is None
    assert any(CALIBRATION in note for note in target.notes)
