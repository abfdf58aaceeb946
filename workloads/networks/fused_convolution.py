"""Convolution, frozen BatchNorm, sum and activation as one operation that keeps each map once."""

import math
from typing import Any, Optional, Sequence, Tuple

import torch
from torch.autograd.function import once_differentiable

from workloads.networks.folded import FoldedConv2d
from workloads.networks.operators import HAS_CONVOLUTION_BACKWARD, HAS_POINTWISE, overload
from workloads.spec.geometry import conv_geometry

Maybe = Optional[torch.Tensor]

if HAS_CONVOLUTION_BACKWARD:
    _convolution_backward = overload(torch.ops.aten.convolution_backward, "default")
if HAS_POINTWISE:
    _pointwise = overload(torch.ops.mkldnn._convolution_pointwise, "default")
    _pointwise_sum = overload(torch.ops.mkldnn._convolution_pointwise, "binary")
_hardtanh_backward = overload(torch.ops.aten.hardtanh_backward, "grad_input")


class FusedConv2d(FoldedConv2d):
    """y = convolution of x, plus another map, limited to 0 ... upper; the latter two if wanted.

    The backward needs x and y only. As y is the x of the next layer, each map is kept once.

    Attributes:
        upper: of the activation: 6 for ReLU6, infinity for ReLU, None for no activation.
        owns_gradient: whether nothing else reads the gradient of y, so that the backward may
            overwrite it.
    """

    upper: Optional[float] = None
    owns_gradient = False

    def forward(self, x: torch.Tensor, other: Maybe = None) -> torch.Tensor:
        """Return y (N, C_o, H_y, W_y) of x (N, C_i, H, W) and another map of y's shape.

        Raises:
            ValueError: the other map has another shape.
        """
        if other is not None:
            self._check_sum(x, other)
        if HAS_CONVOLUTION_BACKWARD and torch.is_grad_enabled() and self._trains(x, other):
            return _FusedConvolution.apply(  # type: ignore[no-any-return, no-untyped-call]
                x, self.weight, self.bias, other, self
            )
        return self.compute(x, other)

    def compute(self, x: torch.Tensor, other: Maybe) -> torch.Tensor:
        """Return y, in one pass over the maps where torch can."""
        if HAS_POINTWISE and x.device.type == "cpu" and x.dtype == torch.float32:
            return self._pointwise(x, other)
        y = super().forward(x)
        if other is not None:
            y += other
        if self.upper is not None:
            y = _Limited.apply(y, self)  # type: ignore[no-untyped-call]
        return y

    def gradients(
        self, grad: torch.Tensor, x: torch.Tensor, needs: Sequence[bool]
    ) -> Tuple[Maybe, Maybe, Maybe]:
        """Return g_x, g_w and g_b of the convolution, None for those that are not needed.

        Args:
            grad: of what the convolution returns, (N, C_o, H_y, W_y).
            x: (N, C_i, H, W); its values matter to g_w alone.
            needs: which of the three are needed.
        """
        weight = self.folded_weight()
        g_x, g_weight, g_bias = _convolution_backward(
            grad,
            x,
            weight,
            [weight.shape[0]],
            self.stride,
            self.padding,
            self.dilation,
            False,  # it is not transposed
            (0, 0),
            self.groups,
            needs,
        )
        if self.scale is not None:
            if g_weight is not None:
                g_weight *= self.scale.view(-1, 1, 1, 1)
            if g_bias is not None:
                g_bias *= self.scale
        return g_x, g_weight, g_bias

    def before_activation(self, grad: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the gradient of what the activation got, which is 0 where y is at a limit."""
        result = grad if self.owns_gradient else torch.empty_like(y)
        _hardtanh_backward(grad, y, 0.0, self.upper, grad_input=result)
        return result

    def _pointwise(self, x: torch.Tensor, other: Maybe) -> torch.Tensor:
        """Return y by oneDNN, which has all of it but a sum with ReLU6 in one pass."""
        weight, bias = self.folded_weight(), self.folded_bias()
        options = (weight, bias, self.padding, self.stride, self.dilation, self.groups)
        y: torch.Tensor
        if other is None:
            if self.upper is None:
                y = _pointwise(x, *options, "none", [], "")
            else:
                y = _pointwise(x, *options, "hardtanh", [0.0, self.upper], "")
        elif self.upper == math.inf:
            y = _pointwise_sum(x, other, *options, "add", 1.0, "relu", [], "")
        else:
            y = _pointwise_sum(x, other, *options, "add", 1.0, None, [], "")
            if self.upper is not None:
                y.clamp_(0.0, self.upper)
        return y

    def _trains(self, x: torch.Tensor, other: Maybe) -> bool:
        tensors = (x, self.weight, self.bias, other)
        return any(tensor is not None and tensor.requires_grad for tensor in tensors)

    def _check_sum(self, x: torch.Tensor, other: torch.Tensor) -> None:
        geometry = conv_geometry(
            x.shape, self.weight.shape, self.stride, self.padding, self.dilation, self.groups
        )
        shape = (x.shape[0], self.weight.shape[0], *geometry.output_size)
        if tuple(other.shape) != shape:
            raise ValueError(
                "network: maps %s and %s are summed after a convolution; only those of one shape "
                "can be fused" % (shape, tuple(other.shape))
            )


class _FusedConvolution(torch.autograd.Function):
    """All that a layer computes, as one node of autograd's graph."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: Maybe, other: Maybe, layer: Any
    ) -> torch.Tensor:
        y: torch.Tensor = layer.compute(x, other)
        need_x, need_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(
            x if need_weight else None,
            weight if need_x else None,  # has autograd notice when it is changed meanwhile
            None if layer.upper is None else y,
        )
        ctx.layer, ctx.x_size, ctx.x_stride = layer, x.size(), x.stride()
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple[Maybe, ...]:
        x, _, y = ctx.saved_tensors
        if y is not None:
            grad = ctx.layer.before_activation(grad, y)
        if x is None:
            x = torch.empty_strided(ctx.x_size, ctx.x_stride, dtype=grad.dtype, device=grad.device)
        grads = ctx.layer.gradients(grad, x, ctx.needs_input_grad[:3])
        g_other = grad if ctx.needs_input_grad[3] else None
        return (*grads, g_other, None)


class _Limited(torch.autograd.Function):
    """A layer's activation alone, in place; the backward needs its result only."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, layer: Any) -> torch.Tensor:
        ctx.mark_dirty(y)
        y.clamp_(0.0, layer.upper)
        ctx.save_for_backward(y)
        ctx.layer = layer
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple[torch.Tensor, None]:
        (y,) = ctx.saved_tensors
        return ctx.layer.before_activation(grad, y), None
