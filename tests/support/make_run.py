"""Small synthetic result folders, seeded: what a run would have left on disk."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_networks import (
    LEFT_OUT,
    FakeNetwork,
    is_left_out,
    network_by_layer,
    network_cases,
    network_fidelity,
    network_memory,
    network_of,
    phase_seconds,
)
from fake_power import CURVES, idle_windows, write_power
from power_curves import Curve

from workloads.spec.messages import PHASES, SCHEMA

LAYERS = (("early", 16, 56), ("middle", 32, 28), ("late", 64, 14))
METHODS: tuple[tuple[str, int | None], ...] = (
    ("exact", None),
    ("gradient_filter", 2),
    ("gradient_filter", 4),
)
# Seconds of one backward relative to exact, and what is saved of the input.
BACKWARD = {None: 1.0, 2: 0.42, 4: 0.25}
SAVED = {None: 1.0, 2: 0.27, 4: 0.08}
COSINE = {2: 0.94, 4: 0.88}

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FakeTarget:
    """What one target of the run is to look like."""

    name: str = "board-a"
    platform: str = "linux-arm"
    hostname: str = "board-a.lan"
    speed: float = 1.0
    noise: float = 0.01
    drift: float = 0.03  # of the clock, over minutes
    power: bool = False
    curves: Mapping[str, Curve] = field(default_factory=lambda: CURVES)
    scope: str = "module input"
    window_s: float = 0.2
    temperatures: bool = True
    status: str = "ok"
    reason: str | None = None
    remedy: str | None = None
    shares_machine_with: Sequence[str] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)  # case key -> reason
    broken: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # case key -> status, why
    broken_rounds: Sequence[int] | None = None  # None: all of them
    stop_after: int | None = None  # blocks


def make_case(layer: tuple[str, int, int], method: str, patch_size: int | None) -> Json:
    """Return one case as JSON."""
    name, channels, size = layer
    return {
        "layer": {
            "name": name,
            "in_channels": channels,
            "out_channels": channels,
            "height": size,
            "width": size,
            "kernel_size": [3, 3],
            "stride": [1, 1],
            "padding": [1, 1],
            "dilation": [1, 1],
            "groups": 1,
            "bias": True,
        },
        "method": method,
        "patch_size": patch_size,
        "kernel": "torch",
        "device": "cpu",
        "dtype": "float32",
        "batch": 8,
    }


def case_key(case: Json) -> str:
    """Return the key that the payload gives the case."""
    method, patch = case["method"], case["patch_size"]
    label = method if patch is None else f"{method}-r{patch}"
    workload = case["network"] if "network" in case else case["layer"]
    parts = (workload["name"], label, case["kernel"], case["device"], case["dtype"])
    return "/".join((*parts, f"b{case['batch']}"))


def make_run(
    directory: Path,
    *,
    targets: Sequence[FakeTarget] = (FakeTarget(),),
    rounds: int = 6,
    layers: Sequence[tuple[str, int, int]] = LAYERS,
    networks: Sequence[FakeNetwork] = (),
    seed: int = 1,
    run_id: str = "20261122-190000-abc123",
) -> Path:
    """Write a result folder and return its path."""
    run = directory / run_id
    cases = [make_case(layer, method, patch) for layer in layers for method, patch in METHODS]
    for network in networks:
        cases += network_cases(network)
    header = {
        "schema": SCHEMA,
        "run_id": run_id,
        "started_at": "2026-11-22T19:00:00Z",
        "finished_at": "2026-11-22T19:04:00Z",
        "argv": ["gfbench", "run", "-t", targets[0].name, "--suite", "quick", "--seed", str(seed)],
        "seed": seed,
        "rounds": rounds,
        "suite": {"name": "quick", "description": "three small layers"},
        "plan": {"cases": cases, "phases": PHASES, "min_window_s": 0.2, "isolation": "fork"},
        "tool": {
            "version": "0.1.0",
            "git": {"revision": "0123abcd" * 5, "dirty": False},
            "python": "3.11.2",
        },
        "payload": {"name": "gfbench-0123456789ab.pyz", "sha256": "0" * 64},
        "kernels": [{"name": "torch", "version": "1", "source_sha256": "1" * 64}],
        "targets": {target.name: {"host": target.hostname} for target in targets},
    }
    write_json(run / "run.json", header)
    for number, target in enumerate(targets):
        maker = BlockMaker(target=target, networks=networks, rng=random.Random(seed + number))
        _write_target(run / "targets" / target.name, maker, cases, rounds)
    return run


def write_json(path: Path, value: object) -> None:
    """Write a JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def edit_json(path: Path, change: Callable[[Json], None]) -> None:
    """Load a JSON file, change it in place, and write it back."""
    document = json.loads(path.read_text())
    change(document)
    write_json(path, document)


def _write_target(folder: Path, maker: BlockMaker, cases: Sequence[Json], rounds: int) -> None:
    target = maker.target
    measured = [case for case in cases if case_key(case) not in target.skipped]
    blocks = _blocks(maker, measured, rounds)
    planned = len(blocks)
    kept = blocks[: target.stop_after]
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_text("".join(json.dumps(block) + "\n" for block in kept))
    write_json(folder / "session.json", _session(target, cases, planned))
    write_json(folder / "probe.json", _probe(target))
    if target.power:
        idle = idle_windows(kept)
        with (folder / "journal.jsonl").open("a") as journal:
            for place, window in zip(("before", "after"), idle, strict=True):
                record = {"schema": SCHEMA, "type": "idle", "place": place, "window_s": window}
                journal.write(json.dumps(record) + "\n")
        write_power(folder, kept, idle, curves=target.curves, scope=target.scope)


def _session(target: FakeTarget, cases: Sequence[Json], planned: int) -> Json:
    skipped = [
        {"case": case, "case_key": case_key(case), "reason": target.skipped[case_key(case)]}
        for case in cases
        if case_key(case) in target.skipped
    ]
    return {
        "schema": SCHEMA,
        "target": target.name,
        "platform": target.platform,
        "status": target.status,
        "reason": target.reason,
        "remedy": target.remedy,
        "error": "Unreachable" if target.status == "infra" else None,
        "started_at": "2026-11-22T19:00:01Z",
        "finished_at": "2026-11-22T19:03:59Z",
        "boot_id": "b007",
        "shares_machine_with": list(target.shares_machine_with),
        "blocks_planned": planned,
        "skipped": skipped,
        "notes": [],
    }


def _probe(target: FakeTarget) -> Json:
    return {
        "schema": SCHEMA,
        "python": "3.6.9",
        "executable": "/usr/bin/python3",
        "torch": {"version": "1.10.2", "threads": 4, "cuda": None},
        "torch_error": None,
        "machine": "aarch64",
        "kernel": "4.9.253-tegra",
        "os": "Ubuntu 18.04.6 LTS",
        "libc": "glibc 2.27",
        "hostname": target.hostname,
        "boot_id": "b007",
        "model": f"A board called {target.name}",
        "l4t": None,
        "cpu": {
            "model": "Cortex-A57",
            "logical": 4,
            "physical": 4,
            "online": [0, 1, 2, 3],
            "mhz": [1479.0] * 4,
            "governor": "schedutil",
            "max_mhz": 1479.0,
        },
        "memory": {"total_bytes": 4 << 30, "available_bytes": 3 << 30, "swap_total_bytes": 0},
        "threads": 4,
    }


@dataclass(frozen=True, kw_only=True)
class BlockMaker:
    """Makes the blocks of one target."""

    target: FakeTarget
    networks: Sequence[FakeNetwork]
    rng: random.Random

    def block(self, case: Json, kind: str, clock: float) -> Json:
        """Return one block that begins at ``clock``, in seconds."""
        block: Json = {
            "schema": SCHEMA,
            "type": "block",
            "kind": kind,
            "seed": 1,
            "case": case,
            "case_key": case_key(case),
            "pid": 1234,
            "status": "ok",
            "reason": None,
            "traceback": None,
            "started_at": "2026-11-22T19:00:00Z",
            "threads": 4,
            "isolation": "fork",
            "allocator": {"mmap_threshold_bytes": 1 << 30},
            "state_before": _state(self.target, clock, self.rng),
            "log_tail": "",
        }
        end = clock + 0.2
        if kind == "timing":
            block["timing"], end = self._timing(case, clock)
        elif "network" in case:
            block.update(self._of_network(case, kind))
        elif kind == "memory":
            block["memory"] = _memory(case)
        else:
            block["fidelity"] = _fidelity(case, self.rng)
        if case["kernel"] == "compiled":
            block["compile_s"] = 41.5
        block["window_s"] = [clock, end]
        block["state_after"] = _state(self.target, end, self.rng)
        return block

    def _of_network(self, case: Json, kind: str) -> Json:
        network = network_of(case, self.networks)
        if kind == "memory":
            return {"memory": network_memory(case, network)}
        if kind == "fidelity":
            return network_fidelity(case, network, self.rng)
        return {"by_layer": network_by_layer(case, network)}

    def _timing(self, case: Json, clock: float) -> tuple[Json, float]:
        target, rng = self.target, self.rng
        drift = 1 + target.drift * math.sin(clock / 20)
        process = math.exp(rng.gauss(0, target.noise))
        timing: Json = {}
        for phase, seconds in self._phases(case).items():
            mean = seconds / target.speed * drift * process
            count = max(12, min(60, int(target.window_s / mean)))
            loops = max(1, round(target.window_s / mean / count))
            times = [mean * math.exp(rng.gauss(0, target.noise)) for _ in range(count)]
            warmup = [mean * 1.8, mean * 1.2, mean * 1.05]
            start = clock + sum(warmup)
            clock = start + sum(times) * loops
            timing[phase] = {
                "loops": loops, "warmup_s": warmup, "times_s": times, "window_s": [start, clock],
            }  # fmt: skip
        return timing, clock

    def _phases(self, case: Json) -> dict[str, float]:
        """Return the seconds of each phase on a machine of speed 1."""
        if "network" in case:
            return phase_seconds(case, network_of(case, self.networks))
        layer = case["layer"]
        work = layer["in_channels"] * layer["out_channels"] * layer["height"] ** 2 * 1e-9
        forward_s = 2 * work
        backward_s = 2 * forward_s * BACKWARD[case["patch_size"]]
        return {"forward": forward_s, "backward": backward_s, "step": forward_s + backward_s}


def _blocks(maker: BlockMaker, cases: Sequence[Json], rounds: int) -> list[Json]:
    blocks: list[Json] = []
    clock = 100.0
    plan = [("memory", 0), ("fidelity", 0), ("by_layer", 0)]
    plan += [("timing", round_) for round_ in range(rounds)]
    for kind, round_ in plan:
        order = [case for case in cases if _has_block(case, kind)]
        maker.rng.shuffle(order)
        for slot, case in enumerate(order):
            block = maker.block(case, kind, clock)
            block.update(order=len(blocks), round=round_, slot=slot)
            _break(block, maker.target)
            if is_left_out(case, kind, round_):
                block.update(status="left_out", reason=LEFT_OUT)
                block.pop("timing")
            blocks.append(block)
            clock = block["window_s"][1] + 0.05
    return blocks


def _has_block(case: Json, kind: str) -> bool:
    """Tell whether a case has blocks of this kind."""
    if kind == "by_layer":
        return "network" in case
    return kind != "fidelity" or case["method"] == "gradient_filter"


def _break(block: Json, target: FakeTarget) -> None:
    wrong = target.broken.get(block["case_key"])
    if wrong is None or (
        target.broken_rounds is not None
        and (block["kind"] != "timing" or block["round"] not in target.broken_rounds)
    ):
        return
    block["status"], block["reason"] = wrong
    for part in ("timing", "memory", "fidelity", "by_layer"):
        block.pop(part, None)


def _memory(case: Json) -> Json:
    layer = case["layer"]
    map_bytes = 4 * case["batch"] * layer["in_channels"] * layer["height"] * layer["width"]
    saved = int(map_bytes * SAVED[case["patch_size"]])
    return {
        "saved_bytes": saved,
        "peak_rss_bytes": saved + 4 * map_bytes,
        "peak_rss_method": "VmHWM after clear_refs",
        "cuda_peak_bytes": None,
        "system_dip_bytes": saved + 5 * map_bytes,
    }


def _fidelity(case: Json, rng: random.Random) -> Json:
    def six(cosine: float) -> Json:
        return {
            "cosine_gx": cosine,
            "scale_gx": 1.0 + rng.gauss(0, 0.01),
            "rel_error_gx": math.sqrt(max(0.0, 1 - cosine**2)),
            "cosine_gw": min(1.0, cosine + 0.02),
            "scale_gw": 1.0 + rng.gauss(0, 0.01),
            "rel_error_gw": math.sqrt(max(0.0, 1 - min(1.0, cosine + 0.02) ** 2)),
        }

    cosine = COSINE[case["patch_size"]] + rng.gauss(0, 0.01)
    return {"one_over_f": six(cosine), "white_noise": six(cosine / 4)}


def _state(target: FakeTarget, t_s: float, rng: random.Random) -> Json:
    zones = {"CPU-therm": 58 - 13 * math.exp((100 - t_s) / 60) + rng.random(), "off": None}
    return {
        "t_s": t_s,
        "temperatures_c": zones if target.temperatures else {},
        "cpu_mhz": [1479.0, 1479.0, 1428.0, 1479.0] if target.temperatures else [],
        "governor": "schedutil",
        "throttle": {"cooling": 0},
        "mem_available_bytes": 3 << 30,
        "load_1m": 1.0,
    }
