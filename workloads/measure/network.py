"""The work of a whole network: what is trained, the calls that are timed, how inputs change."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from workloads.measure import by_layer as layers
from workloads.measure import inputs
from workloads.measure.network_building import (
    as_measured,
    memory_format_of,
    stock_network,
    trained_parameters,
)
from workloads.measure.network_fidelity import network_fidelity
from workloads.measure.network_verification import NetworkInputs, Reference, verify
from workloads.measure.timing import CLOCK
from workloads.measure.work import Work, synchronizer
from workloads.networks.baselines import laid_out
from workloads.spec.messages import Case

LEARNING_RATE, MOMENTUM = 1e-3, 0.9
MICRO_BATCHES = 4
SMALL_SIDE = 8  # of the images of ``tiny``
BY_LAYER_REPEATS = 5
Gradients = Tuple[torch.Tensor, ...]


def prepare(case: Case, seed: int) -> Work:
    """Build the case's network, its inputs, random normal and seeded, and its calls.

    x is (N, 3, H, W), the logits and their gradient are (N, classes), of the case's dtype on its
    device.
    """
    network = stock_network(case, seed)
    tensors = _inputs(case, seed, network)
    module = as_measured(case, network)
    optimizer = None
    if case.network.optimizer == "sgd":
        optimizer = torch.optim.SGD(tensors.parameters, LEARNING_RATE, MOMENTUM)
    calls = _Calls(case, module, tensors, optimizer)
    reference = Reference(case, seed)
    facts = {}
    if case.kernel == "compiled":
        facts["compile_s"] = _seconds(calls.step)
    return Work(
        forward=calls.forward,
        backward=calls.backward,
        step=calls.step,
        synchronize=synchronizer(torch.device(case.device)),
        inputs=lambda phase: _seen(tensors, phase, optimizer),
        change=_change(tensors, calls, seed),
        verify=lambda phase, seen, results: verify(case, phase, reference, seen, results),
        parameters=[*network.parameters(), *module.parameters()],
        train_step=None if optimizer is None else calls.train_step,
        inference=calls.inference,
        saving=calls.forward_of_a_part,
        facts=facts,
    )


def tiny(case: Case) -> Case:
    """Return the case with the smallest network: its weights leave no memory for others to use."""
    small = case.network._replace(
        architecture="tiny",
        height=SMALL_SIDE,
        width=SMALL_SIDE,
        trained="all",
        patch_sizes=(),
        channels=1.0,
        weights="",
    )
    return case._replace(workload=small, batch=1)


def fidelity(case: Case, seed: int) -> Dict[str, Any]:
    """Compare the network's gradients, filtered and exact, on images with a 1/f spectrum."""
    exact = laid_out(stock_network(case, seed), memory_format_of(case))
    filtered = as_measured(case, stock_network(case, seed))
    device, dtype = torch.device(case.device), getattr(torch, case.dtype)
    x = inputs.one_over_f(_image_shape(case), 4 * seed, dtype, device)
    x = x.contiguous(memory_format=memory_format_of(case))
    grad_output = inputs.normal(_logits_shape(case), 4 * seed + 3, dtype, device)
    return network_fidelity(exact, filtered, x, grad_output)


def by_layer(case: Case, seed: int) -> Dict[str, Any]:
    """Return seconds and saved bytes of the case's step by layer; of one micro-batch's."""
    network = stock_network(case, seed)
    tensors = _inputs(case, seed, network)
    module = as_measured(case, network)
    part = _parts(case, tensors)[0]
    return layers.by_layer(module, part.x, part.grad_output, tensors.parameters, BY_LAYER_REPEATS)


class _Part(NamedTuple):
    """Some images of the batch, or all: views, which see every change of the inputs."""

    x: torch.Tensor
    grad_output: torch.Tensor
    labels: torch.Tensor


def _parts(case: Case, tensors: NetworkInputs) -> List[_Part]:
    number = min(MICRO_BATCHES, case.batch) if case.method == "micro_batches" else 1
    cut = (part.chunk(number) for part in (tensors.x, tensors.grad_output, tensors.labels))
    return [_Part(*pieces) for pieces in zip(*cut)]


class _Calls:
    """What is timed: one call a phase, part by part where the batch is cut into micro-batches."""

    def __init__(
        self,
        case: Case,
        module: nn.Module,
        tensors: NetworkInputs,
        optimizer: Optional[torch.optim.Optimizer],
    ) -> None:
        """Cut the batch; nothing is computed yet."""
        self._parts = _parts(case, tensors)
        self._module = module
        self._x = tensors.x
        self._parameters = tensors.parameters
        self._optimizer = optimizer
        self._keeps_graphs = case.kernel != "compiled"  # whose graphs allow one backward
        self._graphs: List[torch.Tensor] = []

    def forward(self) -> torch.Tensor:
        """Return the logits (N, classes)."""
        logits = [self._module(part.x) for part in self._parts]
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def forward_of_a_part(self) -> torch.Tensor:
        """Return the logits of as many images as are in memory at one time."""
        logits: torch.Tensor = self._module(self._parts[0].x)
        return logits

    def inference(self) -> torch.Tensor:
        """Return the logits (N, classes), with nothing kept for a backward."""
        with torch.no_grad():
            logits: torch.Tensor = self._module(self._x)
            return logits

    def make_graph(self) -> None:
        """Have a graph for the next backward: that of the last one where it can be kept."""
        if self._graphs and self._keeps_graphs:
            return
        self.drop_graph()  # before the next is made
        self._graphs = [self._module(part.x) for part in self._parts]

    def drop_graph(self) -> None:
        """Free what the backward needs: it would lie in memory beside another phase."""
        self._graphs = []

    def backward(self) -> Gradients:
        """Return the gradients by the graph that ``make_graph`` has made."""
        if not self._graphs:
            self.make_graph()
        total: Gradients = ()
        for logits, part in zip(self._graphs, self._parts):
            gradients = torch.autograd.grad(
                logits, self._parameters, part.grad_output, retain_graph=self._keeps_graphs
            )
            total = _added(total, gradients)
        if not self._keeps_graphs:
            self.drop_graph()
        return total

    def step(self) -> Gradients:
        """Return the gradients by a forward and a backward."""
        total: Gradients = ()
        for part in self._parts:
            logits = self._module(part.x)
            total = _added(total, torch.autograd.grad(logits, self._parameters, part.grad_output))
        return total

    def train_step(self) -> Gradients:
        """Return the gradients of the mean loss, after the optimizer has used them."""
        assert self._optimizer is not None
        total: Gradients = ()
        for part in self._parts:
            loss = F.cross_entropy(self._module(part.x), part.labels, reduction="sum")
            gradients = torch.autograd.grad(loss / len(self._x), self._parameters)
            total = _added(total, gradients)
        for parameter, gradient in zip(self._parameters, total):
            parameter.grad = gradient
        self._optimizer.step()
        return total


def _added(total: Gradients, gradients: Gradients) -> Gradients:
    """Add gradients to a total, in place; an empty one begins with them."""
    for summed, gradient in zip(total, gradients):
        summed += gradient
    return total or gradients


def _inputs(case: Case, seed: int, network: nn.Module) -> NetworkInputs:
    device, dtype = torch.device(case.device), getattr(torch, case.dtype)
    x = inputs.normal(_image_shape(case), seed + 1, dtype=dtype, device=device)
    generator = torch.Generator().manual_seed((seed + 2) % 2**63)
    labels = torch.randint(case.network.num_classes, (case.batch,), generator=generator)
    return NetworkInputs(
        x=x.contiguous(memory_format=memory_format_of(case)),
        grad_output=inputs.normal(_logits_shape(case), seed + 3, dtype=dtype, device=device),
        labels=labels.to(device),
        parameters=tuple(trained_parameters(network).values()),
    )


def _image_shape(case: Case) -> Tuple[int, int, int, int]:
    return case.batch, 3, case.network.height, case.network.width


def _logits_shape(case: Case) -> Tuple[int, int]:
    return case.batch, case.network.num_classes


def _change(tensors: NetworkInputs, calls: _Calls, seed: int) -> Callable[[str], None]:
    """Return a function that changes every element of the inputs of a phase."""
    forward: Sequence[torch.Tensor] = (tensors.x, *tensors.parameters)
    changed: Dict[str, Sequence[torch.Tensor]] = {
        "forward": forward,
        "backward": (tensors.grad_output,),
        "step": (*forward, tensors.grad_output),
        "train_step": forward,
    }
    changing = inputs.Changing((*forward, tensors.grad_output), seed + 4)

    def change(phase: str) -> None:
        changing.change(changed[phase])
        if phase == "backward":
            calls.make_graph()
        else:
            calls.drop_graph()

    return change


def _seen(
    tensors: NetworkInputs, phase: str, optimizer: Optional[torch.optim.Optimizer]
) -> NetworkInputs:
    """Return what the last iteration of a phase saw: not what its optimizer made of it."""
    if phase != "train_step" or optimizer is None:
        return tensors
    before = []
    for parameter in tensors.parameters:
        momentum = optimizer.state[parameter]["momentum_buffer"]
        before.append(parameter.detach() + LEARNING_RATE * momentum)
    return tensors._replace(parameters=tuple(before))


def _seconds(call: Callable[[], Any]) -> float:
    begin = CLOCK()
    call()
    return CLOCK() - begin
