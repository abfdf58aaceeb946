"""The compiled baseline: the same gradients, in a forked process too, and why it cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workloads.networks.baselines import BASELINES
from workloads.networks.compiled import compiled, why_not_compiled

REPOSITORY = Path(__file__).resolve().parents[3]

# In a child, as blocks run.
TRAIN_IN_A_CHILD = """
import os, subprocess, torch
from exact_steps import assert_same_step, frozen_network, images, trained, whole_batch
from workloads.networks.compiled import compiled

def train():
    torch.set_num_threads(1)
    network, stock = frozen_network("tiny"), frozen_network("tiny")
    step = whole_batch(compiled(network), trained(network))
    for _ in range(2):
        assert_same_step(step, whole_batch(stock, trained(stock)), images(), 1e-9)
        with torch.no_grad():
            for parameter in (*trained(network), *trained(stock)):
                parameter.mul_(1.25)
    with open("/proc/self/task/%d/children" % os.getpid()) as file:
        assert file.read() == ""

child = os.fork()
if child == 0:
    status = 1
    try:
        train()
        status = 0
    finally:
        os._exit(status)
_, status = os.waitpid(child, 0)
assert status == 0
"""


@pytest.mark.skipif(why_not_compiled() is not None, reason="torch.compile cannot run here")
def test_a_forked_child_compiles_into_the_named_folder_and_leaves_no_process(
    tmp_path: Path,
) -> None:
    folder, elsewhere = tmp_path / "inductor", tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_IN_A_CHILD],
        capture_output=True,
        text=True,
        timeout=540,
        env={
            **os.environ,
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests' / 'support'}",
            "TORCHINDUCTOR_CACHE_DIR": str(folder),
            "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0",
            "TMPDIR": str(elsewhere),
        },
    )
    assert done.returncode == 0, done.stderr
    assert any(folder.rglob("*.so"))
    assert not any(path.is_file() for path in elsewhere.rglob("*"))


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    reason = BASELINES["compiled"].unavailable()
    assert reason is not None
    assert reason.startswith("no C++ compiler: no-such-compiler is not on PATH")
    with pytest.raises(ValueError, match=r"^baseline: no C\+\+ compiler"):
        compiled(torch.nn.Identity())


def test_an_old_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "compile")
    monkeypatch.setattr(torch, "__version__", "1.10.2")
    assert why_not_compiled() == "torch 1.10.2 has no torch.compile, which came with torch 2.0"
