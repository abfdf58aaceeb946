"""The work of a case: the calls that are timed, and what is done around them outside the clock."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

import torch

from workloads.measure.timing import Iteration
from workloads.measure.verification import keep, read_some


class Work(NamedTuple):
    """The calls that are timed and the tensors behind them.

    Attributes:
        forward: returns y (N, C_o, H_y, W_y) of a layer, the logits (N, classes) of a network.
        backward: returns the gradients, of a layer g_x, g_w and, with a bias, g_b, of a network
            those of its trained parameters; repeats on the same graph.
        step: does both.
        synchronize: waits until the device has done all that it was given.
        inputs: returns the tensors that the last iteration of a phase saw, as a NamedTuple.
        change: changes every element of the inputs of a phase: x and the parameters for "forward",
            the output's gradient for "backward", all of them for "step".
        verify: ``verify(phase, inputs, results)`` compares results with the reference on the inputs
            and returns the largest relative error; raises KernelRefused where they differ.
        parameters: what autograd does not save but finds there anyway.
        train_step: the step and the optimizer's update; None where there is none.
        inference: the forward alone, with nothing saved; None where that is not measured.
        saving: what saves all that is kept at one time; None for the whole forward.
        facts: what the block's record says of how the work was prepared.
    """

    forward: Callable[[], Any]
    backward: Callable[[], Any]
    step: Callable[[], Any]
    synchronize: Callable[[], None]
    inputs: Callable[[str], Any]
    change: Callable[[str], None]
    verify: Callable[[str, Any, Any], float]
    parameters: List[torch.Tensor]
    train_step: Optional[Callable[[], Any]] = None
    inference: Optional[Callable[[], Any]] = None
    saving: Optional[Callable[[], Any]] = None
    facts: Dict[str, Any] = {}  # noqa: RUF012 - read only, as every default of a NamedTuple

    def iteration(self, phase: str) -> Iteration:
        """Return the call of a phase and what is done around it, outside the clock."""
        return Iteration(
            run=getattr(self, phase),
            change=lambda: self.change(phase),
            consume=read_some,
            keep=lambda results: keep(self.inputs(phase), results),
        )


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Return what waits for a device."""
    return torch.cuda.synchronize if device.type == "cuda" else _nothing


def _nothing() -> None:
    """Wait for a CPU, which has done a call when it returns."""
