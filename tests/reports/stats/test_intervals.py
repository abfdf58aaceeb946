from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from reports.stats.intervals import (
    geometric_mean,
    hodges_lehmann,
    median_interval,
    paired_ratio,
    signed_rank_distribution,
    wilcoxon_interval,
)


def walsh(values: list[float]) -> list[float]:
    pairs = itertools.combinations_with_replacement(values, 2)
    return sorted((a + b) / 2 for a, b in pairs)


def interval_by_enumeration(values: list[float], level: float) -> tuple[float, float] | None:
    """Invert the signed-rank test by listing all 2^n sign patterns."""
    n = len(values)
    sums = sorted(
        sum(rank for rank, positive in enumerate(signs, start=1) if positive)
        for signs in itertools.product((False, True), repeat=n)
    )
    cut = 0
    while sum(total <= cut for total in sums) / 2**n <= (1 - level) / 2:
        cut += 1
    averages = walsh(values)
    return None if cut == 0 else (averages[cut - 1], averages[-cut])


def test_hodges_lehmann_is_the_median_of_the_walsh_averages() -> None:
    assert hodges_lehmann([1.0, 2.0, 10.0]) == np.median([1, 1.5, 5.5, 2, 6, 10])
    values = np.random.default_rng(1).normal(size=9).tolist()
    assert hodges_lehmann(values) == pytest.approx(np.median(walsh(values)))


@pytest.mark.parametrize("n", [1, 2, 5, 8, 11])
def test_the_null_distribution_equals_enumeration(n: int) -> None:
    counts = np.zeros(n * (n + 1) // 2 + 1)
    for signs in itertools.product((0, 1), repeat=n):
        counts[sum(rank * sign for rank, sign in enumerate(signs, start=1))] += 1
    np.testing.assert_allclose(signed_rank_distribution(n), counts / 2**n, rtol=1e-12)


@pytest.mark.parametrize("n", range(3, 12))
@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.975, 0.9875])
def test_the_wilcoxon_interval_equals_enumeration(n: int, level: float) -> None:
    values = np.random.default_rng(n).normal(size=n).tolist()
    expected = interval_by_enumeration(values, level)
    found = wilcoxon_interval(values, level)
    assert (found is None) == (expected is None)
    if found and expected:
        assert found == pytest.approx(expected)


def test_the_wilcoxon_interval_holds_what_scipys_test_does_not_reject() -> None:
    values = np.random.default_rng(3).normal(0.4, 1, size=14)
    interval = wilcoxon_interval(values.tolist())
    assert interval is not None
    for centre in np.linspace(-1, 2, 301):
        p = scipy.stats.wilcoxon(values - centre, method="exact").pvalue
        assert (interval[0] < centre < interval[1]) == (p > 0.05)


@pytest.mark.parametrize(("level", "fewest"), [(0.95, 6), (0.975, 7), (0.9875, 8)])
def test_too_few_rounds_have_no_interval(level: float, fewest: int) -> None:
    values = [float(value) for value in range(fewest)]
    assert wilcoxon_interval(values, level) is not None
    assert wilcoxon_interval(values[:-1], level) is None
    assert median_interval(values, level) is not None
    assert median_interval(values[:-1], level) is None


@pytest.mark.parametrize("n", [6, 7, 12, 20, 33])
def test_the_median_interval_is_scipys(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    interval = median_interval(values.tolist())
    theirs: Any = scipy.stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert interval == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("n", [6, 10])
def test_the_intervals_cover_as_often_as_they_say(n: int) -> None:
    random = np.random.default_rng(17)
    trials = 3000
    symmetric = random.standard_t(3, size=(trials, n))
    skewed = random.lognormal(size=(trials, n))
    signed_rank = [wilcoxon_interval(row.tolist()) or (math.nan, math.nan) for row in symmetric]
    order = [median_interval(row.tolist()) or (math.nan, math.nan) for row in skewed]
    for intervals, truth in ((signed_rank, 0.0), (order, 1.0)):
        covered = np.mean([low <= truth <= high for low, high in intervals])
        assert 0.945 < covered < 0.99


def test_a_paired_ratio_is_new_over_base_and_shared_drift_cancels() -> None:
    drift = np.linspace(1, 3, 8)
    base = (2.0 * drift).tolist()
    new = (3.0 * drift).tolist()
    effect = paired_ratio(base, new)
    assert effect.ratio == pytest.approx(1.5)
    assert effect.ci_low == pytest.approx(1.5)
    assert effect.ci_high == pytest.approx(1.5)
    assert effect.n == 8


def test_five_rounds_give_a_ratio_without_an_interval() -> None:
    effect = paired_ratio([1.0] * 5, [2.0] * 5)
    assert effect.ratio == pytest.approx(2)
    assert effect.ci_low is None
    assert effect.ci_high is None


@pytest.mark.parametrize(
    ("base", "new"), [([1.0], [1.0, 2.0]), ([], []), ([0.0], [1.0]), ([1.0], [math.inf])]
)
def test_what_has_no_ratio_is_refused(base: list[float], new: list[float]) -> None:
    with pytest.raises(ValueError, match="value"):
        paired_ratio(base, new)


def test_the_geometric_mean_of_a_number_and_its_inverse_is_one() -> None:
    assert geometric_mean([4.0, 0.25]) == pytest.approx(1)


def test_a_level_outside_zero_and_one_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilcoxon_interval([1.0, 2.0], 95)
