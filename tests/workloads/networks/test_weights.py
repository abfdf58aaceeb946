"""Weights from a file that a user names."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from workloads.networks import build


def saved(folder: Path, content: Any) -> str:
    path = folder / "weights.pth"
    torch.save(content, path)
    return str(path)


def state() -> dict[str, Any]:
    return dict(build("tiny", seed=5).state_dict())


def test_saved_weights_come_back(tmp_path: Path) -> None:
    network = build("tiny", weights=saved(tmp_path, state()))
    for name, tensor in state().items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_weights_without_the_counters_of_batchnorm_load_as_torchvisions_old_ones_do(
    tmp_path: Path,
) -> None:
    without = {name: part for name, part in state().items() if "num_batches" not in name}
    assert len(without) < len(state())
    network = build("tiny", weights=saved(tmp_path, without))
    assert torch.equal(network.state_dict()["conv1.weight"], without["conv1.weight"])


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    wrong = state()
    del wrong["conv2.weight"]
    wrong["classifier.weight"] = torch.zeros(1)
    wrong["fc.bias"] = torch.zeros(1000)
    with pytest.raises(ValueError, match=r"^weights: .*weights\.pth does not fit") as refused:
        build("tiny", weights=saved(tmp_path, wrong))
    words = str(refused.value)
    assert "missing: conv2.weight;" in words
    assert "unexpected: classifier.weight;" in words
    assert "of another shape: fc.bias is 1000, not 10" in words


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing: conv1\.weight, .* and 13 more"):
        build("tiny", weights=saved(tmp_path, {}))


class Shell:
    """What a file could make Python do, were it trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_file_that_holds_more_than_tensors_is_refused_and_not_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    with pytest.raises(ValueError, match=r"^weights: cannot read"):
        build("tiny", weights=saved(tmp_path, {"conv1.weight": Shell(touched)}))
    assert not touched.exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"no weights", pickle.dumps(None, protocol=2)]
)
def test_a_file_that_torch_cannot_read_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^weights: cannot read .*broken\.pth: \S"):
        build("tiny", weights=str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^weights: cannot read .*none\.pth"):
        build("tiny", weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        {"epoch": 3},
        [torch.zeros(3)],
        {1: torch.ones(1)},
        {"fc.bias": torch.ones(10).to_sparse()},
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match="does not hold a state_dict"):
        build("tiny", weights=saved(tmp_path, content))
