"""Case L1: a strict ASCII locale, and an inventory with a label that ASCII does not have."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from gfbench_cli import Cli
from tiny_suite import tiny_suite

CASE = Path(__file__).resolve().parents[1] / "data" / "field" / "L1-ascii-stdout"
ASCII = {
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
}
SUITE = tiny_suite(description="für Wärme, 10 µs")


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "inventory.yaml").write_bytes((CASE / "inventory.yaml").read_bytes())
    (folder / "home").mkdir()
    cli = Cli(folder)
    (folder / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    cli.environment |= ASCII
    return cli


@pytest.fixture(scope="module")
def run(cli: Cli) -> Path:
    done = cli.run()
    assert done.code == 0, done.err
    return done.run


@pytest.mark.parametrize(
    "arguments",
    [
        ["show"],
        ["resume"],
        ["report"],
        ["verify"],
        ["export", "--format", "csv"],
    ],
    ids=" ".join,
)
def test_l1_a_command_on_a_run_ends_well_in_an_ascii_locale(
    cli: Cli, run: Path, arguments: list[str]
) -> None:
    name, *options = arguments
    done = cli(name, str(run), *options)
    ended_well(done)
    assert done.stdout.isascii() or name == "export"  # a file in UTF-8, wherever it goes


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "targets"],
        ["schema"],
        ["run", "-t", "local", "--suite", "tiny.yaml", "--dry-run"],
    ],
    ids=" ".join,
)
def test_l1_so_does_one_without_a_run(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    ended_well(done)
    assert done.stdout.isascii()


def ended_well(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert "UnicodeEncodeError" not in done.stderr
    assert done.stderr.isascii()


def test_l1_a_character_that_ascii_lacks_is_written_by_its_number(cli: Cli) -> None:
    done = cli("run", "-t", "local", "--suite", "tiny.yaml", "--dry-run")
    assert r"suite tiny: f\xfcr W\xe4rme, 10 \xb5s" in done.stdout
