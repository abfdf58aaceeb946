"""Two git revisions, measured in the same rounds on every target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import PlanError
from harness.fleet.run import Finished, start_run
from harness.fleet.session import Watch
from harness.fleet.until_decided import EVERY_ROUND
from harness.payloads.revisions import Revision
from harness.plan.suites import Overrides, Suite, load_suite
from reports.metrics.table import judged_by
from reports.results.records import Rule, Run
from reports.stats.sequential import LOOKS
from targets.inventory import Inventory, Target
from workloads.spec.methods import BASELINE


@dataclass(frozen=True, kw_only=True)
class Setup:
    """On what to measure, in which order, and where the results go."""

    targets: tuple[Target, ...]
    inventory: Inventory | None
    directory: Path
    argv: tuple[str, ...]
    seed: int


def suite_of(
    name: str, overrides: Overrides, revisions: Sequence[Revision], metrics: Sequence[str]
) -> Suite:
    """Return the suite of a comparison: each case by every revision.

    The exact convolution is torch's own and is left out, unless it is asked for by name.

    Raises:
        PlanError: no such suite, something in the overrides cannot be, or a revision is older than
            the networks in it.
    """
    own = [kernel.info for kernel in revisions[-1].own_kernels]
    suite = load_suite(name, replace(overrides, own_kernels=own))
    for revision in revisions:
        if suite.networks and not revision.knows_networks:
            raise PlanError(
                f"{revision.commit.title}: its payload measures layers only, and there is the "
                f"network {suite.networks[0].name} in {suite.name} — choose layers with "
                "--workload, another --suite, or a later revision"
            )
    wanted = overrides.methods or [method for method in suite.methods if method != BASELINE]
    judged = [judged_by(metric) for metric in metrics]
    return replace(
        suite,
        methods=tuple(dict.fromkeys(wanted)),
        rounds=overrides.rounds or LOOKS[0],
        memory_rounds=EVERY_ROUND if any(m.block_kind == "memory" for m in judged) else 0,
        fidelity_rounds=min(1, suite.fidelity_rounds),
        energy=any(metric.sensor is not None for metric in judged),
        roofline=False,
        revisions=tuple(revision.label for revision in revisions),
        checked_revisions=tuple(
            revision.label for revision in revisions if "check" in revision.block_kinds
        ),
    )


def rule_for(rule: Rule, both: tuple[Revision, Revision]) -> Rule:
    """Return the rule with the cases of two revisions, base and new, as what it compares."""
    base, new = both
    return replace(rule, base=f"revision={base.label}", new=f"revision={new.label}")


def measure(
    both: tuple[Revision, Revision],
    suite: Suite,
    rule: Rule,
    setup: Setup,
    watch: Watch,
    *,
    extend: bool,
) -> Finished:
    """Measure two revisions in the same rounds on every target, and judge new against base.

    With ``extend`` more rounds follow until that is decided; else the suite's rounds are all.

    Raises:
        PayloadError: the runner's own payload cannot be packed.
        reports.results.write.StorageError: the result folder cannot be written.
    """
    return start_run(
        setup.targets,
        suite,
        inventory=setup.inventory,
        seed=setup.seed,
        directory=setup.directory,
        argv=setup.argv,
        watch=watch,
        revisions=both,
        rule=replace(rule, until_decided=extend),
    )


def why_not_run(run: Run, label: str) -> str:
    """Return why a revision gave no timing on any target, in its own words; empty if it did.

    Only what the revision itself brings about counts: a board that was never reached says nothing.
    """
    reasons: dict[str, None] = {}
    for target in run.targets:
        blocks = [block for block in target.blocks if block.case.revision == label]
        if any(block.kind == "timing" and block.status == "ok" for block in blocks):
            return ""
        bad = [block for block in blocks if block.status not in ("ok", "interrupted")]
        reasons.update((f"{block.kind}: {block.reason or block.status}", None) for block in bad)
        skipped = [skip for skip in target.session.skipped if skip.case.revision == label]
        reasons.update((skip.reason, None) for skip in skipped)
    return next(iter(reasons), "")
