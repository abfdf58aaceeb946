"""One figure for several workloads: the same in report, site and gate. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reports.stats.intervals import Effect, geometric_mean

# How the figure is made, wherever one is shown: page, site, terminal and docs/statistics.md.
CAPTION = (
    "A figure over several workloads is the geometric mean of their ratios, each estimated over "
    "its own rounds; a ratio of energies is the quotient of the two energies of one round. Its "
    "95 % interval goes from the geometric mean of the workloads' lower ends to that of their "
    "upper ends: it holds for these workloads, and having many of them does not make it narrower."
)


def over_workloads(effects: Sequence[Effect]) -> Effect | None:
    """Return the figure over the workloads that have these; None where there are no workloads.

    It has no interval where one of the workloads has none; ``n`` is the smallest number of rounds.
    The interval is as wide as if all workloads erred alike, since whatever disturbs a round may
    disturb all of them: it covers at least 95 % however they depend on each other.
    """
    if len(effects) < 2:
        return effects[0] if effects else None
    lows = [effect.ci_low for effect in effects if effect.ci_low is not None]
    highs = [effect.ci_high for effect in effects if effect.ci_high is not None]
    has_interval = len(lows) == len(highs) == len(effects)
    return Effect(
        ratio=geometric_mean([effect.ratio for effect in effects]),
        ci_low=geometric_mean(lows) if has_interval else None,
        ci_high=geometric_mean(highs) if has_interval else None,
        n=min(effect.n for effect in effects),
    )
