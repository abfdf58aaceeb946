"""The verdict on a pair of cases (PASS, FAIL, INCONCLUSIVE, INVALID, INFRA), and a gate. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reports.calibration.noise_floor import FloorsByTarget
from reports.results.fields import CaseField, Text, Texts
from reports.results.records import Rule
from reports.stats.intervals import Effect
from reports.stats.pooling import Pooled

STATUSES = ("PASS", "FAIL", "INCONCLUSIVE", "INVALID", "INFRA")
GRAVITY = ("INFRA", "FAIL", "INVALID", "INCONCLUSIVE", "PASS")  # the gravest first, as exit codes


@dataclass(frozen=True, kw_only=True)
class Margin:
    """The change that matters, as a fraction (0.03 is 3 %).

    ``source`` says where it comes from, whichever is largest: "user", "noise floor" or "energy
    uncertainty".
    """

    fraction: float
    source: str = "user"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one question: is ``new`` worse than ``base`` by more than the margin?

    ``metric`` is a gate's name for it (``reports.metrics.table``), ``phase`` is empty where it has
    none. ``effect`` is
    new / base at the look that decided (None where nothing could be compared), ``rounds`` the
    pairs that it rests on; ``verification`` the independent batch before a FAIL. ``cause`` of an
    alarm is code, board, environment or noise, empty otherwise. ``reason`` and ``remedy`` are
    sentences; a PASS needs no remedy.

    Intervals are of ``LOOK_LEVEL`` (97.5 %); None for memory of few rounds, which hardly scatters.
    ``log_ratios`` are the logarithms of new / base of those rounds, in order. ``flags`` say what
    a careful reader should know beside the verdict; ``outliers`` counts rounds far from the
    others, none of them dropped. ``more_rounds`` is what the next look still lacks and ``verify``
    whether a verification batch is wanted: both for who can still measure.
    """

    target: str
    base: CaseField
    new: CaseField
    metric: str
    phase: Text = ""
    status: str
    margin: Margin
    effect: Effect | None = None
    rounds: int = 0
    verification: Effect | None = None
    cause: Text = ""
    reason: Text = ""
    remedy: Text = ""
    log_ratios: tuple[float, ...] = ()
    p_value: float | None = None
    flags: Texts = ()
    outliers: int = 0
    more_rounds: int = 0
    verify: bool = False

    @property
    def question(self) -> str:
        """The metric and its phase, if it has one."""
        return f"{self.metric} {self.phase}".strip()


@dataclass(frozen=True, kw_only=True)
class Gate:
    """All verdicts of a gate, and what they amount to together.

    ``changed`` are the verdicts whose difference survives Benjamini-Hochberg, whatever the margin;
    ``summary`` is the figure over workloads of new / base by (target, metric, phase), see
    ``reports.metrics.over_workloads``; there ``n`` is the number of workloads. ``fleet`` pools the
    targets' by (metric, phase), where there are several; ``exit_code`` follows the documented
    precedence. ``notes`` concern all verdicts of a target. ``rule`` is what was asked, ``floors``
    are the machines' calibrations that were at hand.
    """

    run_id: str
    rule: Rule
    verdicts: tuple[Verdict, ...]
    changed: tuple[Verdict, ...] = ()
    summary: Mapping[tuple[str, str, str], Effect] = field(default_factory=dict)
    exit_code: int = 0
    fleet: Mapping[tuple[str, str], Pooled] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    floors: FloorsByTarget = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The selector of the cases that the new ones are compared with."""
        return self.rule.base

    @property
    def new(self) -> str:
        """The selector of the cases that are judged."""
        return self.rule.new

    @property
    def status(self) -> str:
        """The gravest status of the verdicts; PASS without any."""
        statuses = {verdict.status for verdict in self.verdicts}
        return next((status for status in GRAVITY if status in statuses), "PASS")
