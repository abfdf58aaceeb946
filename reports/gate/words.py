"""The sentences of a verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reports.gate.evidence import Lost
from reports.gate.verdict import Margin
from reports.metrics.table import judged_by
from reports.stats.intervals import Effect
from reports.stats.sequential import look_after, look_within, rounds_to_decide

SOURCES = {"user": "", "noise floor": " (the board's noise floor)"}
MOST_ROUNDS = 10_000


def percent(fraction: float, digits: int = 1) -> str:
    """Return ``+3.1 %`` or ``-0.4 %``."""
    return f"{100 * fraction:+.{digits}f} %"


def margin_words(margin: Margin) -> str:
    """Return the margin and, where the user did not set it, what did."""
    source = SOURCES.get(margin.source, f" ({margin.source})")
    return f"{100 * margin.fraction:.3g} %{source}"


def effect_words(effect: Effect, metric: str) -> str:
    """Return ``10.2 % slower [+9.1 %, +11.3 %]``."""
    judged = judged_by(metric)
    change = effect.ratio - 1
    direction = judged.worse if change >= 0 else judged.better
    text = f"{abs(100 * change):.1f} % {direction}"
    return f"{text}{_interval(effect)}"


def decided(status: str, effect: Effect, metric: str, margin: Margin) -> str:
    """Return the reason of a look's PASS, FAIL or INCONCLUSIVE."""
    side = {"PASS": "below", "FAIL": "beyond", "INCONCLUSIVE": "on both sides of"}[status]
    return f"{effect_words(effect, metric)}, {side} the margin of {margin_words(margin)}"


def what_would_decide(
    log_ratios: Sequence[float], rounds: int, effect: Effect, margin: Margin, round_s: float | None
) -> str:
    """Return how many more rounds, and how long, or which margin would decide at once.

    Args:
        log_ratios: of the look.
        rounds: pairs that the run has.
        effect: of the look.
        margin: that was not decided.
        round_s: how long one more round of the two cases takes.
    """
    wanted = rounds_to_decide(log_ratios, margin.fraction)
    look = look_within(rounds)
    while look is not None and look < wanted:
        look = look_after(look)
    if look is not None and look <= rounds:  # the estimate alone says enough: one more look
        look = look_after(rounds)
    wider = ""
    if effect.ci_high is not None and effect.ci_high > 1:
        wider = f"a margin above {100 * (effect.ci_high - 1):.1f} % would be decided now"
    if look is not None:
        return f"{more_rounds(look - rounds, round_s)}: gfbench run --until-decided; {wider}"
    if wanted >= MOST_ROUNDS:
        return f"no number of rounds would decide: the difference equals the margin; {wider}"
    about = more_rounds(wanted - rounds, round_s)
    return f"more rounds than the last look allows: it would take {about}; {wider}"


def more_rounds(rounds: int, round_s: float | None) -> str:
    """Return ``12 more rounds, about 9 minutes``."""
    text = f"{rounds} more round{'s' * (rounds != 1)}"
    return text if round_s is None else f"{text}, about {about(rounds * round_s)}"


def about(duration_s: float) -> str:
    """Return a length of time as people say it."""
    for unit_s, name in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if duration_s >= 1.5 * unit_s:
            return f"{round(duration_s / unit_s)} {name}s"
    return f"{max(1, round(duration_s))} seconds"


def lost_words(lost: Sequence[Lost]) -> str:
    """Return how many rounds were lost to what, in the words of the first."""
    count = f"{len(lost)} round{'s' * (len(lost) != 1)}"
    return f"{count}: {lost[0].case.kernel}: {lost[0].reason}"


def change_words(effect: Effect | None) -> str:
    """Return ``+10.2 % [+9.1 %, +11.3 %]``; a dash where nothing could be compared."""
    if effect is None:
        return "—"
    return f"{percent(effect.ratio - 1)}{_interval(effect)}"


def _interval(effect: Effect) -> str:
    if effect.ci_low is None or effect.ci_high is None:
        return ""
    return f" [{percent(effect.ci_low - 1)}, {percent(effect.ci_high - 1)}]"
