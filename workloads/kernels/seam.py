"""What a kernel is: all that the convolution knows of its implementations."""

from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

import torch

from workloads.spec.geometry import Geometry

Maybe = Optional[torch.Tensor]


class KernelError(ValueError):
    """A user's kernel cannot be loaded; the message says why."""


class Operator(NamedTuple):
    """One method's backward in one kernel; the kernel owns all of it, layouts included.

    The tensors that a kernel gets may have any strides. Nothing but the two saved tensors may
    outlive the forward.

    Attributes:
        save: ``save(x, weight, geometry, need_x, need_w)`` runs in the forward on x (N, C_i, H, W)
            and weight (C_o, C_i / groups, k_h, k_w). It returns two tensors of any shape, or None
            for what is not needed: ``need_x`` says that g_x will be computed, ``need_w`` that g_w.
        gradients: ``gradients(grad_output, x_saved, w_saved, geometry, needs_input_grad)`` runs in
            the backward on dL/dy (N, C_o, H_y, W_y) and the two saved tensors. It returns g_x, g_w
            and g_b with the shapes of x, weight and bias, written whole and not as expanded views;
            None for those that ``needs_input_grad`` (of x, weight, bias) does not ask for.
    """

    save: Callable[[torch.Tensor, torch.Tensor, Geometry, bool, bool], Tuple[Maybe, Maybe]]
    gradients: Callable[
        [torch.Tensor, Maybe, Maybe, Geometry, Sequence[bool]], Tuple[Maybe, Maybe, Maybe]
    ]


class Kernel(NamedTuple):
    """One implementation: its methods' operators and where it can run.

    Attributes:
        name: as suites and the command line have it.
        version: raised when its behaviour changes.
        sources: the files under ``workloads`` that its behaviour comes from.
        operators: by method.
        available: ``available(device, dtype)`` returns why it cannot run there, or None.
        memory_format: of the tensors that it is measured on; it takes any.
    """

    name: str
    version: str
    sources: Tuple[str, ...]
    operators: Dict[str, Operator]
    available: Callable[[torch.device, torch.dtype], Optional[str]]
    memory_format: torch.memory_format = torch.contiguous_format

    def laid_out(self, maps: torch.Tensor) -> torch.Tensor:
        """Return a tensor (N, C, H, W) in the memory format in which this kernel is measured."""
        return maps.contiguous(memory_format=self.memory_format)
