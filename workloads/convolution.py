"""A convolution whose forward is exact and whose backward is exact or filtered, as you choose.

``conv2d`` is the function; ``filter_module`` puts it on the convolutions of any torch model.
"""

import functools
from typing import Any, Callable, Optional, Sequence, Tuple, Type, Union, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.lazy import LazyModuleMixin

from workloads.kernels import find
from workloads.kernels.seam import Kernel, Operator
from workloads.networks.order import Named, chosen_convolutions, convolutions_in_order
from workloads.spec.geometry import Geometry, conv_geometry
from workloads.spec.methods import BASELINE, DEFAULT, METHODS, check_method

Layers = Union[None, int, Sequence[str], Callable[[str, nn.Conv2d], bool]]


def conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: Optional[torch.Tensor] = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    method: str = BASELINE,
    patch_size: Any = 2,
    kernel: str = "torch",
) -> torch.Tensor:
    """Convolve exactly; ``method`` chooses how the gradients are computed.

    Args:
        x: (N, C_i, H, W).
        weight: (C_o, C_i / groups, k_h, k_w).
        bias: (C_o,) or None.
        stride: an int or a pair, as ``dilation`` and ``patch_size``.
        padding: an int, a pair, "same" or "valid".
        dilation: see ``stride``.
        groups: divides both channels.
        method: "exact", "gradient_filter" or "gradient_filter_published".
        patch_size: r in the paper; "exact" ignores it (None will do).
        kernel: the implementation of the filtered backward.

    Returns:
        y (N, C_o, H_y, W_y).

    Raises:
        ValueError: an argument is wrong (the message begins with its name), the method cannot do
            this convolution, or the kernel cannot run here.
    """
    implementation = find(kernel)
    options = (stride, padding, dilation, groups, patch_size)
    try:
        geometry = _geometry(method, x.shape, weight.shape, *options)
    except TypeError:  # a list among them, which cannot be remembered
        geometry = _geometry.__wrapped__(method, x.shape, weight.shape, *options)
    _check_tensors(x, weight, bias)
    if method == BASELINE:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    operator = _operator(implementation, method, x)
    wanted = x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    if not wanted or not torch.is_grad_enabled():
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    y: torch.Tensor = _FilteredConvolution.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, geometry, padding, operator
    )
    return y


class _FilteredConvolution(torch.autograd.Function):
    """y = conv(x, w) + b exactly; a kernel's operator saves tensors and computes the gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: Optional[torch.Tensor],
        geometry: Geometry,
        padding: Any,
        operator: Operator,
    ) -> torch.Tensor:
        ctx.set_materialize_grads(False)
        need_x, need_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(*operator.save(x, weight, geometry, need_x, need_w))
        ctx.geometry, ctx.operator = geometry, operator
        return F.conv2d(
            x, weight, bias, geometry.stride, padding, geometry.dilation, geometry.groups
        )

    @staticmethod
    def backward(
        ctx: Any, grad_output: Optional[torch.Tensor]
    ) -> Tuple[Optional[torch.Tensor], ...]:
        if torch.is_grad_enabled():  # under create_graph
            return _gradients_once(ctx, grad_output)
        return _gradients(ctx, grad_output)


def _gradients(ctx: Any, grad_output: Optional[torch.Tensor]) -> Tuple[Optional[torch.Tensor], ...]:
    """Return a gradient for each argument of the forward, None for those that need none."""
    if grad_output is None:
        return (None,) * 6
    grads = ctx.operator.gradients(
        grad_output, *ctx.saved_tensors, ctx.geometry, ctx.needs_input_grad[:3]
    )
    return (*grads, None, None, None)


_gradients_once = once_differentiable(_gradients)  # refuses a second derivative


class FilteredConv2d(nn.Conv2d):
    """An nn.Conv2d with a filtered backward; ``filter_module`` makes them of existing layers."""

    method = DEFAULT
    patch_size: Any = 2
    kernel = "torch"
    unfiltered: Type[nn.Conv2d] = nn.Conv2d

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the exact convolution of (N, C_i, H, W)."""
        return conv2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            method=self.method,
            patch_size=self.patch_size,
            kernel=self.kernel,
        )

    def extra_repr(self) -> str:
        """Add the method, patch size and kernel to what nn.Conv2d shows."""
        shapes = super().extra_repr()  # type: ignore[no-untyped-call]
        settings = (self.method, self.patch_size, self.kernel)
        return "%s, method=%s, patch_size=%s, kernel=%s" % (shapes, *settings)

    def __reduce__(self) -> Any:
        """Pickle and copy as the unfiltered class, which can be imported by name."""
        return _blank, (self.unfiltered,), self.__dict__


@functools.lru_cache(maxsize=None)
def _filtered_class(kind: Type[nn.Conv2d]) -> Type[FilteredConv2d]:
    """Return the filtered form of nn.Conv2d or of a subclass that keeps its forward."""
    if kind is nn.Conv2d:
        return FilteredConv2d
    return type("Filtered" + kind.__name__, (FilteredConv2d, kind), {"unfiltered": kind})


def _blank(kind: Type[nn.Conv2d]) -> FilteredConv2d:
    """Return an empty filtered layer, for pickle and copy to fill."""
    filtered = _filtered_class(kind)  # type: ignore[arg-type]
    return filtered.__new__(filtered)


def filter_module(
    module: nn.Module,
    patch_size: Any,
    *,
    layers: Layers = None,
    method: str = DEFAULT,
    kernel: str = "torch",
    example: Any = None,
) -> nn.Module:
    """Put a filtered backward on convolutions of a model, in place, and return the model.

    Parameters, buffers, hooks and state_dict keys stay. Filtering again changes the settings.
    Nothing is changed if any chosen layer is refused.

    Args:
        module: any module; if it is itself an nn.Conv2d, its name is "".
        patch_size: r in the paper, an int or a pair.
        layers: None for all, a list of names as in ``named_modules``, a predicate
            ``(name, conv) -> bool``, or n for the last n convolutions.
        method: as for ``conv2d``.
        kernel: as for ``conv2d``.
        example: what the module is called with, once, to see in which order its convolutions run,
            for ``layers=n``; None takes the order in which they were defined.

    Raises:
        ValueError: an argument is wrong, or a chosen layer cannot be filtered; the message names
            it.
    """
    _check_usable(method)
    find(kernel)
    chosen = _chosen(module, layers, example)
    for name, conv in chosen:
        _check_layer(name, conv, method, patch_size)
    for _, conv in chosen:
        if not isinstance(conv, FilteredConv2d):
            conv.__class__ = _filtered_class(type(conv))  # type: ignore[arg-type]
        filtered = cast(FilteredConv2d, conv)
        filtered.method, filtered.patch_size, filtered.kernel = method, patch_size, kernel
    return module


def _chosen(module: nn.Module, layers: Layers, example: Any) -> Named:
    """Return the (name, convolution) pairs that ``layers`` asks for."""
    convs = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Conv2d)]
    if not convs:
        raise ValueError("module has no convolution to filter")
    if layers is None:
        return convs
    if callable(layers):
        return [(name, conv) for name, conv in convs if layers(name, conv)]
    if isinstance(layers, (bool, str)):
        raise ValueError("layers must be a list of names, a predicate or an int, not %r" % layers)
    if isinstance(layers, int) and example is not None:
        convs = convolutions_in_order(module, example)
    return chosen_convolutions(convs, layers)


def _check_layer(name: str, conv: nn.Conv2d, method: str, patch_size: Any) -> None:
    """Refuse a layer that cannot be filtered, by name, before anything is changed."""
    if not _keeps_forward(conv):
        raise ValueError(
            "layers: %r is a %s, which has a forward of its own; it cannot be filtered"
            % (name, type(conv).__name__)
        )
    if conv.padding_mode != "zeros":
        raise ValueError(
            "layers: %r has padding_mode %r; only zeros can be filtered" % (name, conv.padding_mode)
        )
    reach = [d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel_size)]
    geometry = conv_geometry(
        (1, conv.in_channels, reach[0], reach[1]),  # large enough for any output at all
        conv.weight.shape,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        patch_size,
    )
    refused = METHODS[method].refusal(geometry)
    if refused:
        raise ValueError("layers: %r: %s" % (name, refused))


def _keeps_forward(conv: nn.Conv2d) -> bool:
    """Return whether the layer computes what nn.Conv2d does, now and later."""
    kind = conv.unfiltered if isinstance(conv, FilteredConv2d) else type(conv)
    hooks = ("forward", "_conv_forward", "__call__")
    if issubclass(kind, LazyModuleMixin):  # becomes a plain nn.Conv2d in its first forward
        return False
    same = all(getattr(kind, hook) is getattr(nn.Conv2d, hook) for hook in hooks)
    return same and not any(hook in conv.__dict__ for hook in hooks)


def _check_usable(method: str) -> None:
    if not check_method(method).usable:
        raise ValueError(
            "method: %s is for timing only: its g_x and g_w lack the shapes of x and weight"
            % method
        )


@functools.lru_cache(maxsize=1024, typed=True)  # it takes as long as a small layer
def _geometry(
    method: str,
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    patch_size: Any,
) -> Geometry:
    """Return the geometry of a convolution that the method can do.

    Raises:
        ValueError: an argument is wrong, or the method cannot do this convolution.
    """
    _check_usable(method)
    if patch_size is None and not METHODS[method].has_patch_size:
        patch_size = 1
    geometry = conv_geometry(x_shape, weight_shape, stride, padding, dilation, groups, patch_size)
    refused = METHODS[method].refusal(geometry)
    if refused:
        raise ValueError(refused)
    return geometry


def _operator(kernel: Kernel, method: str, x: torch.Tensor) -> Operator:
    """Return the kernel's operator for a method.

    Raises:
        ValueError: the kernel does not implement the method, or cannot run here.
    """
    if method not in kernel.operators:
        known = ", ".join(kernel.operators)
        raise ValueError("method: kernel %s implements %s, not %s" % (kernel.name, known, method))
    unavailable = kernel.available(x.device, x.dtype)
    if unavailable:
        raise ValueError("kernel: %s" % unavailable)
    return kernel.operators[method]


def _check_tensors(x: torch.Tensor, weight: torch.Tensor, bias: Optional[torch.Tensor]) -> None:
    if not x.is_floating_point():
        raise ValueError("x must be floating point, not %s" % x.dtype)
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and (tensor.dtype, tensor.device) != (x.dtype, x.device):
            raise ValueError(
                "%s must be %s on %s as x is, not %s on %s"
                % (name, x.dtype, x.device, tensor.dtype, tensor.device)
            )
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError("bias must have shape (%d,), not %s" % (weight.shape[0], bias.shape))
