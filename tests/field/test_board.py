"""Cases from the field: what happens to Python, torch and the work folder of a board."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gfbench_cli import Cli, Finished
from sshd import ClientHome, running_sshd

TESTS = Path(__file__).resolve().parents[1]
CASES = TESTS / "data" / "field"
SUITE = """
workloads:
  - {name: tiny, in_channels: 4, out_channels: 4, height: 8, width: 8}
methods: [exact, gradient_filter]
patch_sizes: [2]
rounds: 1
memory_rounds: 0
fidelity_rounds: 0
isolation: fork
min_window_s: 0.01
sentinel: false
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, SUITE)


def describe(cli: Cli, **entry: Any) -> None:
    """Write the inventory's entry of this machine."""
    content = {"targets": {"local": entry}}
    (cli.folder / "inventory.yaml").write_text(json.dumps(content))


def use_case(cli: Cli, name: str) -> None:
    """Let every Python of the board begin with what the case has."""
    folder = cli.folder / "hook"
    folder.mkdir()
    shutil.copy(TESTS / "support" / "torch_hook.py", folder)
    shutil.copy(CASES / name / "sitecustomize.py.txt", folder / "sitecustomize.py")
    describe(cli, env={"PYTHONPATH": str(folder)})


def run(cli: Cli, *arguments: str) -> Finished:
    return cli.run("-i", "inventory.yaml", *arguments)


def doctor(cli: Cli, target: str = "local") -> subprocess.CompletedProcess[str]:
    done = cli("doctor", "-t", target)
    assert "this is a bug" not in done.stderr, done.stderr
    return done


def compiler_of(cli: Cli, command: str) -> Path:
    """Return a folder with a C compiler that does this, but for telling its version."""
    programs = cli.folder / "bin"
    programs.mkdir()
    script = f'#!/bin/sh\n[ "$1" = --version ] && echo cc 1.0 && exit\n{command}\n'
    (programs / "cc").write_text(script)
    (programs / "cc").chmod(0o755)
    return programs


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a filesystem of its own on a folder; skip the test where that needs another user."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if done.returncode != 0:
        pytest.skip(f"a file system of its own needs root: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=20)


# clocks --------------------------------------------------------------------------------------


def test_c1_a_slow_import_of_torch_is_no_difference_between_clocks(cli: Cli) -> None:
    home = ClientHome(cli.folder / "home")
    with running_sshd(cli.folder / "sshd", home) as board:
        home.trust(board)
        use_case(cli, "C1-slow-probe-clock")
        inventory = json.loads((cli.folder / "inventory.yaml").read_text())
        inventory["targets"]["board"] = {
            **inventory["targets"]["local"],
            "host": board.host,
            "port": board.port,
            "user": board.user,
            "python": sys.executable,
            "workdir": str(cli.folder / "work"),
        }
        (cli.folder / "inventory.yaml").write_text(json.dumps(inventory))
        with ThreadPoolExecutor(2) as pool:
            both = pool.map(lambda name: doctor(cli, name), ("local", "board"))
            for name, done in zip(("local", "board"), both, strict=True):
                assert done.stdout.startswith(f"{name}: "), done.stderr
                assert "clock is" not in done.stdout
                assert "cannot" not in done.stdout.splitlines()[0]


def test_a_clock_that_is_off_is_told(cli: Cli) -> None:
    folder = cli.folder / "hook"
    folder.mkdir()
    ahead = "import time\nright = time.time\ntime.time = lambda: right() + 600\n"
    (folder / "sitecustomize.py").write_text(ahead)
    describe(cli, env={"PYTHONPATH": str(folder)})
    assert "the machine's clock is +600 s off" in doctor(cli).stdout


# torch ---------------------------------------------------------------------------------------


def test_x1_a_version_of_nvidias_wheels_is_read_and_kept_as_it_is(cli: Cli) -> None:
    use_case(cli, "X1-torch-version-nv")
    finished = run(cli)
    assert finished.code == 0, finished.err
    probe = json.loads((finished.run / "targets" / "local" / "probe.json").read_text())
    assert probe["torch"]["version"] == "2.0.0.nv23.05"
    assert "2.0.0.nv23.05" in finished.page
    assert {block["status"] for block in finished.blocks()} == {"ok"}


def test_x3_an_illegal_instruction_in_a_block_is_named_and_the_others_go_on(cli: Cli) -> None:
    use_case(cli, "X3-sigill-in-the-block")
    finished = run(cli)
    assert finished.code == 1
    blocks = finished.blocks()
    assert (
        len(blocks)
        == json.loads((finished.run / "targets" / "local" / "session.json").read_text())[
            "blocks_planned"
        ]
    )
    for block in blocks:
        assert block["status"] == "failed"
        assert "signal 4, illegal instruction" in block["reason"]
        assert "OPENBLAS_CORETYPE" in block["reason"]
        assert "a torch wheel for this processor" in block["reason"]
    assert "illegal instruction" in finished.err


def test_x3b_an_import_of_torch_that_ends_in_an_illegal_instruction_is_named(cli: Cli) -> None:
    use_case(cli, "X3b-sigill-at-import")
    asked, measured = doctor(cli), run(cli)
    assert (asked.returncode, measured.code) == (4, 4)
    for said in (asked.stdout, measured.err):
        assert "importing torch ended Python with signal 4, illegal instruction" in said
        assert "OPENBLAS_CORETYPE=ARMV8, which gfbench tried, does not help" in said
        assert "install a torch wheel for this processor" in said


def test_an_import_of_torch_that_openblas_coretype_helps_is_helped(cli: Cli) -> None:
    use_case(cli, "X3b-sigill-at-import")
    hook = cli.folder / "hook" / "sitecustomize.py"
    helped = 'if "OPENBLAS_CORETYPE" not in os.environ:\n    when_torch_is_imported('
    hook.write_text(hook.read_text().replace("when_torch_is_imported(", helped))
    done = doctor(cli)
    assert done.stdout.startswith("local: ")
    assert "torch" not in done.stdout


def test_x5_a_python_without_torch_is_named_with_the_setting_of_another(cli: Cli) -> None:
    python = cli.folder / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without what is installed
    python.chmod(0o755)
    describe(cli, python=str(python))
    asked, measured = doctor(cli), run(cli)
    assert (asked.returncode, measured.code) == (1, 4)
    assert "torch cannot be imported: ModuleNotFoundError: No module named 'torch'" in asked.stdout
    assert "`python:`" in asked.stdout
    assert "cannot import torch: ModuleNotFoundError: No module named 'torch'" in measured.err
    assert "`python:`" in measured.err


# the work folder -----------------------------------------------------------------------------


def test_s14_a_work_folder_that_is_mounted_noexec_is_named(cli: Cli) -> None:
    work = cli.folder / "work"
    work.mkdir()
    with mounted(work, "noexec,size=64m"):
        programs = compiler_of(cli, 'exec /usr/bin/cc "$@" -O0')  # which is quick
        describe(cli, workdir=str(work), env={"PATH": f"{programs}:/usr/bin:/bin"})
        measured = run(cli, "--kernel", "native")
    probe = json.loads((measured.run / "targets" / "local" / "probe.json").read_text())
    assert probe["workdir"] == {"path": str(work), "noexec": True}  # which doctor tells of
    assert measured.code == 0, measured.err
    assert f"nothing can be run from {work}/objects, whose filesystem is mounted noexec" in (
        measured.err
    )
    assert "name another place with `workdir` in the inventory" in measured.err
    assert "torch was measured instead" in measured.err
    methods = {(block["case"]["method"], block["case"]["kernel"]) for block in measured.blocks()}
    assert ("gradient_filter", "torch") in methods


def test_s15_a_read_only_home_is_named_and_another_work_folder_helps(cli: Cli) -> None:
    home = cli.folder / "board"
    home.mkdir()
    with mounted(home, "ro"):
        describe(cli, env={"HOME": str(home)})
        asked, measured = doctor(cli), run(cli)
        describe(cli, env={"HOME": str(home)}, workdir=str(cli.folder / "work"))
        elsewhere = doctor(cli)
    assert (asked.returncode, measured.code) == (4, 4)
    assert elsewhere.stdout.startswith("local: ")
    assert elsewhere.returncode != 4
    assert (cli.folder / "work").is_dir()
    for said in (asked.stdout, measured.err):
        assert "nothing can be written to the folder ~/.cache/gfbench on the board" in said
        assert "Read-only file system" in said
        assert "`workdir:`" in said
        assert "import torch" not in said


# deadlines -----------------------------------------------------------------------------------


def test_an_import_of_torch_that_takes_too_long_is_named_with_its_setting(cli: Cli) -> None:
    use_case(cli, "C1-slow-probe-clock")
    inventory = json.loads((cli.folder / "inventory.yaml").read_text())
    describe(cli, **inventory["targets"]["local"], import_s=1)
    done = doctor(cli)
    assert done.returncode == 4
    assert "importing torch has not ended within 1 s" in done.stdout
    assert "`import_s` in the inventory" in done.stdout


def test_a_compiler_that_takes_too_long_is_named_with_its_setting(cli: Cli) -> None:
    programs = compiler_of(cli, "exec sleep 600")
    describe(cli, env={"PATH": f"{programs}:/usr/bin:/bin"}, compile_s=1)
    done = cli("list", "kernels", "-t", "local")
    assert done.returncode == 0, done.stderr
    assert "compiling and trying kernel native has not ended within 1 s" in done.stdout
    assert "`compile_s` in the inventory gives it longer" in done.stdout
