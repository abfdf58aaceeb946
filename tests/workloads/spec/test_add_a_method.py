"""Add a method as a contributor does, with a module, an entry and a line, and measure it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from gfbench_cli import Cli

ROOT = Path(__file__).parents[3]
MODULE = '''\
"""Method "short_input": exact gradients from an x that is kept in 16 bits."""

from torch.nn.grad import conv2d_input, conv2d_weight

from workloads.kernels.seam import Operator


def save(x, weight, geometry, need_x, need_w):
    """Return x in 16 bits, and the weight."""
    return x.bfloat16() if need_w else None, weight if need_x else None


def gradients(grad_output, short_x, weight, geometry, needs_input_grad):
    """Return (g_x, g_w, g_b); None for each that is not needed."""
    need_x, need_w, need_b = needs_input_grad
    padding = [before for before, _ in geometry.padding]
    options = (geometry.stride, padding, geometry.dilation)
    grad_x = grad_w = None
    if need_x:
        grad_x = conv2d_input(geometry.x_shape, weight, grad_output, *options)
    if need_w:
        x = short_x.to(grad_output.dtype)
        grad_w = conv2d_weight(x, geometry.weight_shape, grad_output, *options)
    return grad_x, grad_w, grad_output.sum((0, 2, 3)) if need_b else None


OPERATOR = Operator(save, gradients)
'''
ENTRY = """\
        Method(
            name="short_input",
            version="1",
            label="16-bit input",
            description="exact gradients from an x that is kept in 16 bits",
            costs=lambda geometry: exact_costs(geometry)._replace(
                saved=geometry.x_elements // 2, written=geometry.x_elements // 2
            ),
            sources=("kernels/torch_ops/short_input.py",),
            refusal=lambda geometry: "groups: only 1 for now" if geometry.groups > 1 else None,
        ),
"""
LINE = '    "short_input": short_input.OPERATOR,\n'
IMPORT = "from workloads.kernels.torch_ops import short_input\n"
SUITE = """
description: a new method on a layer that it does, and on one that it does not
workloads:
  - {name: tiny, in_channels: 4, out_channels: 4, height: 8, width: 8}
  - {name: grouped, in_channels: 4, out_channels: 4, height: 8, width: 8, groups: 2}
methods: [exact, short_input]
rounds: 1
isolation: fork
min_window_s: 0.01
"""


def add_a_method(tree: Path) -> None:
    """Make a copy of the project in which there is one method more."""
    for package in ("harness", "reports", "targets"):
        (tree / package).symlink_to(ROOT / package)
    shutil.copytree(ROOT / "workloads", tree / "workloads")
    folder = tree / "workloads" / "kernels" / "torch_ops"
    (folder / "short_input.py").write_text(MODULE)
    insert(folder / "operators.py", LINE, after="OPERATORS = {\n")
    insert(folder / "operators.py", IMPORT, after="import torch.nn.functional as F\n\n")
    entries = "METHODS: Dict[str, Method] = {\n    method.name: method\n    for method in (\n"
    insert(tree / "workloads" / "spec" / "methods.py", ENTRY, after=entries)


def insert(path: Path, text: str, *, after: str) -> None:
    content = path.read_text()
    assert content.count(after) == 1
    path.write_text(content.replace(after, after + text))


def test_a_method_is_added_with_a_module_an_entry_and_a_line(tmp_path: Path) -> None:
    add_a_method(tmp_path)
    gfbench = Cli(tmp_path, SUITE)  # the working folder comes first on Python's path
    listed = gfbench("list", "methods", "--json")
    assert "short_input" in [method["name"] for method in json.loads(listed.stdout)]

    finished = gfbench.run()
    assert finished.code == 0, finished.err
    blocks = finished.blocks(method="short_input")
    assert [block["kind"] for block in blocks] == ["check", "timing", "memory", "fidelity"]
    assert {block["status"] for block in blocks} == {"ok"}
    bytes_of_x = 4 * 4 * 8 * 8
    assert blocks[2]["memory"]["saved_bytes"] == bytes_of_x // 2

    rows = [row for row in gfbench.export(finished.run) if row["method"] == "short_input"]
    done = [row for row in rows if row["workload"] == "tiny"]
    assert {"latency_s", "speedup", "saved_bytes", "cosine_gw"} <= {row["metric"] for row in done}
    refused = {row["reason"] for row in rows if row["workload"] == "grouped"}
    assert refused == {"short_input does not support this layer: groups: only 1 for now"}
    assert "16-bit input" in finished.page
    assert "groups: only 1 for now" in finished.page
