"""The packed payload in a folder of its own, with jobs of tiny blocks, run by any Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.payloads import payload as payloads
from workloads.spec.messages import SCHEMA, Block, Case, Job, Layer, dump, to_json, unframe

TINY = Layer("tiny", 4, 4, 8, 8)
LARGE = Layer("large", 64, 64, 224, 224)  # some tenths of a second for a forward


def block(
    order: int,
    *,
    method: str = "gradient_filter",
    kind: str = "timing",
    layer: Layer = TINY,
    kernel: str = "torch",
    batch: int = 1,
    revision: str = "",
) -> Block:
    """Return a block of a case; ``exact`` has no patch size."""
    patch_size = None if method == "exact" else 2
    case = Case(layer, method, patch_size, kernel, "cpu", "float32", batch, revision)
    return Block(order, order, 0, kind, case, 17 + order)


@dataclass
class PackedPayload:
    """The payload on one 'board': a folder with a temporary folder, hence a lease, of its own."""

    folder: Path
    python: Path = Path(sys.executable)
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put the payload there."""
        packed = payloads.pack()
        self.path = self.folder / packed.name
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        self.path.write_bytes(packed.data)

    def command(self, *arguments: object) -> list[str]:
        """Return the command line of one of the payload's commands."""
        return [str(self.python), str(self.path), *map(str, arguments)]

    def environment(self) -> dict[str, str]:
        """Return the environment: the lease is kept apart from every other test's."""
        own = {"TMPDIR": str(self.folder / "tmp"), "OMP_NUM_THREADS": "1"}
        return {**os.environ, **own, **self.env}

    def call(
        self, *arguments: object, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            env=self.environment(),
            timeout=timeout_s,
            cwd=self.folder,
        )

    def records(self, *arguments: object, timeout_s: float = 120) -> list[dict[str, Any]]:
        """Run a command and return the records among what it printed."""
        done = self.call(*arguments, timeout_s=timeout_s)
        found = [unframe(line) for line in done.stdout.splitlines()]
        return [record for record in found if record is not None]

    def job(
        self,
        name: str,
        blocks: Sequence[Block],
        *,
        isolation: str = "fork",
        block_timeout_s: float = 60.0,
        min_window_s: float = 0.01,
        power: Mapping[str, Any] | None = None,
        idle_s: float = 0.0,
        pauses: bool = False,
        payloads: Mapping[str, str] | None = None,
        energy: bool = False,
    ) -> JobOnBoard:
        """Put a job there."""
        folder = self.folder / name
        folder.mkdir()
        job = Job(
            SCHEMA,
            f"run-{name}",
            "board",
            tuple(blocks),
            min_window_s,
            isolation,
            1,
            block_timeout_s,
            "/",
            dict(power or {}),
            idle_s,
            pauses,
            dict(payloads or {}),
            energy,
        )
        (folder / "job.json").write_text(dump(to_json(job)))
        return JobOnBoard(payload=self, folder=folder)


@dataclass
class JobOnBoard:
    """A job's folder and what can be done with it."""

    payload: PackedPayload
    folder: Path

    def launch(self) -> dict[str, Any]:
        """Start the runner and return its answer."""
        (answer,) = self.payload.records("run", self.folder)
        return answer

    def follow(self, offset: int = 0) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the journal's records as they were sent, and the end's."""
        *lines, end = self.payload.records("follow", self.folder, offset)
        assert all(line["type"] == "journal" for line in lines)
        return [parsed for line in lines if (parsed := _parsed(line["line"]))], end

    def run(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Run the job to its end and return journal and end."""
        answer = self.launch()
        assert answer["state"] == "started", answer
        return self.follow()

    def stop(self) -> bool:
        """End the runner."""
        (answer,) = self.payload.records("stop", self.folder)
        return bool(answer["stopped"])

    def journal(self) -> list[dict[str, Any]]:
        """Return the journal's records as they lie on the disk."""
        path = self.folder / "journal.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [parsed for line in lines if (parsed := _parsed(line))]

    def runner_pid(self) -> int:
        """Return the process id that the runner left in its lock."""
        return int(json.loads((self.folder / "runner.lock").read_text())["pid"])

    def block_pid(self, *, timeout_s: float = 60.0) -> int:
        """Wait for a block to be measured and return its process id."""
        children = Path(f"/proc/{self.runner_pid()}/task/{self.runner_pid()}/children")
        found: list[int] = []

        def measuring() -> bool:
            found[:] = [
                int(pid)
                for pid in children.read_text().split()
                if "sample" not in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            ]
            return bool(found)

        wait_until(measuring, timeout_s=timeout_s)
        return found[0]


def wait_until(happened: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    """Wait for something to happen, and fail if it does not."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
