"""Why something failed: told of real endings and of the loader's real words."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workloads.kernels.native.compiler import CompilerError, find_compiler
from workloads.machine.causes import ending, is_noexec, remedy_of_ending, remedy_of_error
from workloads.measure import block as blocks
from workloads.spec.layers import sentinel_case
from workloads.spec.messages import Block

# More thread-local memory of the kind that has its place from the start than the loader keeps.
GREEDY = """
__thread char much[1 << 20] __attribute__((tls_model("initial-exec")));
char *place(void) { return much; }
"""


def wait_status_of(program: str) -> int:
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    return os.waitpid(process.pid, 0)[1]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os.kill(os.getpid(), 4)", "signal 4, illegal instruction"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11, segmentation fault"),
        ("import os; os.kill(os.getpid(), 40)", "signal 40"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
)
def test_an_ending_is_named(program: str, words: str) -> None:
    status = wait_status_of(program)
    assert ending(status) == words
    remedy = remedy_of_ending(status)
    assert (remedy is not None) is ("illegal" in words)
    assert remedy is None or "OPENBLAS_CORETYPE" in remedy


def test_a_library_that_finds_no_room_for_its_thread_local_memory_is_to_be_loaded_first(
    tmp_path: Path,
) -> None:
    try:
        compiler, _ = find_compiler()
    except CompilerError as error:
        pytest.skip(str(error))
    source, library = tmp_path / "greedy.c", tmp_path / "libgreedy.so.1"
    source.write_text(GREEDY)
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True, timeout=60)
    with pytest.raises(OSError, match="static TLS") as refused:
        ctypes.CDLL(str(library))
    remedy = remedy_of_error(f"OSError: {refused.value}")
    assert remedy is not None
    assert f"`env: {{LD_PRELOAD: {library}}}` in the inventory" in remedy
    load = f"import ctypes; ctypes.CDLL({str(library)!r})"
    variables = {**os.environ, "LD_PRELOAD": str(library)}
    subprocess.run([sys.executable, "-c", load], env=variables, check=True, timeout=60)


def test_an_error_without_a_known_remedy_has_none() -> None:
    assert remedy_of_error("ImportError: libcudnn.so.8: cannot open shared object file") is None
    assert remedy_of_ending(signal.SIGKILL) is None


def test_too_little_room_for_thread_local_memory_is_no_lack_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("/usr/lib/libgomp.so.1: cannot allocate memory in static TLS block")

    monkeypatch.setitem(blocks.KINDS, "memory", refuse)
    wanted = Block(0, 0, 0, "memory", sentinel_case("cpu"), 1)
    record = blocks.run_block(wanted, 1, blocks.Settings(0.01))
    assert record["status"] == "failed"
    assert record["reason"].endswith("`env: {LD_PRELOAD: /usr/lib/libgomp.so.1}` in the inventory")


def test_a_folder_that_is_not_there_is_not_mounted_noexec(tmp_path: Path) -> None:
    assert not is_noexec(str(tmp_path / "absent"))
