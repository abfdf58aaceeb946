"""The threads that the passes run in: torch's own OpenMP team."""

import ctypes
import functools
import os
from typing import Optional, Tuple

import torch


class Team(ctypes.Structure):
    """Threads, and the runtime that they belong to: ``team_t`` of team.h."""

    _fields_ = [
        ("parallel", ctypes.c_void_p),
        ("number", ctypes.c_void_p),
        ("threads", ctypes.c_ssize_t),
    ]


def team() -> Team:
    """Return the threads that a pass may use: as many as torch's, out of torch's pool."""
    return team_of(torch.get_num_threads())


@functools.lru_cache(maxsize=None)
def team_of(threads: int) -> Team:
    """Return so many of torch's threads; one where its runtime has no entry for C."""
    entries = parallel_entries()
    return Team(*entries, threads) if entries else Team(None, None, 1)


@functools.lru_cache(maxsize=None)
def parallel_entries() -> Optional[Tuple[int, int]]:
    """Return where GOMP_parallel and omp_get_thread_num are in the runtime that torch runs on.

    libgomp, libiomp5 and libomp all have it. A second runtime would bring a second pool of
    threads, and the idle ones of each would spin on the processors that the other needs.
    """
    path = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
    try:
        # The library is loaded already; its handle also finds what it is linked to.
        library = ctypes.CDLL(path)
        parallel, number = (
            ctypes.cast(entry, ctypes.c_void_p).value
            for entry in (library.GOMP_parallel, library.omp_get_thread_num)
        )
    except (OSError, AttributeError):
        return None
    return (parallel, number) if parallel and number else None
