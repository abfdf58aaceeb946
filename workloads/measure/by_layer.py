"""Where a step of a network goes, module by module: seconds, and tensors kept for the backward.

Hooks cost time, above all around quick modules, and on a GPU the device is waited for at each of
them. So the seconds here say in what proportions a step is spent; a timed block says how long it
takes.
"""

import contextlib
import gc
from statistics import median
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import torch
from torch import nn

from workloads.measure.saved import SavedTensor, saved_tensors
from workloads.measure.timing import CLOCK
from workloads.measure.verification import tensors_of
from workloads.measure.work import synchronizer

WHOLE = "(network)"  # the name of the network itself, which has none among its modules
OWN = "%s (own)"  # the kind of a module that has others run
_WARM_UP = 2  # steps


def by_layer(
    network: nn.Module,
    x: torch.Tensor,
    grad_logits: torch.Tensor,
    wanted: Sequence[torch.Tensor],
    repeats: int,
) -> Dict[str, Any]:
    """Return seconds and saved bytes of one step by module, as the record of a block has them.

    ``layers`` are the modules that run, in the order in which they begin. Every moment belongs to
    one of them: to a module that has others run, what it does beside them, such as a residual sum.
    Where two gradients meet, their sum belongs to the module whose backward comes next. What a
    checkpoint computes again is time of the backward. Seconds are medians over the repeats, totals
    are sums over the modules. ``saved`` are the tensors that are kept for the backward, the
    parameters left out, as ``saved.saved_tensors`` counts them; where torch has no hooks for it
    (< 1.10) there are none, and bytes are None.

    The network stays as it was, but for the statistics of a BatchNorm that is trained.

    Args:
        network: any module.
        x: (N, 3, H, W).
        grad_logits: of the network's output, (N, classes).
        wanted: the trained parameters.
        repeats: how many steps are measured after the warm-up, at least one.
    """
    for _ in range(_WARM_UP):
        _Step(network, x.device).run(x, grad_logits, wanted)
    steps = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            step = _Step(network, x.device)
            step.run(x, grad_logits, wanted)
            steps.append(step)
    finally:
        gc.enable()
    saved = _saved(network, x, [*network.parameters(), *wanted])

    ran = list(steps[0].forward_s)
    names = {module: name or WHOLE for name, module in network.named_modules()}
    kinds = {module: _kind(module, ran) for module in ran}
    layers: List[Dict[str, Any]] = []
    for module in ran:
        layers.append(
            {
                "name": names[module],
                "kind": kinds[module],
                "forward_s": median(step.forward_s[module] for step in steps),
                "backward_s": median(step.backward_s[module] for step in steps),
                "saved_bytes": _bytes_kept(saved, by=[module]),
            }
        )
    tensors: List[Dict[str, Any]] = []
    for kept_by, shape, size in saved or []:
        tensors.append(
            {
                "kept_by": names[kept_by],
                "kind": kinds[kept_by],
                "shape": list(shape),
                "bytes": size,
            }
        )
    return {
        "layers": layers,
        "saved": tensors,
        "forward_s": sum(layer["forward_s"] for layer in layers),
        "backward_s": sum(layer["backward_s"] for layer in layers),
        "saved_bytes": _bytes_kept(saved, by=ran),
    }


class _Step:
    """One step of a network whose every moment is charged to a module.

    In the forward, hooks before and after each module mark the moments. The nodes of autograd's
    graph that a module adds are found behind the tensors that enter and leave it; in the backward,
    a hook of each marks when it has ended. Unlike torch's hooks for the backward of modules, this
    leaves the graph as it is, and modules may work in place.

    Attributes:
        forward_s: seconds by module, in the order in which they begin.
        backward_s: the same of the backward; 0 for a module of which it needs nothing.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        """Start with no time charged."""
        self.forward_s: Dict[nn.Module, float] = {}
        self.backward_s: Dict[nn.Module, float] = {}
        self._network = network
        self._synchronize = synchronizer(device)
        self._running = [network]  # the outermost first
        self._owners: Dict[Any, nn.Module] = {}  # of autograd's nodes
        self._seconds = self.forward_s
        self._since = 0.0

    def run(
        self, x: torch.Tensor, grad_logits: torch.Tensor, wanted: Sequence[torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        """Run the step and return the gradients."""
        try:
            with _hooked(self._network, self._enter, self._leave):
                self._synchronize()
                self._since = CLOCK()
                logits = self._network(x)
                self._charge(self._network)
                self._seconds = self.backward_s
                gradients = torch.autograd.grad(logits, wanted, grad_logits)
                self._charge(self._network)
                return gradients
        finally:
            self._owners.clear()  # its nodes have hooks that have this object

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._charge(self._running[-1])
        self._own(inputs, self._running[-1])
        self._running.append(module)
        for seconds in (self.forward_s, self.backward_s):
            seconds.setdefault(module, 0.0)
        self._since = CLOCK()

    def _leave(self, module: nn.Module, output: Any) -> None:
        self._charge(module)
        self._own(output, module)
        self._running.pop()
        self._since = CLOCK()

    def _charge(self, module: nn.Module) -> None:
        """Charge a module with the time since the last mark."""
        self._synchronize()
        now = CLOCK()
        self._seconds[module] = self._seconds.get(module, 0.0) + now - self._since
        self._since = now

    def _own(self, tensors: Any, module: nn.Module) -> None:
        """Give a module all nodes behind the tensors that no other has."""
        nodes = [getattr(tensor, "grad_fn", None) for tensor in tensors_of(tensors)]
        while nodes:
            node = nodes.pop()
            if node is None or node in self._owners:
                continue
            self._owners[node] = module
            node.register_hook(lambda *gradients: self._charge(module))
            nodes.extend(earlier for earlier, _ in node.next_functions)


def _saved(
    network: nn.Module, x: torch.Tensor, parameters: Sequence[torch.Tensor]
) -> Optional[List[SavedTensor]]:
    """Return what a forward keeps for the backward, each by the module that ran."""
    running = [network]

    def enter(module: nn.Module, inputs: Any) -> None:
        running.append(module)

    def leave(module: nn.Module, output: Any) -> None:
        running.pop()

    with _hooked(network, enter, leave):
        return saved_tensors(lambda: network(x), parameters, lambda: running[-1])


@contextlib.contextmanager
def _hooked(
    network: nn.Module,
    enter: Callable[[nn.Module, Any], None],
    leave: Callable[[nn.Module, Any], None],
) -> Iterator[None]:
    """Call ``enter`` with each module and its inputs, and ``leave`` with it and its output."""
    handles = []
    for module in network.modules():
        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(lambda part, _, output: leave(part, output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _kind(module: nn.Module, ran: Sequence[nn.Module]) -> str:
    """Return the module's class, and whether others that ran are a part of it."""
    name = type(module).__name__
    has_others_run = any(part in ran for part in module.modules() if part is not module)
    return OWN % name if has_others_run else name


def _bytes_kept(saved: Optional[List[SavedTensor]], by: Sequence[nn.Module]) -> Optional[int]:
    """Return the bytes that modules keep; None where they are not known."""
    if saved is None:
        return None
    return sum(tensor.bytes for tensor in saved if tensor.kept_by in by)
