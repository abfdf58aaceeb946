"""What a case costs by formula: bytes saved, floating-point operations, traffic; no torch."""

import math
import statistics
from typing import List, NamedTuple, Optional, Sequence, Tuple

from workloads.spec.architectures import convolutions, trained_convolutions
from workloads.spec.geometry import Geometry, layer_geometry
from workloads.spec.messages import DTYPE_BYTES, Case
from workloads.spec.methods import BASELINE, METHODS, Costs


class Flops(NamedTuple):
    """Floating-point operations of one call, additions and multiplications counted alike."""

    forward: int
    backward: int


class NetworkPart(NamedTuple):
    """One convolution in a case of a network.

    Attributes:
        case: its own; the baseline's where it is not trained.
        is_trained: whether it gets a weight gradient.
        is_reached: whether it runs after the first that is trained, or is that one.
    """

    case: Case
    is_trained: bool
    is_reached: bool


class Bandwidth(NamedTuple):
    """Bytes per second while a working set of so many bytes is read or written again and again.

    ``copy`` counts both the bytes read and the bytes written.
    """

    working_set_bytes: int
    read: float
    write: float
    copy: float


class Rates(NamedTuple):
    """What a machine reaches with so many threads (see ``roofline.measure``).

    ``bandwidths`` begin with the smallest working set; ``flops_per_s`` is that of large products.
    """

    threads: int
    bandwidths: Tuple[Bandwidth, ...]
    flops_per_s: float


class Traffic(NamedTuple):
    """The least that a phase must do: each tensor read or written once, and its products."""

    read_bytes: int
    written_bytes: int
    flops: int


def saved_bytes(case: Case) -> int:
    """Return the bytes kept from forward to backward in tensors that are not parameters.

    Exact: x. Filtered: x~ and w~, or x~ alone where the dilated window is kept, as w is a
    parameter and is there anyway. All three gradients are asked for.
    """
    return _costs(case, _geometry(case)).saved * DTYPE_BYTES[case.dtype]


def unfolded_bytes(case: Case) -> int:
    """Return the bytes of the columns into which a torch without oneDNN unfolds x on the CPU.

    Its convolution copies the window of every output pixel into a column; dilated ones do that
    image by image, and windows of one pixel need none. torch < 1.11 keeps the columns of exact
    beside x until the backward.
    """
    layer = case.layer
    k_h, k_w = layer.kernel_size
    if layer.dilation != (1, 1) or (k_h * k_w == 1 and layer.stride == (1, 1)):
        return 0
    rows, columns = _geometry(case).output_size
    elements = case.batch * layer.in_channels * k_h * k_w * rows * columns
    return elements * DTYPE_BYTES[case.dtype]


def flops(case: Case) -> Flops:
    """Return the operations of forward and backward (g_x, g_w and g_b), 2 per multiply-add.

    Taps that read padding are counted, as dense algorithms compute them; copies are not. The
    sums behind x~ and w~ belong to the forward, where they are done. Of a network its convolutions
    are counted, which are nearly all of it.
    """
    if case.is_network:
        return _network_flops(case)
    geometry = _geometry(case)
    costs = _costs(case, geometry)
    bias = geometry.y_elements if case.layer.bias else 0
    return Flops(
        forward=_convolution_flops(geometry) + bias + costs.forward_sums,
        backward=costs.products + costs.backward_sums + bias,
    )


def _network_flops(case: Case) -> Flops:
    """Sum over the convolutions: of a backward, half is taken to be g_x and half g_w."""
    forward = backward = 0
    is_first = True
    for part in network_parts(case):
        own = flops(part.case)
        forward += own.forward
        if part.is_reached and case.method == "checkpoint":
            backward += own.forward
        if part.is_trained:
            backward += own.backward // 2
        if part.is_reached and not is_first:  # before the first trained one, nothing needs g_x
            backward += own.backward // 2
        is_first = is_first and not part.is_reached
    return Flops(forward, backward)


def network_parts(case: Case) -> List[NetworkPart]:
    """Return the convolutions of a case of a network, first to last as they run."""
    trained = {layer.name for layer in trained_convolutions(case.network)}
    patch_sizes = dict(case.network.patch_sizes)
    parts: List[NetworkPart] = []
    is_reached = False
    for layer in convolutions(case.network):
        own = case._replace(workload=layer, method=BASELINE, patch_size=None)
        is_trained = layer.name in trained
        if is_trained and not METHODS[case.method].exact:
            patch_size = patch_sizes.get(layer.name, case.patch_size)
            own = own._replace(method=case.method, patch_size=patch_size)
        is_reached = is_reached or is_trained
        parts.append(NetworkPart(own, is_trained, is_reached))
    return parts


def traffic(case: Case, phase: str) -> Traffic:
    """Return the least bytes and the multiply-adds of "forward", "backward" or "step".

    Filtered: the forward also writes x~ and w~, the backward reads g and these and writes g_x and
    the whole g_w. The additions of pooling are not counted: they hide behind its reading.
    """
    if phase == "step":
        forward, backward = traffic(case, "forward"), traffic(case, "backward")
        return Traffic(
            read_bytes=forward.read_bytes + backward.read_bytes,
            written_bytes=forward.written_bytes + backward.written_bytes,
            flops=forward.flops + backward.flops,
        )
    geometry = _geometry(case)
    costs = _costs(case, geometry)
    x_and_weight = geometry.x_elements + geometry.weight_elements
    if phase == "forward":
        read, written = x_and_weight, geometry.y_elements + costs.written
        operations = _convolution_flops(geometry)
    else:
        read, written = geometry.y_elements + costs.saved, x_and_weight
        if costs.reads_weight:
            read += geometry.weight_elements
        operations = costs.products
    size = DTYPE_BYTES[case.dtype]
    return Traffic(read * size, written * size, operations)


def floor_s(case: Case, phase: str, rates: Rates) -> float:
    """Return the seconds below which the phase cannot go: bytes / bandwidth + operations / rate."""
    least = traffic(case, phase)
    touched = least.read_bytes + least.written_bytes
    read, write = _bandwidths_at(touched, rates)
    memory_s = least.read_bytes / read + least.written_bytes / write
    return memory_s + least.flops / rates.flops_per_s


def median_rates(measured: Sequence[Rates]) -> Optional[Rates]:
    """Return the medians of all that used the first one's threads and working sets, or None."""
    if not measured:
        return None
    threads, working_sets = measured[0].threads, _working_sets(measured[0])
    alike = [
        rates
        for rates in measured
        if rates.threads == threads and _working_sets(rates) == working_sets
    ]
    bandwidths = []
    for index, working_set_bytes in enumerate(working_sets):
        at_this_size = [rates.bandwidths[index] for rates in alike]
        bandwidths.append(
            Bandwidth(
                working_set_bytes=working_set_bytes,
                read=statistics.median(bandwidth.read for bandwidth in at_this_size),
                write=statistics.median(bandwidth.write for bandwidth in at_this_size),
                copy=statistics.median(bandwidth.copy for bandwidth in at_this_size),
            )
        )
    flops_per_s = statistics.median(rates.flops_per_s for rates in alike)
    return Rates(threads, tuple(bandwidths), flops_per_s)


def _working_sets(rates: Rates) -> List[int]:
    return [bandwidth.working_set_bytes for bandwidth in rates.bandwidths]


def _bandwidths_at(touched: int, rates: Rates) -> Tuple[float, float]:
    """Return bytes per second of reads and writes, interpolated over the logarithm of the set."""
    below = above = rates.bandwidths[0]
    for measured in rates.bandwidths:
        above = measured
        if measured.working_set_bytes >= touched:
            break
        below = measured
    span = math.log(above.working_set_bytes / below.working_set_bytes)
    fraction = 0.0  # of the way from the smaller working set to the larger
    if span > 0:
        fraction = math.log(max(touched, 1) / below.working_set_bytes) / span
        fraction = min(max(fraction, 0.0), 1.0)
    return (
        below.read + fraction * (above.read - below.read),
        below.write + fraction * (above.write - below.write),
    )


def paper_backward_flops(case: Case) -> int:
    """Return the backward's operations (g_x and g_w) by the convention of the paper's tables.

    Per image: exact g_w = C_o C_i (k^2 H W + H W - 1), its additions counted once and not k^2
    times, and g_x = 2 C_o C_i k^2 H W; filtered g_w = C_o C_i (2 P - 1), filter = C_o H W,
    g_x = C_i (2 C_o - 1) P and window sums C_o C_i (k^2 - 1), with H x W the output map, P its
    patches and C_i / groups in place of C_i. Reproduces the FLOPs of Tables 2 and 11 of Yang et
    al., CVPR 2023; it undercounts the exact g_w almost twofold, so see ``flops``.
    """
    return case.batch * _costs(case, _geometry(case)).paper_backward


def _geometry(case: Case) -> Geometry:
    patch_size = case.patch_size if METHODS[case.method].has_patch_size else 1
    return layer_geometry(case.layer, patch_size, case.batch)


def _costs(case: Case, geometry: Geometry) -> Costs:
    return METHODS[case.method].costs(geometry)


def _convolution_flops(geometry: Geometry) -> int:
    _, per_group, k_h, k_w = geometry.weight_shape
    return 2 * geometry.y_elements * per_group * k_h * k_w
