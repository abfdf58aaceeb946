"""How close filtered gradients are to the exact ones: cosine, projection scale, relative error."""

import math
from typing import Any, Callable, Dict, Iterable, NamedTuple, Optional, Sequence, Tuple

import torch

from workloads.convolution import conv2d
from workloads.kernels import find
from workloads.measure.check import (
    COARSE_TOLERANCE,
    NAMES,
    TOLERANCES,
    KernelRefused,
    largest_error,
)
from workloads.measure.inputs import normal, one_over_f
from workloads.spec.geometry import layer_geometry
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE

_CHUNK = 2**20  # elements converted to float64 at a time
_TAP_CORRELATION = 0.11
_Draw = Callable[[Sequence[int], int, torch.dtype, Any], torch.Tensor]


class Fidelity(NamedTuple):
    """An estimate f against the exact e; None where undefined (a zero norm, or not finite).

    cosine = <f, e> / (|f| |e|), scale = <f, e> / <e, e>, rel_error = |f - e| / |e|.
    """

    cosine: Optional[float]
    scale: Optional[float]
    rel_error: Optional[float]


def compare(estimate: torch.Tensor, exact: torch.Tensor) -> Fidelity:
    """Compare two tensors of one shape, accumulating in float64 without large copies.

    Raises:
        ValueError: the shapes differ.
    """
    return compare_all([(estimate, exact)])


def compare_all(pairs: Iterable[Tuple[torch.Tensor, torch.Tensor]]) -> Fidelity:
    """Compare all estimates with their exact tensors, as if each were one vector.

    Raises:
        ValueError: the shapes of an (estimate, exact) differ.
    """
    ff = fe = ee = dd = 0.0
    for estimate, exact in pairs:
        if estimate.shape != exact.shape:
            raise ValueError(
                "estimate has shape %s, exact has %s" % (tuple(estimate.shape), tuple(exact.shape))
            )
        products = _products(estimate, exact)
        ff, fe, ee, dd = (total + part for total, part in zip((ff, fe, ee, dd), products))
    if not math.isfinite(ff + fe + ee + dd) or ee == 0:
        return Fidelity(None, None, None)
    cosine = None if ff == 0 else max(-1.0, min(1.0, fe / math.sqrt(ff) / math.sqrt(ee)))
    return Fidelity(cosine, fe / ee, math.sqrt(dd / ee))


def layer_fidelity(case: Case, seed: int) -> Dict[str, Dict[str, Optional[float]]]:
    """Return the fidelity of g_x and g_w in two ensembles; g_b is exact.

    ``one_over_f``: a model of training. x and g = dL/dy are independent fields of amplitude
    1 / f, and the taps of each window share a part of their value, as in trained networks (see
    ``natural_weight``). ``white_noise``: x, w and g all independent normal values, the worst case.
    Exact and filtered see the very same tensors, in the case's dtype and on its device. Of a 3x3
    layer at patch size 2, g_w has a cosine of 0.94 to 0.99 in the first and 0.2 in the second,
    g_x of 0.77 to 0.87 (maps of 14 to 56) and 0.2; with independent taps, g_x on 1/f has 0.66 to
    0.80, and with nearly equal taps over 0.9: for g_x the weight matters as much as the input.
    """
    return {
        "one_over_f": _ensemble_fidelity(case, seed, one_over_f, natural_weight),
        "white_noise": _ensemble_fidelity(case, seed, normal, normal),
    }


def natural_weight(
    shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float32, device: Any = "cpu"
) -> torch.Tensor:
    """Return normal weights (C_o, C_i / groups, k_h, k_w) with taps correlated as after training.

    Every two taps of a window have correlation 0.11: then a 3x3 window has on average 1.46 times
    the energy at frequency 0 as at its strongest other frequency, which is what Table 5 of Yang
    et al., CVPR 2023, gives for Torchvision's ResNets (other families: 1.24 to 2.28).
    """
    shared = normal((shape[0], shape[1], 1, 1), seed, dtype, device)
    own = normal(shape, seed + 1, dtype, device)
    return math.sqrt(_TAP_CORRELATION) * shared + math.sqrt(1 - _TAP_CORRELATION) * own


def _products(estimate: torch.Tensor, exact: torch.Tensor) -> Tuple[float, float, float, float]:
    """Return <f, f>, <f, e>, <e, e> and |f - e|^2 of an estimate f and the exact e."""
    sums = torch.zeros(4, dtype=torch.float64, device=exact.device)
    f_flat, e_flat = estimate.reshape(-1), exact.reshape(-1)
    for first in range(0, e_flat.numel(), _CHUNK):
        f, e = (flat[first : first + _CHUNK].double() for flat in (f_flat, e_flat))
        difference = f - e
        sums += torch.stack([f.dot(f), f.dot(e), e.dot(e), difference.dot(difference)])
    ff, fe, ee, dd = sums.tolist()
    return ff, fe, ee, dd


def _ensemble_fidelity(
    case: Case, seed: int, draw_map: _Draw, draw_weight: _Draw
) -> Dict[str, Optional[float]]:
    """Return the fidelity of g_x and g_w on maps and weights that two functions draw."""
    layer, dtype = case.layer, getattr(torch, case.dtype)
    geometry = layer_geometry(layer, case.patch_size, case.batch)
    x = draw_map(geometry.x_shape, 4 * seed, dtype, case.device)
    weight = draw_weight(geometry.weight_shape, 4 * seed + 1, dtype, case.device)
    output_shape = (case.batch, layer.out_channels, *geometry.output_size)
    grad_output = draw_map(output_shape, 4 * seed + 3, dtype, case.device)
    x, weight, grad_output = map(find(case.kernel).laid_out, (x, weight, grad_output))
    exact_x, exact_w = _gradients(case, BASELINE, x, weight, grad_output)
    filtered_x, filtered_w = _gradients(case, case.method, x, weight, grad_output)
    _require_alike(case, (filtered_x, filtered_w), x, weight, grad_output)
    figures: Dict[str, Optional[float]] = {}
    for name, filtered, exact in (("gx", filtered_x, exact_x), ("gw", filtered_w, exact_w)):
        for figure, value in compare(filtered, exact)._asdict().items():
            figures["%s_%s" % (figure, name)] = value
    return figures


def _require_alike(
    case: Case,
    gradients: Sequence[torch.Tensor],
    x: torch.Tensor,
    weight: torch.Tensor,
    grad_output: torch.Tensor,
) -> None:
    """Refuse a kernel whose fidelity would differ from kernel torch's by more than rounding.

    Raises:
        KernelRefused: its gradients (g_x, g_w) of these tensors differ from kernel torch's.
    """
    if case.kernel == "torch":
        return
    tolerance = TOLERANCES.get(x.dtype, COARSE_TOLERANCE)
    torch_case = case._replace(kernel="torch")
    references = _gradients(torch_case, case.method, x, weight, grad_output)
    for name, gradient, reference in zip(NAMES, gradients, references):
        deviation = largest_error(name, gradient, reference.cpu().double())
        if not deviation.relative <= tolerance:  # NaN does not pass
            raise KernelRefused(
                "kernel %s differs in fidelity from kernel torch, which computes the same: %s "
                "(allowed: %.0e)" % (case.kernel, deviation.text, tolerance)
            )


def _gradients(
    case: Case, method: str, x: torch.Tensor, weight: torch.Tensor, grad_output: torch.Tensor
) -> Tuple[torch.Tensor, ...]:
    """Return (g_x, g_w) of the case's layer by a method; neither depends on the bias."""
    layer = case.layer
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = conv2d(
        x,
        weight,
        None,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        method=method,
        patch_size=case.patch_size,
        kernel=case.kernel,
    )
    return tuple(torch.autograd.grad(y, (x, weight), grad_output))
