"""The run-time compiler: found where torch keeps it, and our CUDA source compiled for real."""

from __future__ import annotations

import ctypes
import ctypes.util
import locale
import os
import re
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import pytest
import torch
from interpreters import old_python

from harness.payloads.payload import pack
from workloads.kernels.cuda import nvrtc
from workloads.kernels.cuda.driver import THREADS
from workloads.kernels.cuda.nvrtc import Nvrtc, NvrtcError, Target
from workloads.kernels.cuda.passes import TYPES, UNROLLED, Params
from workloads.spec.kernels import CUDA_SOURCE, kernel_source_sha256

REPOSITORY = Path(__file__).resolve().parents[4]
SOURCE = (REPOSITORY / "workloads" / CUDA_SOURCE).read_bytes()
KERNELS = {f"gfb_{name}_{length}" for name in ("pool", "expand") for length in (0, *UNROLLED)}

# On the old Python: find what came with its torch, of CUDA 10.2, and compile with it.
COMPILE = """
import sys
from workloads.kernels.cuda import nvrtc
found = nvrtc.find()
source = open(sys.argv[1], "rb").read()
for arch in ("compute_50", "compute_75"):
    for define in sys.argv[2:]:
        image = found.compile(source, "gradient_filter.cu", nvrtc.Target(arch, False), (define,))
        print(arch, define, image.count(b".entry"), image.count(b".local"))
print(found.path, *found.version)
"""


@cache
def real() -> Nvrtc:
    """Return an NVRTC of this machine; without one skip, in CI fail."""
    try:
        return nvrtc.find()
    except NvrtcError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(f"{error}; `pip install nvidia-cuda-nvrtc-cu11` has one of 23 MB")


# real compilers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [
        (53, torch.float32),  # Nano
        (53, torch.float16),
        (62, torch.float16),  # TX2
        (72, torch.float32),  # Xavier
        (87, torch.float16),  # Orin
        (87, torch.float64),
        (90, torch.float32),
    ],
)
def test_the_source_compiles_for_every_board(arch: int, dtype: torch.dtype) -> None:
    if arch not in real().arches():
        pytest.skip(f"NVRTC {real().version} has no sm_{arch}: {real().arches()}")
    target = Target(f"compute_{arch}", False)
    ptx = real().compile(SOURCE, "gradient_filter.cu", target, (TYPES[dtype],)).decode()
    assert f".target sm_{arch}" in ptx
    assert set(re.findall(r"\.entry (\w+)", ptx)) == KERNELS
    # The compiler's size of the one argument is that of the structure that is passed.
    sizes = re.findall(r"\.param \.align 8 \.b8 \w+_param_0\[(\d+)\]", ptx)
    assert {int(size) for size in sizes} == {ctypes.sizeof(Params)}
    assert len(sizes) == len(KERNELS)
    assert ".local" not in ptx  # nothing spills to memory, the argument is read in place
    assert f".maxntid {THREADS}" in ptx
    assert ("cvt.rn.f16.f32" in ptx) == (dtype == torch.float16)
    assert "ld.global.nc" in ptx


def test_the_compiler_of_cuda_10_2_that_came_with_an_old_torch_is_found_and_will_do() -> None:
    source = str(REPOSITORY / "workloads" / CUDA_SOURCE)
    done = subprocess.run(
        [str(old_python()), "-c", COMPILE, source, *TYPES.values()],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), nvrtc.CHOICE: ""},
    )
    assert done.returncode == 0, done.stderr
    *images, found = done.stdout.splitlines()
    assert len(images) == 2 * len(TYPES)
    assert all(line.endswith(f"{len(KERNELS)} 0") for line in images)
    assert "torch/lib/libnvrtc-" in found
    assert found.endswith("10 2")


def test_machine_code_is_an_elf_file_for_the_driver_to_load() -> None:
    if 90 not in real().arches():
        pytest.skip(f"NVRTC {real().version} has no sm_90")
    target = real().target((9, 0))
    assert target == Target("sm_90", True)
    assert real().compile(b"", "empty.cu", target, ()).startswith(b"\x7fELF")


def test_a_mistake_in_the_source_comes_with_the_compilers_words() -> None:
    target = Target(f"compute_{real().arches()[-1]}", False)
    with pytest.raises(NvrtcError, match=r"(?s)wrong\.cu: NVRTC_ERROR_COMPILATION: .*error:"):
        real().compile(b"nonsense;", "wrong.cu", target, ())


def test_text_is_read_after_compiling_as_it_was_before() -> None:
    # The compiler of CUDA 11.8 leaves the thread in another locale.
    before = locale.getpreferredencoding(False)
    target = Target(f"compute_{real().arches()[-1]}", False)
    real().compile(b"", "empty.cu", target, ())
    assert locale.getpreferredencoding(False) == before


# which one -----------------------------------------------------------------------------------


class Pretended(Nvrtc):
    """An NVRTC of some version that counts what it compiles."""

    def __init__(self, version: tuple[int, int], arches: tuple[int, ...] = ()) -> None:
        self.version, self.path, self.compiled = version, "pretended", 0
        self._arches = arches

    def arches(self) -> tuple[int, ...]:
        return self._arches or super().arches()

    def compile(self, source: bytes, name: str, target: Target, defines: object) -> bytes:
        self.compiled += 1
        return b"image of " + target.arch.encode()


@pytest.mark.parametrize(
    ("version", "arches", "capability", "wanted"),
    [
        ((10, 2), (), (5, 3), Target("compute_53", False)),  # before cubins: the driver compiles
        ((10, 2), (), (8, 7), Target("compute_75", False)),  # newer than the compiler
        ((11, 1), (), (8, 6), Target("sm_86", True)),
        ((11, 8), (53, 72, 87, 90), (8, 7), Target("sm_87", True)),
        ((11, 8), (53, 72, 87, 90), (12, 0), Target("compute_90", False)),
        ((11, 8), (53, 72, 87, 90), (6, 2), Target("compute_53", False)),
    ],
)
def test_an_image_is_made_for_the_device_or_the_nearest_older_one(
    version: tuple[int, int],
    arches: tuple[int, ...],
    capability: tuple[int, int],
    wanted: Target,
) -> None:
    assert Pretended(version, arches).target(capability) == wanted


def test_a_device_that_a_new_compiler_has_dropped_is_told_so() -> None:
    with pytest.raises(NvrtcError, match=r"13\.0 compiles for sm_75 and newer.*is sm_53.*GFBENCH"):
        Pretended((13, 0), (75, 87, 90)).target((5, 3))


def test_where_there_is_none_the_places_are_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(nvrtc.CHOICE, raising=False)
    monkeypatch.setattr(nvrtc, "torch_folders", lambda: [str(tmp_path)])
    monkeypatch.setattr(nvrtc, "LOADER_NAMES", ("libno-nvrtc.so.1",))
    monkeypatch.setattr(nvrtc, "SYSTEM_FOLDERS", ())
    with pytest.raises(NvrtcError, match=f"not found in {tmp_path}, nor as libno-nvrtc.so.1"):
        nvrtc.find()


def test_the_one_that_is_chosen_is_used_or_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "libnvrtc.so.12"
    broken.write_bytes(b"no library")
    monkeypatch.setenv(nvrtc.CHOICE, str(broken))
    with pytest.raises(NvrtcError, match=f"{broken} cannot be loaded"):
        nvrtc.find()
    monkeypatch.setenv(nvrtc.CHOICE, ctypes.util.find_library("c") or "libc.so.6")
    with pytest.raises(NvrtcError, match=r"cannot be loaded.*nvrtcVersion"):
        nvrtc.find()


def test_torchs_own_version_comes_first_then_the_newest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = [
        "libnvrtc.so.11.2",
        "libnvrtc.so.12",
        "libnvrtc.so.13",
        "libnvrtc-08c4863f.so.10.2",
        "libnvrtc.so",
    ]
    helpers = ["libnvrtc-builtins.so.12.9", "libnvrtc.alt.so.12", "libnvrtc-builtins.alt.so.12.9"]
    for name in [*names, *helpers]:
        (tmp_path / name).touch()
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    found = [os.path.basename(path) for path in nvrtc.in_folders([str(tmp_path)])]
    assert found == [names[1], names[2], names[0], names[3], names[4]]


# kept images ---------------------------------------------------------------------------------


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gfbench" / "objects"


def test_an_image_is_compiled_once_per_source_type_device_and_compiler(folder: Path) -> None:
    old, new = Pretended((11, 8), (53, 87)), Pretended((12, 6), (53, 87))

    def image(compiler: Nvrtc, source: bytes = b"a", sm: int = 87, define: str = "X") -> bytes:
        capability = (sm // 10, sm % 10)
        return nvrtc.compile_kept(compiler, source, "passes.cu", capability, (define,))

    assert image(old) == image(old) == b"image of sm_87"
    assert old.compiled == 1
    image(old, source=b"b"), image(old, sm=53), image(old, define="Y"), image(new)
    assert (old.compiled, new.compiled) == (4, 1)
    kept = sorted(folder.iterdir())
    assert len(kept) == 5
    assert all(re.fullmatch(r"passes-[0-9a-f]{16}\.cubin", path.name) for path in kept)


def test_an_empty_file_is_no_image(folder: Path) -> None:
    compiler = Pretended((11, 8), (87,))
    nvrtc.compile_kept(compiler, b"a", "passes.cu", (8, 7), ())
    (kept,) = folder.iterdir()
    kept.write_bytes(b"")  # as a power cut may leave it
    assert nvrtc.compile_kept(compiler, b"a", "passes.cu", (8, 7), ()) == b"image of sm_87"
    assert kept.read_bytes() == b"image of sm_87"


def test_a_folder_that_cannot_be_written_costs_only_time(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    compiler = Pretended((11, 8), (87,))
    for _ in range(2):
        assert nvrtc.compile_kept(compiler, b"a", "passes.cu", (8, 7), ()) == b"image of sm_87"
    assert compiler.compiled == 2


def test_a_packed_payload_keeps_them_beside_itself(tmp_path: Path) -> None:
    archive = tmp_path / "payload.pyz"
    archive.write_bytes(pack().data)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from workloads.kernels.cuda import nvrtc;"
        "from workloads.spec.kernels import kernel_source_sha256;"
        "print(kernel_source_sha256('cuda'), nvrtc.kept_folder())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(archive)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.stdout.split() == [kernel_source_sha256("cuda"), str(tmp_path / "objects")]


def test_processes_that_start_together_never_read_half_an_image(folder: Path) -> None:
    image = bytes(range(256)) * 20_000
    path = folder / "passes.cubin"
    seen, stop = set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(nvrtc._read(str(path)))

    reader = threading.Thread(target=read)
    reader.start()
    writers = [threading.Thread(target=nvrtc._write, args=(str(path), image)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert seen <= {None, image}
    assert [entry.name for entry in folder.iterdir()] == ["passes.cubin"]
