"""Kernels that cheat the clock are refused in a real run; honest ones are timed."""

from __future__ import annotations

import re
from pathlib import Path

import cheating_kernels as cheats
import pytest
import user_kernels_data as data
from gfbench_cli import Cli, Finished

import workloads

DOCUMENT = Path(workloads.__file__).parents[1] / "docs" / "kernels.md"
SUITE = """
description: a layer that is large enough to be worth cheating on
workloads:
  - {name: middling, in_channels: 32, out_channels: 32, height: 64, width: 64}
patch_sizes: [2]
rounds: 2
memory_rounds: 0
fidelity_rounds: 1
isolation: fork
min_window_s: 0.1
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cli, Finished]:
    gfbench = Cli(tmp_path_factory.mktemp("cheats"), SUITE)
    documented = DOCUMENT.read_text().split("```python\n")[1].split("```")[0]
    sources = {**cheats.CHEATS, "honest": cheats.HONEST, "documented": documented}
    for name, text in sources.items():
        (gfbench.folder / f"{name}.py").write_text(text)
    (gfbench.folder / "inc.c").write_text(data.C_KERNEL)
    options = [f"--kernel={name}={name}.py" for name in sources]
    return gfbench, gfbench.run(*options, "--kernel", "inc=inc.c", "--kernel", "native")


@pytest.fixture(scope="module")
def exported(done: tuple[Cli, Finished]) -> list[dict[str, str]]:
    gfbench, finished = done
    return gfbench.export(finished.run)


@pytest.mark.parametrize("name", sorted(cheats.CHEATS))
def test_a_kernel_that_cheats_is_refused_with_what_was_seen(
    name: str, done: tuple[Cli, Finished], exported: list[dict[str, str]]
) -> None:
    _, finished = done
    assert finished.code == 1
    reasons = [block["reason"] for block in finished.blocks(kernel=name) if block["reason"]]
    assert reasons
    assert re.search(cheats.SEEN[name], reasons[0]), reasons[0]
    rows = [row for row in exported if row["kernel"] == name]
    assert not [row for row in rows if row["value"]], "nothing of a refused kernel is published"


@pytest.mark.parametrize("name", ["honest", "documented", "inc", "native"])
def test_an_honest_kernel_is_timed(
    name: str, done: tuple[Cli, Finished], exported: list[dict[str, str]]
) -> None:
    _, finished = done
    blocks = finished.blocks(kernel=name, kind="timing")
    assert {(block["status"], block["reason"]) for block in blocks} == {("ok", None)}
    assert all(block["verified"]["step"]["iterations"] == 2 for block in blocks)
    speedups = [
        row
        for row in exported
        if row["kernel"] == name and row["metric"] == "latency_s" and row["value"]
    ]
    assert len(speedups) >= 3


def test_the_report_says_what_was_seen(done: tuple[Cli, Finished], tmp_path: Path) -> None:
    _, finished = done
    assert "answers from memory" in finished.page
    assert "wrote block.json as its result" in finished.page
