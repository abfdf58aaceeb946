"""What the sampler itself costs on a machine: the same block with it and without it, in pairs.

Each round holds four blocks in random order: sampler on, off, off again, and sparse (a tenth of
the readings). Latency is compared on against off, beside off against off; power, which nobody
sees without reading it, on against sparse.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from harness.board.board import Board
from harness.board.fetch import fetch_file
from harness.board.patience import Patience
from harness.board.probed import Probed
from harness.errors import CommandFailed
from harness.fleet.job import threads_of
from harness.payloads import payload as payloads
from harness.power.log import job_power, make_trace, rail_map_of
from harness.transport.base import open_transport
from reports.calibration.machine import machine_fingerprint, sampler_cost_path
from reports.calibration.sampler_cost import cost_of
from reports.energy.series import total_power
from reports.results.journal import block_record, journal_line, one_of_each_order
from reports.results.power import FloatArray, RailMap, Trace
from reports.results.read import parse_trace
from reports.results.records import BlockRecord, Probe
from reports.results.sampler_cost import SPARSE, Round, SamplerCost
from reports.results.write import StorageError, write_json_atomic
from targets.inventory import Inventory, Target
from targets.power_plans import plan_power
from workloads.spec.layers import LAYERS
from workloads.spec.messages import SCHEMA, Block, Case, Job
from workloads.spec.methods import BASELINE

SAMPLING = (1.0, 0.0, 0.0, SPARSE)  # on, off, off again, sparse
WINDOW_S = 1.5
BLOCK_TIMEOUT_S = 600.0
IDLE_DEADLINE_S = 900.0
LAYER = "quick-128ch-28x28"


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """The cost of the sampler on one machine, and where it is kept."""

    target: str
    path: Path
    cost: SamplerCost


def estimate_s(rounds: int) -> float:
    """Return about how long a calibration takes."""
    return rounds * len(SAMPLING) * (3 * 1.4 * WINDOW_S + 2.0) + 15.0


def calibrate_sampler(
    target: Target, inventory: Inventory | None, directory: Path, *, rounds: int, seed: int
) -> Calibrated:
    """Measure the sampler's cost on a target and keep it below ``directory``.

    Raises:
        TargetError: the target cannot be reached, is busy, or has nothing to sample.
        reports.results.write.StorageError: the folder cannot be written.
    """
    board = Board(target, lambda: open_transport(target, inventory), payloads.pack())
    name = f"calibrate-{secrets.token_hex(4)}"
    try:
        state = board.prepare(name)
        probe = board.probe()
        rail_map = _rail_map(target, probe)
        job = _job(target, probe.facts, rail_map, name, rounds, seed)
        board.push_job(state.folder, job, b"")
        records = _measure(board, state.folder, job)
        log = _power_log(board, state.folder)
        board.remove(state.folder)
    finally:
        board.close()
    lines = make_trace(log, rail_map).trace.decode().splitlines()[1:]
    trace = parse_trace(lines)
    cost = cost_of(_rounds(records, trace, rail_map), tuple(_kinds(rail_map)))
    path = sampler_cost_path(directory, machine_fingerprint(probe.facts))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(path.parent, error) from error
    write_json_atomic(
        path, {"schema": SCHEMA, "type": "calibration", "target": target.name, **asdict(cost)}
    )
    return Calibrated(target=target.name, path=path, cost=cost)


def _power_log(board: Board, folder: str) -> bytes:
    """Return what the sampler has logged; empty where it logged nothing."""
    with tempfile.TemporaryDirectory(prefix="gfbench-") as here:
        into = Path(here) / "power.csv"
        patience, stop = Patience(board.target), threading.Event()
        there = fetch_file(board, f"{folder}/power.csv", into, patience=patience, stop=stop)
        return into.read_bytes() if there else b""


def _rail_map(target: Target, probe: Probed) -> RailMap:
    plan = plan_power(probe.platform, probe.document, target.power.kind, target.power.argument)
    rail_map = rail_map_of(plan)
    if not job_power(rail_map):
        reason = plan.missing[0].reason if plan.missing else "its power is read from a file"
        raise CommandFailed(
            target.name,
            f"there is no sampler to measure: {reason}",
            remedy="`gfbench doctor` shows what can be read and how to get access to the rest",
        )
    return rail_map


def _job(
    target: Target,
    probe: Probe,
    rail_map: RailMap,
    name: str,
    rounds: int,
    seed: int,
) -> Job:
    case = Case(LAYERS[LAYER], BASELINE, None, "torch", "cpu", "float32", 1)
    shuffler = random.Random(seed)
    blocks: list[Block] = []
    for number in range(rounds):
        order = list(SAMPLING)
        shuffler.shuffle(order)
        for slot, sampling in enumerate(order):
            blocks.append(Block(len(blocks), number, slot, "timing", case, seed, sampling))
    return Job(
        schema=SCHEMA,
        run_id=name,
        target=target.name,
        blocks=tuple(blocks),
        min_window_s=WINDOW_S,
        isolation="fork",
        threads=target.threads or threads_of(probe),
        block_timeout_s=BLOCK_TIMEOUT_S,
        sysroot=target.sysroot,
        power=job_power(rail_map),
    )


def _measure(board: Board, folder: str, job: Job) -> tuple[BlockRecord, ...]:
    """Run the job to its end and return its blocks in their order."""
    stop = threading.Event()
    board.launch(folder, job.run_id, stop)
    ended: list[BlockRecord] = []
    where = Path(f"the journal of {board.target.name}")
    with contextlib.closing(
        board.follow(folder, 0, idle_deadline_s=IDLE_DEADLINE_S, stop=stop)
    ) as records:
        for record in records:
            if record["type"] == "end":
                break
            line = journal_line(record)
            if line is not None and line.content.get("type") == "block":
                ended.append(block_record(line.content, where))
    blocks = one_of_each_order(ended)
    failed = [block for block in blocks if block.status != "ok"]
    if failed or len(blocks) < len(job.blocks):
        reason = failed[0].reason if failed else "the runner ended early"
        raise CommandFailed(
            board.target.name, f"the calibration ended early: {reason}", remedy="try again"
        )
    return blocks


def _rounds(blocks: Sequence[BlockRecord], trace: Trace, rail_map: RailMap) -> tuple[Round, ...]:
    """Return each round's figures."""
    rounds = []
    drawn = total_power(trace, rail_map) if rail_map.total else None
    for number in sorted({block.round for block in blocks}):
        of_round = [block for block in blocks if block.round == number]
        (on,) = (block for block in of_round if block.sampling == 1.0)
        (sparse,) = (block for block in of_round if block.sampling == SPARSE)
        off, off_again = (block for block in of_round if block.sampling == 0.0)
        if number % 2:  # so that neither is always the earlier one
            off, off_again = off_again, off
        rounds.append(
            Round(
                on_s=_latency_s(on),
                off_s=_latency_s(off),
                off_again_s=_latency_s(off_again),
                on_w=_power_w(on, drawn),
                sparse_w=_power_w(sparse, drawn),
                cpu_share=_cpu_share(on),
            )
        )
    return tuple(rounds)


def _latency_s(block: BlockRecord) -> float:
    return float(np.median(block.timing["step"].times_s))


def _power_w(block: BlockRecord, drawn: tuple[FloatArray, FloatArray] | None) -> float | None:
    """Return the mean power over the block's timed windows."""
    if drawn is None:
        return None
    times_s, watts = drawn
    inside = np.zeros(times_s.size, dtype=bool)
    for phase in block.timing.values():
        if phase.window_s is not None:
            begin, end = phase.window_s
            inside |= (times_s >= begin) & (times_s <= end)
    return float(np.mean(watts[inside])) if inside.any() else None


def _cpu_share(block: BlockRecord) -> float | None:
    """Return the share of one core that the sampler used; None where it did not run."""
    if block.sampler_cpu_s is None or block.window_s is None:
        return None
    begin, end = block.window_s
    return block.sampler_cpu_s / (end - begin)


def _kinds(rail_map: RailMap) -> Iterable[str]:
    for sensor in rail_map.sensors:
        yield f"{sensor.id} every {sensor.interval_s:g} s"
