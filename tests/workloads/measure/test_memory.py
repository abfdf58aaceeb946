"""The memory figures: against the formula, and against the kernel's own counters."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from workloads.machine.proc import available_bytes, reset_high_water_mark, rss_bytes
from workloads.measure import memory

MIB = 2**20


def in_a_process(code: str) -> Any:
    """Run code in a fresh interpreter and return the JSON that it prints last."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


FAULTS = """
import ctypes, json, resource
from workloads.measure import memory
settings = memory.keep_freed_memory() if KEEP else None
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def faults():
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = libc.malloc(ctypes.c_size_t(32 << 20))
        ctypes.memset(block, 1, 32 << 20)
        libc.free(ctypes.c_void_p(block))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin
first = faults()
print(json.dumps({"again": faults(), "settings": settings}))
"""


def test_keeping_freed_memory_ends_the_page_faults_of_large_blocks() -> None:
    kept = in_a_process(FAULTS.replace("KEEP", "True"))
    given_back = in_a_process(FAULTS.replace("KEEP", "False"))
    assert kept["settings"] == {"trim_threshold": "never", "mmap_max": 0}
    assert kept["again"] < 100 < given_back["again"]


def test_a_libc_without_mallopt_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert memory.keep_freed_memory() == {"allocator": "unknown libc, defaults kept"}


PEAK = """
import json
from workloads.measure import memory
data = bytearray(b"x") * (64 << 20)
del data
high = memory.rss_bytes("VmHWM")
reset = memory.reset_high_water_mark()
print(json.dumps([reset, high, memory.rss_bytes("VmHWM"), memory.rss_bytes()]))
"""


def test_the_high_water_mark_can_be_set_back() -> None:
    reset, high, after, resident = in_a_process(PEAK)
    assert reset
    assert high > after + 48 * MIB
    assert after == pytest.approx(resident, abs=4 * MIB)


PEAKS = """
import json
import torch  # itself large
from workloads.measure import memory
baseline = memory.rss_bytes()
def take(mib):
    return bytearray(b"x") * (mib << 20)
sizes = [96, 32]  # the second call alone is measured
calls = [lambda: take(sizes.pop(0)), lambda: take(64)]
peaks = [memory.peak_of(call, lambda: None, baseline, cuda=False) for call in calls]
print(json.dumps([peak.rss_bytes for peak in peaks]))
"""


def test_a_peak_is_that_of_the_second_run_of_one_call_alone() -> None:
    small, large = in_a_process(PEAKS)
    assert 30 * MIB < small < 60 * MIB
    assert 62 * MIB < large < 90 * MIB


def test_what_cannot_be_measured_of_a_peak_is_none() -> None:
    peak = memory.peak_of(lambda: None, lambda: None, baseline=None, cuda=False)
    assert peak.rss_bytes is None
    assert peak.cuda_bytes is None


def test_a_kernel_that_refuses_to_reset_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert reset_high_water_mark() is False
    assert rss_bytes() is None
    assert available_bytes() is None


def test_the_dip_of_available_memory_is_the_deepest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = iter([1000, 900, 400, 800])
    through = threading.Event()

    def level() -> int:
        value = next(levels, None)
        if value is None:
            through.set()
            return 950
        return value

    monkeypatch.setattr(memory, "available_bytes", level)
    with memory.AvailableDip() as dip:
        assert through.wait(10)
    assert dip.bytes == 600


def test_a_system_that_tells_no_available_memory_gives_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    with memory.AvailableDip() as dip:
        pass
    assert dip.bytes is None


BLOCK = """
import json
from workloads.measure.block import Settings, run_block
from workloads.spec.messages import Block, Case, Layer, to_json
layer = Layer("large", CHANNELS, CHANNELS, SIDE, SIDE, bias=False)
case = Case(layer, "exact", None, "torch", "cpu", "float32", 1)
print(json.dumps(to_json(run_block(Block(0, 0, 0, "memory", case, 1), 1, Settings(0.01)))))
"""


def test_a_memory_block_shows_what_its_tensors_take() -> None:
    """The x, y and the gradients of a 16 MiB map dominate the peak."""
    record = in_a_process(BLOCK.replace("CHANNELS", "4").replace("SIDE", "1024"))
    figures = record["memory"]
    assert record["status"] == "ok"
    assert figures["saved_bytes"] == 16 * MIB
    assert 48 * MIB < figures["peak_rss_bytes"] < 400 * MIB
    assert figures["peak_rss_method"] == "VmHWM after clear_refs"
    assert figures["cuda_peak_bytes"] is None
    assert figures["system_dip_bytes"] >= 0
    assert figures["inference_peak_rss_bytes"] is None  # of networks alone


def test_an_allocation_that_cannot_be_is_out_of_memory_and_no_crash() -> None:
    record = in_a_process(BLOCK.replace("CHANNELS", "4096").replace("SIDE", "65536"))
    assert record["status"] == "out_of_memory"
    assert record["reason"]
    assert "Traceback" in record["traceback"]
