"""Synthetic histories: the summaries of many runs over a few targets, seeded, without raw samples.

Each target has its speed, its noise from run to run, a step in one method's latency at some run,
and one change of its machine (a new torch). The summaries lie in a cache as ``gfbench publish``
keeps them, beside folders that hold no more than a run.json and a manifest.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from reports.metrics.summary import SummaryRow
from reports.metrics.table import metric_of
from reports.site.run_data import pack
from reports.site.sources import cache_path, digest_of

BOARDS = (
    ("jetson-nano", "jetson-nano", "NVIDIA Jetson Nano Developer Kit", 1.0),
    ("jetson-xavier", "jetson-xavier-nx", "NVIDIA Jetson Xavier NX", 3.1),
    ("orin-1", "jetson-orin-nano", "NVIDIA Jetson Orin Nano", 4.2),
    ("orin-2", "jetson-orin-nano", "NVIDIA Jetson Orin Nano", 4.1),
    ("pi4", "raspberry-pi-4", "Raspberry Pi 4 Model B", 0.7),
    ("pi5", "raspberry-pi-5", "Raspberry Pi 5", 1.7),
    ("nuc", "linux-x86", "Intel NUC", 6.0),
    ("ci-runner", "linux-x86", "", 5.0),
)
WORKLOADS = (("mcunet-early", 0.021), ("mobilenet-block", 0.048), ("resnet-late", 0.012))
Method = tuple[str, "int | None", str, float, float, float]
Figure = tuple[str, str, "float | None"]  # metric, phase, value
METHODS: tuple[Method, ...] = (
    # method, r, kernel, backward of exact's, saved of exact's, cosine
    ("exact", None, "torch", 1.0, 1.0, 1.0),
    ("gradient_filter", 2, "torch", 0.42, 0.27, 0.96),
    ("gradient_filter", 4, "torch", 0.27, 0.08, 0.91),
    ("gradient_filter", 2, "native", 0.35, 0.27, 0.96),
)
PHASES = ("forward", "backward", "step")
START = datetime(2023, 1, 2, tzinfo=timezone.utc)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """How many runs there are, over how many targets, and what goes wrong in them."""

    runs: int = 300
    targets: int = 8
    seed: int = 1
    step_at: float = 0.6  # share of a target's runs after which a kernel is slower
    step: float = 1.12
    torch_at: float = 0.35
    hostile: str = ""  # a target's name, hostname's place and reasons
    noise: float = 0.008


def summary_rows(plot: Plot, number: int) -> tuple[str, tuple[SummaryRow, ...]]:
    """Return run id and rows of one run; each run is of one target, in turn."""
    rng = random.Random(plot.seed * 1_000_003 + number)
    board = number % plot.targets
    name, platform, model, speed = BOARDS[board % len(BOARDS)]
    name = name if board < len(BOARDS) else f"{name}-{board}"
    if plot.hostile and board == plot.targets - 1:
        name, model = plot.hostile, plot.hostile
    place, own = number // plot.targets, plot.runs // plot.targets
    when = START + timedelta(hours=3.4 * number * 7400 / max(plot.runs, 1) / 8)
    sha = hashlib.sha256(f"{plot.seed} {number}".encode()).hexdigest()[:6]
    run_id = f"{when:%Y%m%d-%H%M%S}-{sha}"
    facts = _Facts(
        run_id=run_id,
        target=name,
        platform=platform,
        started_at=f"{when:%Y-%m-%dT%H:%M:%SZ}",
        environment=_environment(model, platform, place >= plot.torch_at * own),
        slow=place >= plot.step_at * own,
    )
    return run_id, tuple(_rows(plot, facts, speed, rng, board))


@dataclass(frozen=True, kw_only=True)
class _Facts:
    run_id: str
    target: str
    platform: str
    started_at: str
    environment: str
    slow: bool


def _environment(model: str, platform: str, new: bool) -> str:
    facts = {"model": model, "machine": "aarch64" if "x86" not in platform else "x86_64",
             "cores": 4, "memory_bytes": 4 << 30, "os": "Ubuntu 22.04.4 LTS", "linux": "5.15.0",
             "torch": "2.4.1" if new else "2.1.0", "python": "3.10.12", "threads": 4}  # fmt: skip
    return json.dumps(facts, sort_keys=True)


def _rows(
    plot: Plot, facts: _Facts, speed: float, rng: random.Random, board: int
) -> Iterator[SummaryRow]:
    for workload, base in WORKLOADS:
        for method in METHODS:
            slow = plot.step if facts.slow and method[2] == "native" and board % 3 == 0 else 1.0
            for metric, phase, value in (
                *_costs(plot, facts, method, base / speed, slow, rng),
                *_fidelity(method, rng),
                *_memory(method, base, rng),
            ):
                yield _row(plot, facts, (workload, *method[:3]), metric, phase, value)


def _costs(
    plot: Plot, facts: _Facts, method: Method, base_s: float, slow: float, rng: random.Random
) -> Iterator[Figure]:
    power_w = 6.0 if facts.platform.startswith("jetson") else None
    parts = {"forward": 1.0, "backward": 2.0, "step": 3.0}
    shares = {"forward": 1.04, "backward": method[3], "step": (1.04 + 2 * method[3]) / 3}
    for phase, part in parts.items():
        exact_s = base_s * part
        noise = math.exp(rng.gauss(0, plot.noise))
        latency_s = exact_s * (shares[phase] if method[1] else 1.0) * slow * noise
        yield "latency_s", phase, latency_s
        if method[1] and phase != "forward":
            yield "speedup", phase, exact_s / latency_s
        if power_w is not None:
            yield "energy_j", phase, latency_s * power_w * math.exp(rng.gauss(0, 0.01))


def _fidelity(method: Method, rng: random.Random) -> Iterator[Figure]:
    if method[1]:
        for metric, value in (("cosine_gx", method[5] - 0.06), ("cosine_gw", method[5])):
            yield metric, "", value + rng.gauss(0, 0.001)
            yield metric, "white_noise", value / 4
        for metric in ("scale_gx", "scale_gw", "rel_error_gx", "rel_error_gw"):
            yield metric, "", 0.3 + rng.gauss(0, 0.001)


def _memory(method: Method, base: float, rng: random.Random) -> Iterator[Figure]:
    saved = 1.0 + method[4]
    yield "saved_bytes", "", 3.2e8 * method[4] * base
    yield "peak_rss_bytes", "", 2.1e7 * saved * math.exp(rng.gauss(0, 0.004))
    yield "system_dip_bytes", "", 2.4e7 * saved
    yield "cuda_peak_bytes", "", None
    yield "temperature_c", "", 52.0 + rng.gauss(0, 2)


def _row(
    plot: Plot,
    facts: _Facts,
    case: tuple[str, str, int | None, str],
    metric: str,
    phase: str,
    value: float | None,
) -> SummaryRow:
    workload, method, patch, kernel = case
    version = "2" if facts.slow and kernel == "native" else "1"
    return SummaryRow(
        run_id=facts.run_id,
        target=facts.target,
        platform=facts.platform,
        workload=workload,
        method=method,
        patch_size=patch,
        kernel=kernel,
        device="cpu",
        dtype="float32",
        batch=8,
        phase=phase,
        metric=metric,
        unit=metric_of(metric).unit,
        value=value,
        ci_low=None if value is None else value * 0.995,
        ci_high=None if value is None else value * 1.005,
        n=8 if value is not None else 0,
        status="ok" if value is not None else "missing",
        reason="" if value is not None else plot.hostile or "no CUDA device",
        started_at=facts.started_at,
        fingerprint=hashlib.sha256(facts.environment.encode()).hexdigest()[:16],
        environment=facts.environment,
        boot_id="b007",
        kernel_version=version,
        kernel_sha256=hashlib.sha256(f"{kernel} {version}".encode()).hexdigest(),
        tool_version="0.1.0",
        suite="quick",
    )


def write_runs(plot: Plot, folder: Path, cache: Path, numbers: Sequence[int] | None = None) -> None:
    """Write folders of runs without samples, and their summaries into a cache."""
    for number in range(plot.runs) if numbers is None else numbers:
        run_id, rows = summary_rows(plot, number)
        run = folder / run_id
        run.mkdir(parents=True)
        text = json.dumps({"schema": "gfbench/1", "run_id": run_id})
        (run / "run.json").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (run / "MANIFEST.sha256").write_text(f"{digest}  run.json\n")
        packed = pack(rows, run=_run_facts(rows[0], digest_of(run)))
        path = cache_path(cache, digest_of(run))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(packed))


def _run_facts(row: SummaryRow, digest: str) -> dict[str, Any]:
    return {
        "run_id": row.run_id,
        "digest": digest,
        "started_at": row.started_at,
        "suite": row.suite,
        "tool_version": row.tool_version,
    }
