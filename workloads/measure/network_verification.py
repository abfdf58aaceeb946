"""Whether a network's timed calls did their work: compared with stock torch, in one process.

The reference is the network by torch's own layers in NCHW, filtered by kernel ``torch`` where the
case is filtered, in the case's dtype. Rounding differs between the two, and where an activation
lies at a bend of ReLU or ReLU6 it decides whether the gradient passes: in float32 that changes
the gradients of deep networks by about 1 % of their norms, and more where the last maps are small.
So vectors are compared by their norms. The inputs of two iterations differ by a third, and each
filtered convolution has been checked in float64 before.
"""

from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from workloads.measure.check import KernelRefused
from workloads.measure.network_building import filtered, stock_network, trained_parameters
from workloads.measure.verification import tensors_of
from workloads.spec.messages import Case
from workloads.spec.methods import METHODS

# Of a vector's difference from the reference, relative to its norm.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 0.1}
LEAST_SHARE = 1e-3  # of the largest gradient's norm: what a smaller gradient's is taken to be
IMAGES = 4  # that the reference does at once, to need less memory than what was timed


class NetworkInputs(NamedTuple):
    """What one iteration sees.

    Attributes:
        x: images (N, 3, H, W).
        grad_output: the gradient of the logits (N, classes).
        labels: of the images, (N,), for the loss of ``train_step``.
        parameters: the trained ones, in the order of their gradients.
    """

    x: torch.Tensor
    grad_output: torch.Tensor
    labels: torch.Tensor
    parameters: Tuple[torch.Tensor, ...]


class Reference:
    """The network that results are compared with; it is built when it is first asked."""

    def __init__(self, case: Case, seed: int) -> None:
        """Remember what to build; ``seed`` is that of the frozen weights."""
        self._case = case
        self._seed = seed
        self._module: Optional[nn.Module] = None

    @property
    def names(self) -> List[str]:
        """Return the names of the trained parameters."""
        return list(trained_parameters(self._built()))

    def logits(self, seen: NetworkInputs) -> torch.Tensor:
        """Return the logits (N, classes)."""
        module = self._with(seen.parameters)
        with torch.no_grad():
            return torch.cat([module(x) for x, _, _ in self._parts(seen)])

    def gradients(self, seen: NetworkInputs, phase: str) -> List[torch.Tensor]:
        """Return the gradients of a phase: of the mean loss for "train_step"."""
        module = self._with(seen.parameters)
        wanted = list(trained_parameters(module).values())
        total = [torch.zeros_like(parameter) for parameter in wanted]
        for x, grad_output, labels in self._parts(seen):
            logits = module(x)
            if phase == "train_step":
                loss = F.cross_entropy(logits, labels, reduction="sum") / len(seen.labels)
                part = torch.autograd.grad(loss, wanted)
            else:
                part = torch.autograd.grad(logits, wanted, grad_output)
            for summed, gradient in zip(total, part):
                summed += gradient
        return total

    def _parts(self, seen: NetworkInputs) -> Iterator[Tuple[torch.Tensor, ...]]:
        """Yield images, gradients and labels part by part; whole where BatchNorm sees them all."""
        images = IMAGES if self._case.network.frozen_batch_norm else len(seen.x)
        whole = (seen.x.detach().contiguous(), seen.grad_output, seen.labels)
        for first in range(0, len(seen.x), images):
            yield tuple(tensor[first : first + images] for tensor in whole)

    def _built(self) -> nn.Module:
        if self._module is None:
            self._module = stock_network(self._case, self._seed)
            if not METHODS[self._case.method].exact:
                filtered(self._case, self._module, "torch")
        return self._module

    def _with(self, parameters: Sequence[torch.Tensor]) -> nn.Module:
        """Return the network with these values of its trained parameters."""
        module = self._built()
        with torch.no_grad():
            for own, values in zip(trained_parameters(module).values(), parameters):
                own.copy_(values)
        return module


def verify(
    case: Case, phase: str, reference: Reference, seen: NetworkInputs, results: Any
) -> float:
    """Compare the logits or the gradients of an iteration with the reference.

    Returns the largest error of a vector, relative to its norm.

    Raises:
        KernelRefused: they differ; the message says which, and by how much.
    """
    found = list(tensors_of(results))
    if phase == "forward":
        names, wanted = ["the logits"], [reference.logits(seen)]
    else:
        names = ["the gradient of %s" % name for name in reference.names]
        wanted = reference.gradients(seen, phase)
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in wanted]:
        raise KernelRefused(
            "kernel %s: a timed %s returned tensors of other shapes than the reference"
            % (case.kernel, phase)
        )
    largest = max(float(tensor.double().norm()) for tensor in wanted)
    tolerance = TOLERANCES[getattr(torch, case.dtype)]
    worst = 0.0
    for name, result, right in zip(names, found, wanted):
        norm = max(float(right.double().norm()), LEAST_SHARE * largest, 1e-300)
        error = float((result.detach().double() - right.double()).norm()) / norm
        if not error <= tolerance:  # NaN does not pass
            raise KernelRefused(
                "kernel %s did not do the work of a timed %s: on the inputs of that iteration %s "
                "is %.1e of its norm away from torch's (allowed: %.0e)"
                % (case.kernel, phase, name, error, tolerance)
            )
        worst = max(worst, error)
    return worst
