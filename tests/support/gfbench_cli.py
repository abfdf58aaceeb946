"""The command line in a process and a home of its own, for tests that measure on this machine."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAIN = "from harness.cli import main; main()"
WITHOUT_ZIG = "import sys; sys.modules['ziglang'] = None; " + MAIN
SUITE = """
description: tiny layers for tests
workloads:
  - {name: tiny, in_channels: 4, out_channels: 4, height: 8, width: 8}
patch_sizes: [2]
rounds: 2
memory_rounds: 1
fidelity_rounds: 1
isolation: fork
min_window_s: 0.01
"""


@dataclass
class Finished:
    """How a command ended, and the run that it left."""

    code: int
    out: str
    err: str
    run: Path

    def journal(self) -> list[dict[str, Any]]:
        """Return the records of the journal of ``local``."""
        path = self.run / "targets" / "local" / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def blocks(self, **wanted: str) -> list[dict[str, Any]]:
        """Return the blocks whose case has these attributes; ``kind`` and ``status`` as well."""
        return [
            record
            for record in self.journal()
            if record["type"] == "block"
            and all({**record["case"], **record}[key] == value for key, value in wanted.items())
        ]

    @property
    def header(self) -> dict[str, Any]:
        """run.json."""
        content: dict[str, Any] = json.loads((self.run / "run.json").read_text())
        return content

    @property
    def page(self) -> str:
        """The report."""
        return (self.run / "report.html").read_text()


class Cli:
    """Runs ``gfbench`` below a folder; objects that are compiled stay in ``cache`` if given."""

    def __init__(self, folder: Path, suite: str = SUITE) -> None:
        self.folder = folder
        for name in ("home", "tmp"):
            (folder / name).mkdir(exist_ok=True)
        (folder / "tiny.yaml").write_text(suite)
        self.code = MAIN
        self.environment = {
            **os.environ,
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "COLUMNS": "200",
        }

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-c", self.code, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def run(self, *arguments: str, **environment: str) -> Finished:
        """Measure the tiny suite on this machine."""
        options = ("-t", "local", "--suite", "tiny.yaml", "--seed", "1", "-o", "results")
        done = self("run", *options, *arguments, **environment)
        assert "this is a bug" not in done.stderr, done.stderr
        runs = sorted((self.folder / "results").glob("2*"))
        assert runs, done.stderr
        return Finished(code=done.returncode, out=done.stdout, err=done.stderr, run=runs[-1])

    def export(self, run: Path) -> list[dict[str, str]]:
        """Return the rows of the CSV export."""
        done = self("export", str(run), "--format", "csv")
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))
