from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from reports.stats.checks import (
    bca_interval,
    cross_checks,
    discoveries,
    outliers,
    t_interval,
    t_test_p,
    warmup_end,
)

VALUES = np.random.default_rng(2).normal(0.4, 1, size=12).tolist()


def test_student_is_scipys() -> None:
    result = scipy.stats.ttest_1samp(VALUES, 0.0)
    assert t_test_p(VALUES) == pytest.approx(result.pvalue)
    assert t_interval(VALUES, 0.975) == pytest.approx(result.confidence_interval(0.975))


def test_a_single_value_has_no_interval_and_no_p() -> None:
    assert t_interval([1.0]) is None
    assert t_test_p([1.0]) is None
    assert bca_interval([1.0, 2.0]) is None


def test_values_that_never_differ_are_certain() -> None:
    assert t_test_p([0.0, 0.0, 0.0]) == 1.0
    assert t_test_p([0.25, 0.25, 0.25]) == 0.0
    assert bca_interval([0.1, 0.1, 0.1]) is None


def test_the_bootstrap_interval_is_seeded_and_holds_the_median() -> None:
    interval = bca_interval(VALUES, seed=1)
    assert interval == bca_interval(VALUES, seed=1)
    assert interval is not None
    assert interval[0] <= np.median(VALUES) <= interval[1]


def test_the_bootstrap_interval_covers_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    intervals = [bca_interval(random.normal(size=20).tolist()) for _ in range(300)]
    covered = np.mean([low <= 0 <= high for low, high in filter(None, intervals)])
    assert 0.88 < covered < 0.99


def test_cross_checks_shift_with_the_values() -> None:
    for here, there in zip(
        cross_checks(VALUES), cross_checks([value + 1 for value in VALUES]), strict=True
    ):
        assert there.estimate == pytest.approx(here.estimate + 1)
        assert here.low is not None
        assert there.low == pytest.approx(here.low + 1)


def test_outliers_are_those_of_iglewicz_and_hoaglin() -> None:
    values = [2.1, 2.6, 2.4, 2.5, 2.3, 2.1, 2.3, 2.6, 8.2, 8.3]  # their example
    assert outliers(values) == (8, 9)
    assert outliers([1.0, 1.1, 0.9, 1.05]) == ()
    assert outliers([1.0, 1.0, 1.0]) == ()
    assert outliers([1.0] * 9 + [2.0]) == (9,)


def test_the_warm_up_ends_where_two_windows_agree() -> None:
    random = np.random.default_rng(4)
    steady = (1 + random.normal(0, 0.01, 40)).tolist()
    assert warmup_end(steady) == 0
    warming = [3.0, 2.0, 1.5, 1.3, 1.2, 1.15, *steady]
    found = warmup_end(warming)
    assert found is not None
    assert 3 <= found <= 7
    assert warmup_end(steady, at_least=12) == 12


def test_times_that_keep_growing_never_warm_up() -> None:
    assert warmup_end([1.1**i for i in range(40)]) is None
    assert warmup_end([1.0] * 9) is None  # less than two windows
    with pytest.raises(ValueError, match="two times"):
        warmup_end([1.0] * 9, window=1)


def test_benjamini_and_hochberg_find_what_their_paper_finds() -> None:
    # Benjamini & Hochberg 1995, section 4.1: 15 comparisons of a thrombolysis trial.
    p_values = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459,
        0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.000,
    ]  # fmt: skip
    assert discoveries(p_values) == (True,) * 4 + (False,) * 11
    assert discoveries([]) == ()


def test_of_many_quiet_comparisons_hardly_any_list_has_a_discovery() -> None:
    random = np.random.default_rng(6)
    lists = [
        discoveries([t_test_p(random.normal(size=8).tolist()) or 0.0 for _ in range(40)])
        for _ in range(100)
    ]
    assert np.mean([any(found) for found in lists]) < 0.12


def test_statistics_of_nothing_are_refused() -> None:
    for of in (t_interval, t_test_p, bca_interval, outliers):
        with pytest.raises(ValueError, match="at least one"):
            of([])


def test_logarithms_of_ratios_that_are_all_alike_have_their_t_interval() -> None:
    log = math.log(1.1)
    assert t_interval([log] * 4) == pytest.approx((log, log))
