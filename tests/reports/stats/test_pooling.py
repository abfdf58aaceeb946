from __future__ import annotations

import math

import numpy as np
import pytest

from reports.stats.intervals import Effect
from reports.stats.pooling import random_effects

# The trials of the BCG vaccine (Colditz et al. 1994): cases and others, vaccinated and not.
BCG = (
    (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619),
    (33, 5036, 47, 5761), (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892),
    (29, 7470, 45, 7232), (17, 1699, 65, 1600), (186, 50448, 141, 27197), (5, 2493, 3, 2338),
    (27, 16886, 29, 17825),
)  # fmt: skip


def effect_of(log: float, error: float) -> Effect:
    low, high = (math.exp(log + side * 1.959964 * error) for side in (-1, 1))
    return Effect(ratio=math.exp(log), ci_low=low, ci_high=high, n=8)


def bcg_effects() -> list[Effect]:
    found = []
    for a, b, c, d in BCG:
        log = math.log((a / (a + b)) / (c / (c + d)))
        variance = 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)
        found.append(effect_of(log, math.sqrt(variance)))
    return found


def test_the_bcg_trials_pool_as_published() -> None:
    pooled = random_effects(bcg_effects())
    assert pooled.spread**2 == pytest.approx(0.3181, abs=0.0005)  # Paule and Mandel's
    assert math.log(pooled.ratio) == pytest.approx(-0.7150, abs=0.001)
    assert pooled.i_squared == pytest.approx(0.9212, abs=0.0005)  # Q = 152.23 of 12 degrees
    assert pooled.boards == 13


def test_boards_that_agree_have_no_spread_and_weigh_by_precision() -> None:
    pooled = random_effects([effect_of(0.10, 0.01), effect_of(0.101, 0.1)])
    assert (pooled.spread, pooled.i_squared) == (0.0, 0.0)
    assert math.log(pooled.ratio) == pytest.approx(0.10, abs=0.0005)


def test_one_board_keeps_its_own_interval_and_none_is_refused() -> None:
    only = effect_of(0.1, 0.02)
    pooled = random_effects([only])
    assert (pooled.ci_low, pooled.ci_high, pooled.boards) == (only.ci_low, only.ci_high, 1)
    with pytest.raises(ValueError, match="interval"):
        random_effects([Effect(ratio=1.0, ci_low=None, ci_high=None, n=3)])


def test_the_interval_over_boards_covers_the_fleets_mean() -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        true = random.normal(0.05, 0.02, size=6)
        pooled = random_effects([effect_of(random.normal(log, 0.01), 0.01) for log in true])
        assert pooled.ci_low is not None
        assert pooled.ci_high is not None
        held += pooled.ci_low <= math.exp(0.05) <= pooled.ci_high
    assert 0.92 < held / 400 < 0.98
