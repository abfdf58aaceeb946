"""BatchNorm, frozen and trained."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from workloads.networks import build
from workloads.networks.batch_norm import FrozenBatchNorm2d, set_batch_norm

torch.set_num_threads(1)

X = torch.rand(4, 3, 8, 8)


def test_a_frozen_one_keeps_its_statistics_and_gets_no_gradient() -> None:
    network = set_batch_norm(build("tiny").train()).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(X).sum().backward()
    trained = {name for name, part in network.named_parameters() if part.grad is not None}
    assert trained == {"conv1.weight", "conv2.weight", "conv3.weight", "fc.weight", "fc.bias"}
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert list(before) == list(build("tiny").state_dict())


def test_frozen_is_what_evaluation_computes() -> None:
    frozen, plain = set_batch_norm(build("tiny")).train(), build("tiny").eval()
    assert torch.equal(frozen(X), plain(X))


def test_a_trained_one_is_as_before_it_was_frozen() -> None:
    network = set_batch_norm(set_batch_norm(build("tiny")), frozen=False)
    assert not any(isinstance(part, FrozenBatchNorm2d) for part in network.modules())
    assert all(part.training for part in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(network(X), build("tiny")(X))
    assert network.state_dict()["bn1.num_batches_tracked"] == 1


def test_a_frozen_network_can_be_copied_and_pickled() -> None:
    network = set_batch_norm(build("tiny"))
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        frozen = dict(twin.train().named_modules())["bn1"]
        assert not frozen.training
        assert torch.equal(twin(X), network(X))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4), nn.BatchNorm2d(4, track_running_stats=False)])
def test_one_that_cannot_be_frozen_is_named_and_nothing_is_changed(norm: nn.Module) -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(norm))
    with pytest.raises(ValueError, match=r"^network: '1\.0' is not"):
        set_batch_norm(network)
    assert type(network[0]) is nn.BatchNorm2d
