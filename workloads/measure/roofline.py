"""What this machine reaches: bandwidths by working set, and the rate of products.

The floor under a case is bytes / bandwidth + operations / rate (``costs.floor_s``): on a few cores
streaming and products do not overlap. Bandwidth depends on how much memory is touched, so it is
measured for working sets from what fits in a cache to what fits in none. Each figure is the best
seen, by torch's own operations or, where there is a compiler, by loops in C.
"""

import ctypes
import functools
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F

from workloads.kernels.native import compiler
from workloads.kernels.native.threads import ThreadPool, thread_pool
from workloads.machine.proc import available_bytes
from workloads.measure import memory
from workloads.spec.costs import Bandwidth, Rates
from workloads.spec.messages import to_json

WORKING_SETS = tuple(2**power for power in range(20, 29, 2))  # 1 MiB to 256 MiB
SOURCES = ("measure/roofline.c", "kernels/native/rows.h", "kernels/native/team.h")
_BLOCK = 32768  # elements that gfb_read_rows sums at a time
_REPEATS = 12
_LEAST_S = 0.03  # the least time for each, so that short runs are repeated more often


def measure(working_sets: Tuple[int, ...] = WORKING_SETS, repeats: int = _REPEATS) -> Rates:
    """Return what the threads that torch has now reach in float32; takes about two seconds."""
    return Rates(
        threads=torch.get_num_threads(),
        bandwidths=tuple(_bandwidth(size, repeats) for size in working_sets),
        flops_per_s=product_rate(repeats),
    )


def product_rate(repeats: int = _REPEATS) -> float:
    """Return operations per second of large products: the faster of BLAS and a convolution."""
    size = 768
    left, right = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    window = torch.randn(512, 512, 1, 1)
    maps = torch.randn(4, 512, 28, 28).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        blas = 2.0 * size**3 / _least_s(lambda: torch.mm(left, right, out=out), repeats)
        seconds = _least_s(lambda: F.conv2d(maps, window), repeats)
    return max(blas, 2.0 * maps.numel() * 512 / seconds)


def _bandwidth(size: int, repeats: int) -> Bandwidth:
    """Return bytes per second within a working set; a copy counts what it reads and writes."""
    src, out = torch.ones(size // 4), torch.zeros(size // 4)
    half = size // 8
    read: List[Callable[[], Any]] = [src.sum]
    write: List[Callable[[], Any]] = [lambda: out.fill_(1.0)]
    copy: List[Callable[[], Any]] = [lambda: out[:half].copy_(src[:half])]
    library = _library()
    if library is not None:
        threads, number = thread_pool(), src.numel()
        sums = torch.empty(-(-number // _BLOCK), dtype=torch.float64)
        source, target = src.data_ptr(), out.data_ptr()
        read.append(lambda: library.gfb_read_rows(threads, source, number, sums.data_ptr()))
        for past in (0, 1):  # through the caches, and past them
            arguments = (threads, source, number, target, past)
            write.append(functools.partial(library.gfb_write_rows, *arguments))
            arguments = (threads, source, half, target, past)
            copy.append(functools.partial(library.gfb_copy_rows, *arguments))
    best = [size / min(_least_s(run, repeats) for run in runs) for runs in (read, write, copy)]
    return Bandwidth(size, *best)


def _least_s(run: Callable[[], Any], repeats: int) -> float:
    """Return the shortest of at least so many runs, after one that counts for nothing."""
    run()
    times: List[float] = []
    begin = time.perf_counter()
    while len(times) < repeats or time.perf_counter() - begin < _LEAST_S:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@functools.lru_cache(maxsize=None)
def _library() -> Optional[ctypes.CDLL]:
    """Return the C loops; None where they cannot be had."""
    try:
        library = compiler.load(SOURCES, ("REAL=float",))
    except (compiler.CompilerError, OSError):
        return None
    threads = ctypes.POINTER(ThreadPool)
    pointer, index = ctypes.c_void_p, ctypes.c_ssize_t
    library.gfb_read_rows.argtypes = (threads, pointer, index, pointer)
    library.gfb_write_rows.argtypes = (threads, pointer, index, pointer, ctypes.c_int)
    library.gfb_copy_rows.argtypes = (threads, pointer, index, pointer, ctypes.c_int)
    for function in (library.gfb_read_rows, library.gfb_write_rows, library.gfb_copy_rows):
        function.restype = None
    return library


def measure_roofline() -> Dict[str, Any]:
    """Measure what fits in half of the memory there is, source and target beside each other."""
    available = available_bytes()
    fitting = tuple(size for size in WORKING_SETS if available is None or 4 * size <= available)
    memory.keep_freed_memory()
    return {"roofline": to_json(measure(fitting or WORKING_SETS[:1]))}
