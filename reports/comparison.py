"""From a run to its table: one row per target, case, phase and metric. Pure.

The value of a latency is the median over blocks of the block medians. A speedup is
exact / method, paired by round, for backward and step always together; which exact, see
``baseline``. What could not be
measured is a row without a value, with its status and the reason.

Statuses: ok; partial (some blocks failed, the value is of the others); skipped (left out on
purpose); missing (not measured here); invalid (energy that the readings cannot carry); a block's
own (failed, timeout, out_of_memory, interrupted, throttled) or the session's (failed, infra,
interrupted, running).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.baseline import EXACT, baseline_of, baseline_words, latencies_s
from reports.discounted import has_floor
from reports.energy import Energy
from reports.energy_table import (
    commonest_reason,
    energies_of,
    energy_figures,
    over_rounds,
    power_figures,
)
from reports.records import BlockRecord, Run, TargetRun
from reports.rows import FIDELITY, UNITS, Row
from reports.stats import median_interval, paired_ratio
from reports.wording import cut, is_usable
from workloads.costs import floor_s
from workloads.messages import PHASES, Case

SPECTRA = {"one_over_f": "", "white_noise": "white_noise"}
MAX_REASON = 500  # characters; a board may write anything
FEW_ROUNDS = "fewer than 6 rounds: no 95 % interval"
FEW_WINDOWS = "fewer than 6 rounds: the interval is the windows' own uncertainty"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a case or a part of it stands, and why."""

    status: str = "ok"
    reason: str = ""


def compare(run: Run) -> tuple[Row, ...]:
    """Return all rows of a run in stable order: target, case, metric, phase."""
    return tuple(
        row
        for target in run.targets
        for case in cases_of(run, target)
        for row in _case_rows(_Maker(run=run, target=target, case=case))
    )


def cases_of(run: Run, target: TargetRun) -> tuple[Case, ...]:
    """Return the cases of one target: the plan's order, then what else its journal has.

    The session has the target's own plan, made from its probe; a target that was never probed
    has the run's. A case of the run's plan that a finished session neither measured nor skipped
    was planned for other targets.
    """
    present = dict.fromkeys(block.case for block in target.blocks)
    present.update(dict.fromkeys(skip.case for skip in target.session.skipped))
    planned = target.session.cases or run.header.plan.cases
    if target.session.status == "ok" and _all_blocks_there(target):
        planned = tuple(case for case in planned if case in present)
    return tuple(dict.fromkeys((*planned, *present)))


def memory_figures(target: TargetRun, case: Case, metric: str) -> dict[int, float]:
    """Return one memory figure (a field of ``Memory``) by round, where it was measured."""
    return _figures(
        (block, getattr(block.memory, metric, None)) for block in target.blocks_of(case, "memory")
    )


def standing_of(run: Run, target: TargetRun, case: Case, kind: str) -> Standing:
    """Say how the case's blocks of one kind went."""
    blocks = target.blocks_of(case, kind)
    bad = [block for block in blocks if block.status != "ok"]
    if blocks and len(bad) == len(blocks):
        return Standing(status=bad[-1].status, reason=_why(bad))
    if bad:
        return Standing(status="partial", reason=f"{len(bad)} of {len(blocks)} blocks: {_why(bad)}")
    if blocks:
        return _broken_off(run, target, len(blocks), kind)
    return _absent(target, case)


def _case_rows(maker: _Maker) -> Iterable[Row]:
    yield from _latency_rows(maker)
    yield from _speedup_rows(maker)
    yield from _floor_rows(maker)
    if is_usable(maker.case.method):
        yield from _memory_rows(maker)
        yield from _fidelity_rows(maker)
    yield from _energy_rows(maker)
    yield from _temperature_rows(maker)


@dataclass(frozen=True, kw_only=True)
class _Maker:
    """Fills in what all rows of a case share."""

    run: Run
    target: TargetRun
    case: Case

    def row(
        self,
        metric: str,
        phase: str,
        standing: Standing,
        value: float | None = None,
        interval: tuple[float | None, float | None] | None = None,
        n: int = 0,
    ) -> Row:
        low, high = (None, None) if interval is None else interval
        return Row(
            run_id=self.run.run_id,
            target=self.target.name,
            platform=self.target.platform,
            workload=self.case.layer.name,
            method=self.case.method,
            patch_size=self.case.patch_size,
            kernel=self.case.kernel_label,
            device=self.case.device,
            dtype=self.case.dtype,
            batch=self.case.batch,
            phase=phase,
            metric=metric,
            unit=UNITS[metric],
            value=value,
            ci_low=low,
            ci_high=high,
            n=n,
            status=standing.status,
            reason=cut(standing.reason, MAX_REASON),
        )

    def measured(
        self, metric: str, phase: str, by_round: Mapping[int, float], standing: Standing
    ) -> Row:
        """Return the median over rounds, or a row that says why there is none."""
        values = tuple(by_round.values())
        if not values:
            return self.row(metric, phase, _no_value(standing, "not measured"))
        return self.row(
            metric,
            phase,
            standing,
            value=float(np.median(values)),
            interval=median_interval(values),
            n=len(values),
        )

    def standing(self, kind: str) -> Standing:
        """Say how this case's blocks of one kind went."""
        return standing_of(self.run, self.target, self.case, kind)


def _latency_rows(maker: _Maker) -> Iterable[Row]:
    standing = maker.standing("timing")
    for phase in _phases(maker.run):
        medians = latencies_s(maker.target, maker.case, phase)
        yield maker.measured("latency_s", phase, medians, _with_few_rounds(standing, len(medians)))


def _speedup_rows(maker: _Maker) -> Iterable[Row]:
    if maker.case.method == EXACT or not {"backward", "step"} & set(_phases(maker.run)):
        return
    ours = maker.standing("timing")
    for phase in ("backward", "step"):
        baseline = baseline_of(maker.target, maker.case, phase)
        theirs = standing_of(maker.run, maker.target, baseline, "timing")
        exact, method = paired(
            latencies_s(maker.target, baseline, phase),
            latencies_s(maker.target, maker.case, phase),
        )
        standing = _joint(ours, theirs)
        if not exact:
            reason = "no round has both this case and its exact baseline"
            yield maker.row("speedup", phase, _no_value(standing, reason))
            continue
        words = baseline_words(maker.target, maker.case, phase)
        effect = paired_ratio(method, exact)
        yield maker.row(
            "speedup",
            phase,
            _also(_with_few_rounds(standing, effect.n), words),
            value=effect.ratio,
            interval=(effect.ci_low, effect.ci_high),
            n=effect.n,
        )


def _floor_rows(maker: _Maker) -> Iterable[Row]:
    """Return the floor, at the rates that this machine showed, over the measured time.

    Both of one round, as a machine's rates change with what else is done near it; a round without
    rates of its own takes those of the others.
    """
    rates, case = maker.target.rates, maker.case
    if rates is None or not has_floor(case):
        return
    own = maker.target.rates_by_round
    medians = latencies_s(maker.target, case, "backward")
    reached = {
        round_: floor_s(case, "backward", own.get(round_, rates)) / latency_s
        for round_, latency_s in medians.items()
    }
    standing = _with_few_rounds(maker.standing("timing"), len(reached))
    yield maker.measured("floor_fraction", "backward", reached, standing)


def _memory_rows(maker: _Maker) -> Iterable[Row]:
    if not any(block.kind == "memory" for block in maker.target.blocks):
        return
    standing = maker.standing("memory")
    for metric in ("peak_rss_bytes", "cuda_peak_bytes", "saved_bytes", "system_dip_bytes"):
        figures = memory_figures(maker.target, maker.case, metric)
        if figures or metric in ("peak_rss_bytes", "saved_bytes"):
            yield maker.measured(metric, "", figures, standing)


def _fidelity_rows(maker: _Maker) -> Iterable[Row]:
    blocks = maker.target.blocks_of(maker.case, "fidelity")
    if not blocks and maker.case.method == EXACT:
        return
    standing = maker.standing("fidelity")
    for spectrum, phase in SPECTRA.items():
        for metric in FIDELITY:
            figures = _figures(
                (block, getattr(block.fidelity.get(spectrum), metric, None)) for block in blocks
            )
            yield maker.measured(metric, phase, figures, standing)


def _energy_rows(maker: _Maker) -> Iterable[Row]:
    """Yield joules per iteration and mean power; their interval is told in ``energy_table``."""
    energies = energies_of(maker.target)
    timing = maker.standing("timing")
    if not energies and timing.status in ("ok", "partial"):
        timing = Standing(status="missing", reason=no_power_reason(maker.target))
    for phase in _phases(maker.run) if energies else ("step",):
        windows = energies.get((maker.case, phase), {})
        standing = _of_windows(timing, tuple(windows.values()))
        for metric, figures in (("energy_j", energy_figures), ("power_w", power_figures)):
            found = over_rounds(tuple(figures(windows).values()))
            if found is None:
                yield maker.row(metric, phase, _no_value(standing, "not measured"))
                continue
            yield maker.row(
                metric,
                phase,
                standing,
                value=found.value,
                interval=(found.low, found.high),
                n=found.n,
            )


def _of_windows(timing: Standing, energies: Sequence[Energy]) -> Standing:
    """Say how the energy of a case's windows went, on top of how its blocks went."""
    bad = [energy for energy in energies if energy.status != "ok"]
    if timing.status not in ("ok", "partial"):
        return timing
    if not bad:
        return _with_doubts(timing, energies)
    status, why = commonest_reason(bad)
    if len(bad) == len(energies):
        return Standing(status=status, reason=why)
    return Standing(status="partial", reason=f"{len(bad)} of {len(energies)} windows: {why}")


def _with_doubts(standing: Standing, energies: Sequence[Energy]) -> Standing:
    """Say what an interval is made of where that is not the usual."""
    doubts = [FEW_WINDOWS] if 0 < len(energies) < 6 else []
    doubts += {flag: None for energy in energies for flag in energy.flags if "tolerance" in flag}
    if standing.status != "ok" or not doubts:
        return standing
    return Standing(status="ok", reason="; ".join(doubts))


def no_power_reason(target: TargetRun) -> str:
    """Say why a target has no energy, with the remedy where one is known."""
    if target.power is None or not target.power.rails:
        words = "; ".join(target.power.missing if target.power else ()) or "no power sensor"
        return words if "no power sensor" in words else f"no power sensor; {words}"
    return "no readings of the power sensor were recorded"


def _temperature_rows(maker: _Maker) -> Iterable[Row]:
    blocks = maker.target.blocks_of(maker.case, "timing")
    hottest = _figures((block, hottest_c(block)) for block in blocks)
    standing = maker.standing("timing")
    if blocks and not hottest and standing.status in ("ok", "partial"):
        standing = Standing(status="missing", reason="no temperature sensor could be read")
    yield maker.measured("temperature_c", "", hottest, standing)


def hottest_c(block: BlockRecord) -> float | None:
    """Return the hottest zone right after the block."""
    zones = block.state_after.temperatures_c.values() if block.state_after else ()
    return max((value for value in zones if value is not None), default=None)


def paired(
    base: Mapping[int, float], new: Mapping[int, float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the values of the rounds that both have, in order of rounds."""
    rounds = sorted(base.keys() & new.keys())
    return tuple(base[r] for r in rounds), tuple(new[r] for r in rounds)


def _figures(pairs: Iterable[tuple[BlockRecord, float | None]]) -> dict[int, float]:
    return {
        block.round: float(value)
        for block, value in pairs
        if value is not None and block.status == "ok"
    }


def _phases(run: Run) -> tuple[str, ...]:
    return tuple(phase for phase in PHASES if phase in run.header.plan.phases)


def _all_blocks_there(target: TargetRun) -> bool:
    planned = target.session.blocks_planned
    return planned is None or len(target.all_blocks) >= planned


def _why(blocks: Sequence[BlockRecord]) -> str:
    """Return the commonest reason."""
    reasons = Counter(block.reason or block.status for block in blocks)
    return reasons.most_common(1)[0][0]


def _broken_off(run: Run, target: TargetRun, done: int, kind: str) -> Standing:
    """Say partial where a session ended before all rounds of the timing were done."""
    rounds = run.header.rounds or 0
    if kind != "timing" or done >= rounds or _finished(target):
        return Standing()
    why = target.session.reason or target.session.status
    return Standing(status="partial", reason=f"{done} of {rounds} rounds: {why}")


def _finished(target: TargetRun) -> bool:
    return target.session.status == "ok" and _all_blocks_there(target)


def _absent(target: TargetRun, case: Case) -> Standing:
    for skip in target.session.skipped:
        if skip.case == case:
            return Standing(status="skipped", reason=skip.reason or "left out, no reason recorded")
    if target.session.status != "ok":
        reason = target.session.reason or f"the session is {target.session.status}"
        return Standing(status=target.session.status, reason=reason)
    return Standing(status="missing", reason="not measured")


def _no_value(standing: Standing, reason: str) -> Standing:
    """A row without a value is never ok nor partial."""
    if standing.status == "ok":
        return Standing(status="missing", reason=reason)
    if standing.status == "partial":
        return Standing(status="missing", reason=f"{reason}; {standing.reason}")
    return standing


def _joint(ours: Standing, baseline: Standing) -> Standing:
    """The worse of a case and its baseline; the case's own trouble is told first."""
    if ours.status not in ("ok", "partial"):
        return ours
    if baseline.status not in ("ok", "partial"):
        return Standing(status=baseline.status, reason=f"exact baseline: {baseline.reason}")
    if ours.status == "partial":
        return ours
    if baseline.status == "partial":
        return Standing(status="partial", reason=f"exact baseline: {baseline.reason}")
    return ours


def _with_few_rounds(standing: Standing, n: int) -> Standing:
    if standing.status == "ok" and 0 < n < 6:
        return Standing(status="ok", reason=FEW_ROUNDS)
    return standing


def _also(standing: Standing, words: str) -> Standing:
    """Add words to a reason."""
    reason = "; ".join(part for part in (standing.reason, words) if part)
    return Standing(status=standing.status, reason=reason)
