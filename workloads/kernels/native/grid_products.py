"""The two products on the patch grid in torch: the backward of a small convolution.

Its window is the summed one, 1 x 1, or the kept dilated one. oneDNN does it where torch has it,
because it uses the vectors of any x86 processor, while the BLAS in torch's packages does not use
all of them on processors of some makers. Elsewhere BLAS multiplies matrices.
"""

from typing import Any, Tuple

import torch

from workloads.kernels.seam import Maybe
from workloads.kernels.torch_ops import operators as torch_ops

Pair = Tuple[int, int]
Shape = Tuple[int, int, int, int]


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
    shape: Shape,
    groups: int,
    dilation: Pair,
) -> Tuple[Maybe, Maybe]:
    """Return g_x (N, C_i, P_h, P_w) and g_w of ``shape`` on the patch grid.

    Args:
        grad: g~ (N, C_o, P_h, P_w).
        x_sum: x~ (N, C_i, P_h, P_w); without it there is no g_w.
        window: of ``shape``; without it there is no g_x.
        shape: the window's on the grid (C_o, C_i / groups, k_h, k_w); k_h and k_w are odd.
        groups: of the convolution.
        dilation: of the window on the grid.
    """
    one_tap = shape[2:] == (1, 1)
    if one_tap and shape[:2] == (groups, 1):
        return _depthwise(grad, x_sum, window)
    # oneDNN is slow at groups of windows of one tap: batches of matrices are 2 to 5 times faster.
    grouped = one_tap and groups > 1
    if _convolution_backward is not None and grad.dtype == torch.float32 and not grouped:
        return _by_convolution(grad, x_sum, window, shape, groups, dilation)
    if one_tap:
        return _by_matrices(grad, x_sum, window, shape, groups)
    grad_x = grad_w = None
    if window is not None:
        grad_x = torch_ops.input_gradient(grad, window, groups, dilation)
    if x_sum is not None:
        grad_w = torch_ops.weight_gradient(grad, x_sum, shape, groups, dilation)
    return grad_x, grad_w


def _by_convolution(
    grad: torch.Tensor,
    x_sum: Maybe,
    window: Maybe,
    shape: Shape,
    groups: int,
    dilation: Pair,
) -> Tuple[Maybe, Maybe]:
    """Return g_x and g_w by torch's own backward of a convolution; arguments as of ``backward``."""
    needed = [window is not None, x_sum is not None, False]
    if x_sum is None:  # then only its shape matters
        x_sum = grad.new_empty(1).expand(grad.shape[0], shape[1] * groups, *grad.shape[2:])
    if window is None:  # likewise
        window = grad.new_empty(1).expand(shape)
    padding = [d * (k - 1) // 2 for d, k in zip(dilation, shape[2:])]
    grad_x, grad_w, _ = _convolution_backward(
        grad, x_sum, window, None, [1, 1], padding, dilation, False, [0, 0], groups, needed
    )
    return grad_x, grad_w


def _depthwise(grad: torch.Tensor, x_sum: Maybe, window: Maybe) -> Tuple[Maybe, Maybe]:
    """Return g_x and g_w where each channel is a group: C_o = C_i = groups, one tap."""
    grad_x = None if window is None else grad * window.view(1, -1, 1, 1)
    if x_sum is None:
        return grad_x, None
    return grad_x, (grad * x_sum).sum((0, 2, 3)).view(-1, 1, 1, 1)


def _by_matrices(
    grad: torch.Tensor,
    x_sum: Maybe,
    window: Maybe,
    shape: Shape,
    groups: int,
) -> Tuple[Maybe, Maybe]:
    """Return g_x and g_w of windows of one tap by products of matrices, one for each group."""
    left = _matrices(grad, groups)  # (G, N P, C_o / G)
    grad_x = grad_w = None
    if window is not None:
        product = _multiply(left, window.view(groups, -1, shape[1]))  # (G, N P, C_i / G)
        grad_x = product.transpose(0, 1).reshape(grad.shape[0], *grad.shape[2:], -1)
        grad_x = grad_x.permute(0, 3, 1, 2)
    if x_sum is not None:
        grad_w = _multiply(left.transpose(1, 2), _matrices(x_sum, groups)).reshape(shape)
    return grad_x, grad_w


def _matrices(grid: torch.Tensor, groups: int) -> torch.Tensor:
    """Return a grid (N, C, P_h, P_w) as (G, N P, C / G), a view where channels are dense."""
    channels = grid.shape[1]
    return grid.permute(0, 2, 3, 1).reshape(-1, groups, channels // groups).transpose(0, 1)


def _multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the products per group; a single matrix is faster alone than as a batch of one."""
    if left.shape[0] == 1:
        return torch.mm(left[0], right[0])[None]
    return torch.bmm(left, right)
