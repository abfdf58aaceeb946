"""The methods: ways to compute the gradients of a convolution."""

from typing import Any, Dict, NamedTuple, Optional

from workloads.spec.geometry import Geometry, layer_geometry, published_refusal
from workloads.spec.messages import Layer


class Method(NamedTuple):
    """One way to compute the gradients of a convolution.

    ``usable`` is False of what is only timed: its results are no gradients to train with.
    """

    name: str
    version: str
    description: str
    has_patch_size: bool
    usable: bool = True


METHODS: Dict[str, Method] = {
    method.name: method
    for method in (
        Method("exact", "1", "torch's own convolution and its autograd", False),
        Method(
            "gradient_filter",
            "1",
            "gradients from patch sums, placed under the stride and divided by s^2",
            True,
        ),
        Method(
            "gradient_filter_published",
            "1",
            "the operator as published: centred patches, no 1 / s^2; for reproduction",
            True,
        ),
        Method(
            "gradient_filter_pooled",
            "1",
            "what published programs timed: g_x on the patch grid, g_w once per window; "
            "not a usable gradient",
            True,
            usable=False,
        ),
    )
}


def check_method(method: str) -> Method:
    """Return the method of this name.

    Raises:
        ValueError: there is no such method.
    """
    if method not in METHODS:
        raise ValueError("method must be one of %s, not %r" % (", ".join(METHODS), method))
    return METHODS[method]


def method_refusal(method: str, geometry: Geometry) -> Optional[str]:
    """Return why a method cannot do a convolution of this geometry; None if it can.

    Raises:
        ValueError: there is no such method.
    """
    check_method(method)
    return published_refusal(geometry) if method == "gradient_filter_published" else None


def refusal(method: str, layer: Layer, patch_size: Any) -> Optional[str]:
    """Return why a method cannot do this layer, in the words that calling it raises; or None.

    Raises:
        ValueError: there is no such method.
    """
    check_method(method)
    try:
        geometry = layer_geometry(layer, patch_size if METHODS[method].has_patch_size else 1)
    except ValueError as error:
        return str(error)
    return method_refusal(method, geometry)
