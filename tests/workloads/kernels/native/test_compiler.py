"""Compiling on the board: what is left behind, and what is said where nothing can be loaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workloads.kernels.native import compiler
from workloads.spec.kernels import C_SOURCES

NATIVE = C_SOURCES["native"]
BUILD = """
from workloads.kernels.native import compiler
from workloads.spec.kernels import C_SOURCES
print(compiler.build(C_SOURCES["native"], ("REAL=float",)))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for compiled objects, and a compiler that leaves a temporary file, slowly."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "cc").write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && echo slow 1.0 && exit\n'
        "echo half > $TMPDIR/cc-half.s\n"
        "while [ ! -e $XDG_CACHE_HOME/go ]; do sleep 0.05; done\n"
        'while [ "$1" != -o ]; do shift; done\n'
        'echo object > "$2"\n'
    )
    (programs / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "gfbench" / "objects"


def compiling(folder: Path) -> subprocess.Popen[str]:
    """Start a process that compiles, and wait until its compiler runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(folder.glob("*/cc-half.s")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_what_a_killed_compile_has_left_is_removed_by_the_next(folder: Path) -> None:
    with compiling(folder) as process:
        os.killpg(process.pid, signal.SIGKILL)
    (left,) = folder.glob("*" + compiler.MAKING + "*")
    assert (left / "cc-half.s").exists()
    (folder.parents[1] / "go").touch()
    compiler.find_compiler.cache_clear()
    try:
        made = compiler.build(NATIVE, ("REAL=float",))
    finally:
        compiler.find_compiler.cache_clear()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [os.path.basename(made), os.path.basename(made) + ".lock"]
    )


def test_what_another_process_is_compiling_stays(folder: Path) -> None:
    with compiling(folder) as process:
        compiler.__dict__["_remove_unfinished"](str(folder))
        assert list(folder.glob("*/cc-half.s"))
        (folder.parents[1] / "go").touch()
        made, _ = process.communicate(timeout=60)
    assert Path(made.strip()).read_text() == "object\n"
    assert not list(folder.glob("*" + compiler.MAKING + "*"))


def test_a_folder_that_cannot_be_written_is_named_with_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gfbench").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(compiler.CompilerError, match=r"cannot be written: .*`workdir`"):
        compiler.load(NATIVE, ("REAL=float",))
