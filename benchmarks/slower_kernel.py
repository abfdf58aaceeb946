r"""Kernel native with a tenth more work, for gates that have to find it (see gate_for_real.py).

    gfbench run --suite benchmarks/gate_suite.yaml --kernel native \
        --kernel slower=benchmarks/slower_kernel.py

The gradient of the input is computed a second time for a tenth of the images and thrown away:
work of the same kind on the same data. On the layer of gate_suite.yaml, with one thread, it takes
10 to 11 % more time.
"""

from typing import Any

from workloads.kernels.native import operators as native
from workloads.kernels.seam import Operator

VERSION = "1"
SHARE = 10  # one image in so many is done twice

available = native.available


def gradients(
    grad_output: Any, x_sum: Any, window: Any, geometry: Any, needs_input_grad: Any
) -> Any:
    """Return native's gradients, after doing g_x of some images for nothing."""
    images = grad_output.shape[0] // SHARE
    if images and needs_input_grad[0]:
        fewer = geometry._replace(x_shape=(images, *geometry.x_shape[1:]))
        native.gradients(grad_output[:images], None, window, fewer, (True, False, False))
    return native.gradients(grad_output, x_sum, window, geometry, needs_input_grad)


OPERATORS = {"gradient_filter": Operator(native.save, gradients)}
