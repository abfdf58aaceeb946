from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gfbench_cli import MAIN, Cli
from make_run import make_run

from reports.exports import FORMATS

WITHOUT_PYARROW = "import sys; sys.modules['pyarrow'] = None; " + MAIN


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    make_run(tmp_path, rounds=2, run_id="run")
    return Cli(tmp_path)


def test_the_help_names_every_format(cli: Cli) -> None:
    words = "".join(cli("export", "--help").stdout.split())  # lines are broken at hyphens too
    assert all(name in words for name in FORMATS)


def test_parquet_goes_to_a_file_or_a_pipe(cli: Cli) -> None:
    assert cli("export", "run", "--format", "parquet", "-o", "r.parquet").stdout == "r.parquet\n"
    content = (cli.folder / "r.parquet").read_bytes()
    assert content[:4] == content[-4:] == b"PAR1"
    command = [sys.executable, "-c", MAIN, "export", "run", "--format", "parquet"]
    piped = subprocess.run(command, cwd=cli.folder, capture_output=True, check=True)
    assert piped.stdout == content


def test_parquet_is_not_poured_over_a_terminal(cli: Cli) -> None:
    ours, terminal = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "export", "run", "--format", "parquet"],
            cwd=cli.folder,
            stdout=terminal,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(ours)
    assert done.returncode == 2
    assert "name a file with -o" in done.stderr


def test_without_pyarrow_the_command_says_what_to_install(cli: Cli) -> None:
    cli.code = WITHOUT_PYARROW
    done = cli("export", "run", "--format", "parquet", "-o", "r.parquet")
    assert done.returncode == 2
    assert "gfbench[parquet]" in done.stderr
    assert cli("export", "run", "--format", "markdown").returncode == 0


def test_a_selector_that_fits_nothing_is_a_mistake_in_the_command(cli: Cli) -> None:
    done = cli("export", "run", "--case", "kernel=nativ")
    assert done.returncode == 2
    assert "choose from kernel=torch" in done.stderr
    kept = cli("export", "run", "--case", "method=exact,workload=early").stdout.splitlines()
    assert {line.split(",")[4] for line in kept[1:]} == {"exact"}
