"""What is left of the filtered backward on the patch grid: that of a small convolution.

Its window is the summed one, 1 x 1, or the kept dilated one. oneDNN does it where torch has it:
its products use all of any x86 processor, while the BLAS in torch's packages holds back on some
makers'. Elsewhere matrices are multiplied by BLAS.
"""

from typing import Any, Tuple

import torch

from workloads.kernels.seam import Maybe
from workloads.kernels.torch_ops import operators as torch_ops

Pair = Tuple[int, int]


def _find_convolution_backward() -> Any:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    try:
        return torch.ops.aten.convolution_backward
    except (AttributeError, RuntimeError):  # torch < 1.11
        return None


_convolution_backward = _find_convolution_backward()


def backward(
    grad: torch.Tensor,
    x_sum: Maybe,
    window: Maybe,
    shape: Tuple[int, int, int, int],
    groups: int,
    step: Pair,
) -> Tuple[Maybe, Maybe]:
    """Return (g_x, g_w) on the grid; None where ``window`` or ``x_sum`` is None.

    Args:
        grad: g~ (N, C_o, P_h, P_w).
        x_sum: x~ (N, C_i, P_h, P_w), needed for g_w.
        window: (C_o, C_i / groups, k_h, k_w), needed for g_x.
        shape: the window's; both sizes are odd.
        groups: of the convolution.
        step: its dilation on the grid.
    """
    one_tap = shape[2:] == (1, 1)
    if one_tap and shape[:2] == (groups, 1):
        return _by_channel(grad, x_sum, window)
    # oneDNN has no fast way for groups of one tap: batches of matrices are 2 to 5 times faster.
    grouped = one_tap and groups > 1
    if _convolution_backward is not None and grad.dtype == torch.float32 and not grouped:
        return _by_convolution(grad, x_sum, window, shape, groups, step)
    if one_tap:
        return _by_matrices(grad, x_sum, window, shape, groups)
    values = grad_w = None
    if window is not None:
        values = torch_ops.input_gradient(grad, window, groups, step)
    if x_sum is not None:
        grad_w = torch_ops.weight_gradient(grad, x_sum, shape, groups, step)
    return values, grad_w


def _by_convolution(
    grad: torch.Tensor,
    x_sum: Maybe,
    window: Maybe,
    shape: Tuple[int, int, int, int],
    groups: int,
    step: Pair,
) -> Tuple[Maybe, Maybe]:
    needed = [window is not None, x_sum is not None, False]
    if x_sum is None:  # only its shape matters then, as the window's below
        x_sum = grad.new_empty(1).expand(grad.shape[0], shape[1] * groups, *grad.shape[2:])
    if window is None:
        window = grad.new_empty(1).expand(shape)
    padding = [d * (k - 1) // 2 for d, k in zip(step, shape[2:])]
    values, grad_w, _ = _convolution_backward(
        grad, x_sum, window, None, [1, 1], padding, step, False, [0, 0], groups, needed
    )
    return values, grad_w


def _by_channel(grad: torch.Tensor, x_sum: Maybe, window: Maybe) -> Tuple[Maybe, Maybe]:
    """Do it where each channel has a group of its own."""
    values = None if window is None else grad * window.view(1, -1, 1, 1)
    if x_sum is None:
        return values, None
    return values, (grad * x_sum).sum((0, 2, 3)).view(-1, 1, 1, 1)


def _by_matrices(
    grad: torch.Tensor,
    x_sum: Maybe,
    window: Maybe,
    shape: Tuple[int, int, int, int],
    groups: int,
) -> Tuple[Maybe, Maybe]:
    left = _matrices(grad, groups)  # (G, N P, C_o / G)
    values = grad_w = None
    if window is not None:
        product = _multiply(left, window.view(groups, -1, shape[1]))  # (G, N P, C_i / G)
        values = product.transpose(0, 1).reshape(grad.shape[0], *grad.shape[2:], -1)
        values = values.permute(0, 3, 1, 2)
    if x_sum is not None:
        grad_w = _multiply(left.transpose(1, 2), _matrices(x_sum, groups)).reshape(shape)
    return values, grad_w


def _matrices(grid: torch.Tensor, groups: int) -> torch.Tensor:
    """Return a grid (N, C, P_h, P_w) as (G, N P, C / G), a view where channels are dense."""
    channels = grid.shape[1]
    return grid.permute(0, 2, 3, 1).reshape(-1, groups, channels // groups).transpose(0, 1)


def _multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the products per group; one matrix alone is multiplied faster than a batch of one."""
    if left.shape[0] == 1:
        return torch.mm(left[0], right[0])[None]
    return torch.bmm(left, right)
