"""The threads that the passes run in: torch's own OpenMP team."""

import ctypes
import functools
import os
from typing import Optional, Tuple

import torch


class ThreadPool(ctypes.Structure):
    """``thread_pool_t`` of team.h: how many threads to use, and of which OpenMP runtime."""

    _fields_ = [
        ("parallel", ctypes.c_void_p),
        ("thread_num", ctypes.c_void_p),
        ("threads", ctypes.c_ssize_t),
    ]


def thread_pool() -> ThreadPool:
    """Return torch's thread pool, with as many threads as torch uses."""
    return thread_pool_of(torch.get_num_threads())


@functools.lru_cache(maxsize=None)
def thread_pool_of(threads: int) -> ThreadPool:
    """Return so many of torch's threads; one where torch's runtime offers C no entry."""
    entries = parallel_entries()
    return ThreadPool(*entries, threads) if entries else ThreadPool(None, None, 1)


@functools.lru_cache(maxsize=None)
def parallel_entries() -> Optional[Tuple[int, int]]:
    """Return the addresses of GOMP_parallel and omp_get_thread_num in torch's OpenMP runtime.

    libgomp, libiomp5 and libomp all have them. A second runtime would bring a second thread pool,
    and the idle threads of each would spin on the processors that the other one needs.
    """
    path = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
    try:
        # The library is loaded already; its handle also finds what it is linked to.
        library = ctypes.CDLL(path)
        parallel = ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value
        thread_num = ctypes.cast(library.omp_get_thread_num, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None
    return (parallel, thread_num) if parallel and thread_num else None
