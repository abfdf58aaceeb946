"""A suite of one tiny layer, as quick as a run can be, for tests of what lies around measuring."""

from __future__ import annotations


def tiny_suite(*, rounds: int = 1, description: str = "a tiny layer for tests") -> str:
    """Return the suite's YAML: exact in one layout against r = 2, times alone."""
    return f"""
description: {description}
workloads:
  - {{name: tiny, in_channels: 4, out_channels: 4, height: 8, width: 8}}
patch_sizes: [2]
rounds: {rounds}
memory_rounds: 0
fidelity_rounds: 0
sentinel: false
exact_kernels: [torch]
isolation: fork
min_window_s: 0.01
"""
