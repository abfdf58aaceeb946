"""The gate's promises, on simulated boards: 2,000 seeded experiments each, by public functions."""

from __future__ import annotations

import gate_simulation as simulation
import numpy as np
import pytest
from gate_simulation import EXPERIMENTS, MARGIN, Noise


def test_a_kernel_against_itself_hardly_ever_fails_and_nearly_always_passes() -> None:
    found = simulation.experiments(EXPERIMENTS, effect=0.0, margin=MARGIN, seed=1)
    assert found.share("FAIL") <= 0.01
    assert found.share("PASS") >= 0.95


def test_five_percent_more_time_is_found_within_twenty_rounds_and_mostly_within_ten() -> None:
    found = simulation.experiments(EXPERIMENTS, effect=0.05, margin=MARGIN, seed=2)
    assert found.share("FAIL") >= 0.98
    assert found.median_rounds <= 10
    assert max(found.rounds) <= 20
    assert found.verified >= found.statuses.count("FAIL")


def test_a_kernel_exactly_at_the_margin_fails_in_at_most_five_percent_of_gates() -> None:
    found = simulation.experiments(EXPERIMENTS // 4, effect=MARGIN, margin=MARGIN, seed=3)
    assert found.share("FAIL") <= 0.05
    assert found.share("PASS") <= 0.05 + 0.02  # the union bound, and two standard errors


@pytest.mark.parametrize("rounds", simulation.COVERAGE_ROUNDS)
def test_the_interval_covers_the_true_effect_as_often_as_it_says(rounds: int) -> None:
    assert 0.93 <= simulation.coverage(2 * EXPERIMENTS, rounds, seed=1) <= 0.97


def test_the_simulated_board_drifts_warms_up_and_favours_the_earlier_block() -> None:
    random = np.random.default_rng(5)
    still = Noise(process=0, iterations=0, drift=0, heat=0.03, slot=0.006)
    logs, new_first = simulation.block_logs(random, 30, 0.0, still)
    assert logs[-1].mean() - logs[0].mean() == pytest.approx(0.03, abs=0.002)
    gaps = logs[:, 1] - logs[:, 0]
    assert (gaps[10:][new_first[10:] == 0] > 0).all()  # new came later, hence slower
    assert (gaps[10:][new_first[10:] == 1] < 0).all()
    drifting = [simulation.log_ratios(random, 20).std(ddof=1) for _ in range(300)]
    assert 0.014 < np.mean(drifting) < 0.022
