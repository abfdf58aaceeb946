"""The distributions that the statistics use, by their usual names.

``scipy.special`` takes a quarter of the time in which ``gfbench --help`` answers (and
``scipy.stats`` more), so it is imported at the first call: commands without statistics never wait.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
import numpy.typing as npt


@cache
def _special() -> ModuleType:
    import scipy.special

    return scipy.special


def binomial_cdf(trials: int, probability: float) -> npt.NDArray[np.float64]:
    """Return the probability of at most k successes, for k from 0 to the number of trials."""
    successes = np.arange(trials + 1, dtype=np.float64)
    return np.asarray(_special().bdtr(successes, trials, probability))


def normal_quantile(probability: float) -> float:
    """Return the value that a standard normal variable stays below with this probability."""
    return float(_special().ndtri(probability))


def t_cdf(value: float, freedom: float) -> float:
    """Return the probability that Student's t is below a value."""
    return float(_special().stdtr(freedom, value))


def t_quantile(probability: float, freedom: float) -> float:
    """Return the value that Student's t stays below with this probability."""
    return float(_special().stdtrit(freedom, probability))


def noncentral_t_quantile(probability: float, freedom: float, noncentrality: float) -> float:
    """Return the value that the noncentral t stays below with this probability."""
    return float(_special().nctdtrit(freedom, noncentrality, probability))
