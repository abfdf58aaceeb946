"""Make kernel native's calls again in a small C program: for another processor, or compiler.

One process, one build, as ``native_fuzz.py``, whose options it takes. Here the calls of each
configuration are recorded on this machine, whose results are checked, and ``native_replay.c``
makes them again, with pthreads.
"""

from __future__ import annotations

import collections
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import faults
import torch
from fuzz_builds import BUILDS, SUPPORT, Build
from fuzz_configurations import Configuration
from guarded_memory import GuardedMemory
from native_fuzz import Finding, checked, configurations, options_of
from recorded_calls import RecordedCalls

from workloads.kernels.native import compiler, passes
from workloads.kernels.native.bindings import TYPES, unavailable
from workloads.spec.kernels import C_SOURCES

TIMEOUT_S = 300.0


def compiled(build: Build, dtype: torch.dtype, folder: Path) -> Path:
    """Return the program that makes calls again in one type, compiled into ``folder`` if need be.

    Raises:
        subprocess.CalledProcessError: it does not compile.
    """
    command = [
        *build.replayed_by,
        *["-std=gnu99", *build.flags, "-pthread", f"-DREAL={TYPES[dtype]}"],
        *["native_replay.c", "-lm"],
    ]
    texts = _texts()
    key = b"\0".join([*texts.values(), *[word.encode() for word in command]])
    path = folder / f"replay-{hashlib.sha256(key).hexdigest()[:16]}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            for name, text in texts.items():
                Path(scratch, name).write_bytes(text)
            subprocess.run([*command, "-o", "made"], check=True, cwd=scratch)
            Path(scratch, "made").rename(path)
    return path


def _texts() -> dict[str, bytes]:
    """Return the sources of the program by name: kernel native's as they are compiled elsewhere."""
    read: Callable[[str], bytes] = compiler.__dict__["_text"]
    own = (SUPPORT / name for name in ("native_replay.c", "pthread_team.h"))
    return {
        **{Path(name).name: read(name) for name in C_SOURCES["native"]},
        **{path.name: path.read_bytes() for path in own},
    }


def replay(
    configuration: Configuration, program: Path, emulator: tuple[str, ...], number: int
) -> str:
    """Record a configuration's calls, make them again, and return the way that it took.

    Raises:
        Finding: something is wrong.
    """
    memory = GuardedMemory(random.Random(number))
    with tempfile.NamedTemporaryFile() as file:
        calls = RecordedCalls(file, memory)
        with mock.patch.object(passes, "library_of", calls):
            way = checked(configuration, memory, number)
        file.flush()
        ran = subprocess.run(
            [*emulator, str(program), file.name],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    if ran.returncode != 0:
        raise Finding(f"ended with {ran.returncode}: {ran.stdout} {ran.stderr[-4000:]}")
    return way


def main() -> int:
    """Go through configurations until time or numbers run out; print how many of each way."""
    options = options_of()
    build = BUILDS[options.build]
    folder = Path(compiler.cache_folder())
    for dtype in TYPES:
        assert unavailable(dtype) is None  # what records has no fault
    faults.make(options.fault)
    programs = {dtype: compiled(build, dtype, folder) for dtype in TYPES}
    counts: collections.Counter[str] = collections.Counter()
    started = time.monotonic()
    for number, configuration in configurations(options):
        if options.seconds is not None and time.monotonic() - started > options.seconds:
            break
        if options.under_way:
            place = f"--seed {options.seed} --only {number}\n{configuration}\n"
            options.under_way.write_text(place)
        program = programs[configuration.torch_dtype]
        try:
            counts[replay(configuration, program, build.emulator, number)] += 1
        except Exception as error:  # whatever it is, it is a finding
            traceback.print_exc()
            print(json.dumps({"finding": f"{type(error).__name__}: {error}", "counts": counts}))
            return 1
    print(json.dumps({"counts": counts, "seconds": round(time.monotonic() - started, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
