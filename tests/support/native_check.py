# ruff: noqa: UP031  (Python 3.6 syntax, as all that runs beside the payload)
"""Run kernel native on random convolutions under the compiler's sanitizers; plain Python.

    LD_PRELOAD=$(cc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \\
        XDG_CACHE_HOME=... PYTHONPATH=<repository> python tests/support/native_check.py NUMBER

The first bad access, misaligned load or overflow ends the process with the sanitizer's report.
Every tensor is malloc's, so each has red zones around it. Prints the number of checks.
"""

import sys

import torch
from payload_check import native_errors

from workloads.kernels import compiler, passes

SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def main() -> int:
    """Check so many configurations of each kind; return 1 at the first wrong gradient."""
    compiler.FLAGS = compiler.FLAGS + SANITIZERS
    torch.set_num_threads(2)
    checked = 0
    for error, tolerance, words in native_errors(int(sys.argv[1]), seed=7):
        if not error < tolerance:
            print("%s: %.2e" % (words, error))
            return 1
        checked += 1
    assert passes.unavailable(torch.float32) is None
    print(checked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
