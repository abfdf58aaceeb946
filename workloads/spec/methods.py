"""The methods, which compute the gradients of a convolution each in its own way; no torch.

An entry of METHODS holds all that plans, reports and lists need to know about a method. What
computes it is the operator of the same name of kernel ``torch``, in ``kernels/torch_ops``; other
kernels compute the same gradients faster. The baseline needs no operator: torch's autograd does it.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from workloads.spec.geometry import Geometry, layer_geometry, published_refusal
from workloads.spec.messages import Layer

BASELINE = "exact"  # what every other method is compared with
DEFAULT = "gradient_filter"  # what is measured beside the baseline where no method is named
PAPER_MODE = "gradient_filter_pooled"  # what --paper-mode adds


class Costs(NamedTuple):
    """What a method does with one convolution, by formula.

    Tensors are counted in elements, operations as 2 per multiply-add. What all methods have in
    common is left out: x and the weight are read and y is written by the forward, dL/dy is read
    and g_x and g_w are written by the backward; the products of the forward, the bias and g_b.

    Attributes:
        saved: elements kept from the forward to the backward in tensors that are no parameters.
        written: those of them that the forward has to write; x itself is there anyway.
        reads_weight: whether the backward reads the weight.
        forward_sums: additions in the forward, of what the backward needs.
        products: operations of the backward's products.
        backward_sums: operations of the backward beside its products.
        paper_backward: operations of g_x and g_w for one image, as the paper's tables count them.
    """

    saved: int
    written: int
    reads_weight: bool
    forward_sums: int
    products: int
    backward_sums: int
    paper_backward: int


class Method(NamedTuple):
    """One way to compute the gradients of a convolution.

    Attributes:
        name: as suites, results and the command line have it.
        version: raised when its results change.
        label: its name for people.
        description: one line for ``gfbench list methods``.
        costs: what it does with a convolution of a geometry.
        sources: files under ``workloads`` whose torch operations compute it.
        has_patch_size: whether it is measured at each of a suite's patch sizes.
        refusal: returns why it cannot do a convolution of this geometry; None if it can.
        usable: whether its results are gradients to train with; if not, it is only timed.
        exact: whether its gradients are those of the baseline.
        workloads: of "layer" and "network", what it is measured on.
    """

    name: str
    version: str
    label: str
    description: str
    costs: Callable[[Geometry], Costs]
    sources: Tuple[str, ...] = ()
    has_patch_size: bool = False
    refusal: Callable[[Geometry], Optional[str]] = lambda geometry: None
    usable: bool = True
    exact: bool = False
    workloads: Tuple[str, ...] = ("layer", "network")


def exact_costs(geometry: Geometry) -> Costs:
    """Return the costs of torch's own autograd: it keeps x and computes two full products."""
    c_out, per_group, k_h, k_w = geometry.weight_shape
    pixels = geometry.output_size[0] * geometry.output_size[1]
    taps = k_h * k_w
    paper_gw = c_out * per_group * (taps * pixels + pixels - 1)
    paper_gx = 2 * c_out * per_group * taps * pixels
    return Costs(
        saved=geometry.x_elements,
        written=0,
        reads_weight=True,
        forward_sums=0,
        products=2 * 2 * geometry.y_elements * per_group * taps,
        backward_sums=0,
        paper_backward=paper_gw + paper_gx,
    )


def filter_costs(geometry: Geometry) -> Costs:
    """Return the costs of the filtered backward; a kept window gets g_w tap by tap."""
    keeps = geometry.keeps_window
    return _filtered_costs(geometry, keeps_window=keeps, gw_by_tap=keeps)


def published_costs(geometry: Geometry) -> Costs:
    """Return the costs of the published operator: one g_w for all taps, window kept or not."""
    keeps = geometry.published_keeps_window
    return _filtered_costs(geometry, keeps_window=keeps, gw_by_tap=False)


def _filtered_costs(geometry: Geometry, keeps_window: bool, gw_by_tap: bool) -> Costs:
    """Return the costs of two products on the patch grid and of the sums around them.

    Where the window is kept, g_x takes one product for each of its taps; otherwise x~ and the
    window's sums w~ are saved, and one product does.
    """
    n, c_in = geometry.x_shape[:2]
    c_out, per_group, k_h, k_w = geometry.weight_shape
    patches = geometry.grid[0] * geometry.grid[1]
    pixels = geometry.output_size[0] * geometry.output_size[1]
    taps = k_h * k_w
    product = 2 * n * c_out * patches * per_group
    gx_products = taps if keeps_window else 1
    gw_products = taps if gw_by_tap else 1
    saved = n * c_in * patches
    forward_sums = geometry.x_elements
    if not keeps_window:
        saved += c_out * per_group
        forward_sums += geometry.weight_elements
    paper_gw = c_out * per_group * (2 * patches - 1)
    paper_gx = per_group * (2 * c_out - 1) * patches
    paper_sums = c_out * pixels + c_out * per_group * (taps - 1)  # of g over patches, of windows
    return Costs(
        saved=saved,
        written=saved,
        reads_weight=keeps_window,
        forward_sums=forward_sums,
        products=product * (gx_products + gw_products),
        backward_sums=geometry.y_elements + n * c_out * patches,
        paper_backward=paper_gw + paper_gx + paper_sums,
    )


_TORCH_OPS = ("kernels/torch_ops/operators.py", "kernels/torch_ops/patches.py")

METHODS: Dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name=BASELINE,
            version="1",
            label="exact",
            description="torch's own convolution and its autograd",
            costs=exact_costs,
            exact=True,
        ),
        Method(
            name=DEFAULT,
            version="1",
            label="gradient filter",
            description="gradients from patch sums, placed under the stride and divided by s^2",
            costs=filter_costs,
            sources=_TORCH_OPS,
            has_patch_size=True,
        ),
        Method(
            name="gradient_filter_published",
            version="1",
            label="gradient filter published",
            description="the operator as published: centred patches, no 1 / s^2; for reproduction",
            costs=published_costs,
            sources=_TORCH_OPS,
            has_patch_size=True,
            refusal=published_refusal,
        ),
        Method(
            name=PAPER_MODE,
            version="1",
            label="gradient filter pooled",
            description="what published programs timed: g_x on the patch grid, g_w once per "
            "window; not a usable gradient",
            costs=filter_costs,
            sources=_TORCH_OPS,
            has_patch_size=True,
            usable=False,
            workloads=("layer",),
        ),
        Method(
            name="checkpoint",
            version="1",
            label="checkpointing",
            description="exact gradients; activations within segments are computed twice, not kept",
            costs=exact_costs,
            exact=True,
            workloads=("network",),
        ),
        Method(
            name="micro_batches",
            version="1",
            label="micro-batches",
            description="exact gradients, summed over a quarter of the batch at a time",
            costs=exact_costs,
            exact=True,
            workloads=("network",),
        ),
    )
}


def check_method(name: str) -> Method:
    """Return the method of this name.

    Raises:
        ValueError: no method has this name.
    """
    if name not in METHODS:
        raise ValueError("method must be one of %s, not %r" % (", ".join(METHODS), name))
    return METHODS[name]


def refusal(name: str, layer: Layer, patch_size: Any) -> Optional[str]:
    """Return why a method does not support this layer, in the words of its error; None if it does.

    Raises:
        ValueError: no method has this name.
    """
    method = check_method(name)
    try:
        geometry = layer_geometry(layer, patch_size if method.has_patch_size else 1)
    except ValueError as error:
        return str(error)
    return method.refusal(geometry)
