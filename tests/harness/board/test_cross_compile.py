"""Kernels compiled here for boards without a compiler: for this machine for real, others by ELF."""

from __future__ import annotations

import hashlib
import platform
import struct
from pathlib import Path
from typing import Any

import pytest
import user_kernels_data as data
from gfbench_cli import Cli

from harness.board import cross_compile as cross
from harness.board.cross_compile import CrossError, compiled, lacking, zig_target
from harness.payloads.user_kernels import parse
from reports.results.records import Probe
from workloads.kernels.native import compiler
from workloads.spec.kernels import object_stem

pytest.importorskip("ziglang")

NO_COMPILER = {"cpu": "no C compiler: cc, gcc and clang are not on PATH", "cuda": "CPU only"}
EM_AARCH64 = 183


def probe(machine: str = "aarch64", libc: str = "glibc-2.27", **kernels: Any) -> Probe:
    return Probe(machine=machine, libc=libc, kernels=kernels)


def test_only_what_wants_for_a_compiler_is_compiled() -> None:
    broken = {"cpu": "cc failed: error", "cuda": None}
    assert lacking(probe(native=NO_COMPILER, torch={"cpu": None}, mine=broken)) == ("native",)
    assert lacking(Probe()) == ()


@pytest.mark.parametrize(
    ("machine", "libc", "target"),
    [
        ("aarch64", "glibc-2.27", "aarch64-linux-gnu.2.27"),
        ("x86_64", "glibc-2.36", "x86_64-linux-gnu.2.36"),
        ("armv7l", "glibc-2.31", "arm-linux-gnueabihf.2.31"),
        ("aarch64", "", "aarch64-linux-gnu.2.17"),
    ],
)
def test_the_target_is_the_boards_architecture_and_glibc(
    machine: str, libc: str, target: str
) -> None:
    assert zig_target(probe(machine, libc)) == target


@pytest.mark.parametrize(("machine", "libc"), [("mips", "glibc-2.27"), ("aarch64", "-x; rm")])
def test_another_machine_is_refused(machine: str, libc: str) -> None:
    with pytest.raises(CrossError, match="cannot compile for"):
        zig_target(probe(machine, libc))


def test_an_object_for_a_jetson_nano_is_one() -> None:
    objects = compiled(("native",), (), probe())
    assert len(objects) == 2  # float and double
    for made in objects:
        kind, machine = struct.unpack_from("<HH", made.data, 16)
        assert (made.data[:6], kind, machine) == (b"\x7fELF\x02\x01", 3, EM_AARCH64)
        assert made.name.endswith(f"-{hashlib.sha256(made.data).hexdigest()}.so")
        assert b"gfb_pool_nchw" in made.data
        versions = {part.split(b"\0")[0] for part in made.data.split(b"GLIBC_")[1:]}
        assert all(tuple(map(int, v.split(b"."))) <= (2, 27) for v in versions), versions
        assert b"libgomp" not in made.data
        assert b"libomp" not in made.data


def test_what_is_no_c_gives_zigs_own_words(tmp_path: Path) -> None:
    (tmp_path / "mine.c").write_text("no C at all")
    _, own = parse([f"mine={tmp_path / 'mine.c'}"])
    with pytest.raises(CrossError, match=r"failed: (.|\n)*error"):
        compiled(("mine",), own, probe())


def test_a_changed_object_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "cache_folder", lambda: str(tmp_path))
    texts, defines = {"a.c": b"int a;"}, ("REAL=float",)
    stem = object_stem(texts.items(), defines, platform.machine())
    name = f"{stem}-{hashlib.sha256(b'whole').hexdigest()}.so"
    (tmp_path / name).write_bytes(b"whol")
    assert compiler._pushed(texts, defines) is None
    (tmp_path / name).write_bytes(b"whole")
    assert compiler._pushed(texts, defines) == str(tmp_path / name)
    assert compiler._pushed({"a.c": b"int b;"}, defines) is None


def test_the_pushed_object_is_measured_where_the_compiler_is_hidden(tmp_path: Path) -> None:
    gfbench = Cli(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.c").write_text(data.C_KERNEL)
    options = ("--kernel", "native", "--kernel", "mine=mine.c")
    zigs_own = {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig")}
    done = gfbench.run(*options, PATH=str(tmp_path / "empty"), **zigs_own)
    assert done.code == 0, done.err
    assert "compiled on the controller for" in done.err
    assert "compiled on the controller for" in done.page
    assert "torch was measured instead" not in done.err
    for kernel in ("native", "mine"):
        timed = done.blocks(kernel=kernel, kind="timing")
        assert [block["status"] for block in timed] == ["ok", "ok"]
    (checked,) = done.blocks(kernel="mine", kind="check")
    assert checked["status"] == "ok"
    assert cross.is_here()
