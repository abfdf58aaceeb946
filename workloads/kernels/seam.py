"""What a kernel is: the seam between the convolution and its implementations."""

from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

import torch

from workloads.spec.geometry import Geometry

Maybe = Optional[torch.Tensor]


class KernelError(ValueError):
    """A user's kernel cannot be loaded; the message says why."""


class Operator(NamedTuple):
    """One method's backward in one kernel; the kernel owns all of it, layouts included.

    ``save(x, weight, geometry, need_x, need_w)`` runs in the forward and returns two tensors (or
    None) that are kept: ``need_x`` says that g_x will be asked for, ``need_w`` that g_w will.
    ``gradients(grad_output, x_saved, w_saved, geometry, needs_input_grad)`` gets these two back
    and returns (g_x, g_w, g_b), None where ``needs_input_grad`` (x, weight, bias) says so.
    g_x, g_w and g_b are whole and written: shapes of x, weight and bias, no expanded views.
    The tensors may have any strides. Nothing but the two saved tensors may outlive the forward.
    """

    save: Callable[[torch.Tensor, torch.Tensor, Geometry, bool, bool], Tuple[Maybe, Maybe]]
    gradients: Callable[
        [torch.Tensor, Maybe, Maybe, Geometry, Sequence[bool]], Tuple[Maybe, Maybe, Maybe]
    ]


class Kernel(NamedTuple):
    """One implementation: its methods' operators and where it can run.

    ``available(device, dtype)`` returns the reason why it cannot run there, or None.
    ``sources`` are the files, beside this one, that its behaviour comes from. ``memory_format`` is
    that of the tensors that it is measured on; it takes any.
    """

    name: str
    version: str
    sources: Tuple[str, ...]
    operators: Dict[str, Operator]
    available: Callable[[torch.device, torch.dtype], Optional[str]]
    memory_format: torch.memory_format = torch.contiguous_format

    def laid_out(self, maps: torch.Tensor) -> torch.Tensor:
        """Return maps or windows (N, C, H, W) as they lie where this kernel is measured."""
        return maps.contiguous(memory_format=self.memory_format)
