"""What a case costs by formula: bytes saved, floating-point operations, memory needed; no torch."""

import math
import statistics
from typing import List, NamedTuple, Optional, Sequence, Tuple

from workloads.spec.geometry import Geometry, layer_geometry
from workloads.spec.messages import DTYPE_BYTES, Case
from workloads.spec.methods import METHODS

MIB = 2**20
# An interpreter that has imported torch and run a step (240 to 360 MiB resident); a CUDA context
# with its libraries, which on boards with shared memory is taken from the same RAM.
_PROCESS_BYTES = 400 * MIB
_CUDA_CONTEXT_BYTES = 600 * MIB
# glibc keeps freed blocks of up to this size in its heap (DEFAULT_MMAP_THRESHOLD_MAX, 64 bit).
_HEAP_BLOCK_BYTES = 32 * MIB


class Flops(NamedTuple):
    """Floating-point operations of one call, additions and multiplications counted alike."""

    forward: int
    backward: int


class Bandwidth(NamedTuple):
    """Bytes per second while a working set of so many bytes is gone through again and again.

    ``copy`` counts the bytes read and those written.
    """

    working_set_bytes: int
    read: float
    write: float
    copy: float


class Rates(NamedTuple):
    """What a machine gives with so many threads (see ``roofline.measure``), smallest set first."""

    threads: int
    bandwidths: Tuple[Bandwidth, ...]
    flops_per_s: float


class Traffic(NamedTuple):
    """The least that a phase must do: each tensor read or written once, and its products."""

    read_bytes: int
    written_bytes: int
    flops: int


def saved_bytes(case: Case) -> int:
    """Return the bytes kept from forward to backward in tensors that are no parameter's storage.

    Exact: x. Filtered: x~ and w~, or x~ alone where the dilated window is kept, as w is a
    parameter and is there anyway. All three gradients are asked for.
    """
    geometry = _geometry(case)
    n, c_in, height, width = geometry.x_shape
    if case.method == "exact":
        return n * c_in * height * width * DTYPE_BYTES[case.dtype]
    window = 0 if _keeps_window(case, geometry) else _window_sums(geometry)
    return (n * c_in * _patches(geometry) + window) * DTYPE_BYTES[case.dtype]


def flops(case: Case) -> Flops:
    """Return the operations of forward and backward (g_x, g_w and g_b), 2 per multiply-add.

    Taps that read padding are counted, as dense algorithms compute them; copies are not. The
    sums behind x~ and w~ belong to the forward, where they are done.
    """
    geometry = _geometry(case)
    n, c_in, height, width = geometry.x_shape
    c_out, per_group, k_h, k_w = geometry.weight_shape
    outputs = n * c_out * geometry.output_size[0] * geometry.output_size[1]
    product = 2 * outputs * per_group * k_h * k_w
    bias = outputs if case.layer.bias else 0
    if case.method == "exact":
        return Flops(product + bias, 2 * product + bias)
    patches = n * c_out * _patches(geometry)
    keeps = _keeps_window(case, geometry)
    taps = k_h * k_w
    grid_product = 2 * patches * per_group
    tapwise = keeps and case.method == "gradient_filter"  # published: one g_w for all taps
    summing = n * c_in * height * width + (0 if keeps else c_out * per_group * taps)
    means = outputs + patches
    products = grid_product * (taps if keeps else 1) + grid_product * (taps if tapwise else 1)
    return Flops(product + bias + summing, means + products + bias)


def traffic(case: Case, phase: str) -> Traffic:
    """Return the least bytes and the multiply-adds of "forward", "backward" or "step".

    Filtered: the forward also writes x~ and w~, the backward reads g and these and writes g_x and
    the whole g_w. The additions of pooling are not counted: they hide behind its reading.
    """
    if phase == "step":
        both = [traffic(case, each) for each in ("forward", "backward")]
        return Traffic(*(sum(numbers) for numbers in zip(*both)))
    geometry = _geometry(case)
    n, c_in, height, width = geometry.x_shape
    c_out, per_group, k_h, k_w = geometry.weight_shape
    x = n * c_in * height * width
    y = n * c_out * geometry.output_size[0] * geometry.output_size[1]
    taps = k_h * k_w
    weight = c_out * per_group * taps
    size = DTYPE_BYTES[case.dtype]
    saved = 0 if case.method == "exact" else saved_bytes(case)
    if phase == "forward":
        return Traffic((x + weight) * size, y * size + saved, 2 * y * per_group * taps)
    written = (x + weight) * size
    if case.method == "exact":
        return Traffic((y + x + weight) * size, written, 4 * y * per_group * taps)
    keeps = _keeps_window(case, geometry)
    tapwise = keeps and case.method == "gradient_filter"
    products = (taps if keeps else 1) + (taps if tapwise else 1)
    patches = n * c_out * _patches(geometry)
    read = y * size + saved + (weight * size if keeps else 0)
    return Traffic(read, written, 2 * patches * per_group * products)


def floor_s(case: Case, phase: str, rates: Rates) -> float:
    """Return the seconds below which the phase cannot go: bytes / bandwidth + operations / rate."""
    least = traffic(case, phase)
    touched = least.read_bytes + least.written_bytes
    read, write = _bandwidths_at(touched, rates)
    memory_s = least.read_bytes / read + least.written_bytes / write
    return memory_s + least.flops / rates.flops_per_s


def median_rates(measured: Sequence[Rates]) -> Optional[Rates]:
    """Return the medians of what was measured alike the first time; None of nothing."""
    if not measured:
        return None
    threads, sets = measured[0].threads, _working_sets(measured[0])
    alike = [one for one in measured if (one.threads, _working_sets(one)) == (threads, sets)]
    columns = zip(*(one.bandwidths for one in alike))
    bandwidths = tuple(Bandwidth(*map(statistics.median, zip(*each))) for each in columns)
    return Rates(threads, bandwidths, statistics.median(one.flops_per_s for one in alike))


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
    place = math.log(max(touched, 1) / below.working_set_bytes) / span if span > 0 else 0.0
    place = min(max(place, 0.0), 1.0)
    return (
        below.read + place * (above.read - below.read),
        below.write + place * (above.write - below.write),
    )


def paper_backward_flops(case: Case) -> int:
    """Return the backward's operations (g_x and g_w) by the convention of the paper's tables.

    Per image: exact g_w = C_o C_i (k^2 H W + H W - 1), its additions counted once and not k^2
    times, and g_x = 2 C_o C_i k^2 H W; filtered g_w = C_o C_i (2 P - 1), filter = C_o H W,
    g_x = C_i (2 C_o - 1) P and window sums C_o C_i (k^2 - 1), with H x W the output map, P its
    patches and C_i / groups in place of C_i. Reproduces the FLOPs of Tables 2 and 11 of Yang et
    al., CVPR 2023; it undercounts the exact g_w almost twofold, so see ``flops``.
    """
    geometry = _geometry(case)
    c_out, c_in, k_h, k_w = geometry.weight_shape  # c_in is C_i / groups
    pixels = geometry.output_size[0] * geometry.output_size[1]
    taps, patches = k_h * k_w, _patches(geometry)
    if case.method == "exact":
        per_image = c_out * c_in * (taps * pixels + pixels - 1) + 2 * c_out * c_in * taps * pixels
    else:
        per_image = (
            c_out * c_in * (2 * patches - 1)
            + c_out * pixels
            + c_in * (2 * c_out - 1) * patches
            + c_out * c_in * (taps - 1)
        )
    return case.batch * per_image


def memory_estimate_bytes(case: Case) -> int:
    """Return the bytes that a block of this case needs resident, slightly on the safe side.

    The process itself; x, y, g and g_x, w, g_w and what is saved; as workspace four more copies
    of the largest map (layout conversions, the y of the step beside that of the backward, the
    exact g_x beside the filtered one) and two of the weight; and three maps that are freed and yet
    held by the heap, where they are small enough to be. Blocks of the paper's layers took 63 to
    97 % of it with torch 1.10 and 2.13 on x86; the same block differs by 15 % between runs.
    """
    geometry = _geometry(case)
    n, c_in, height, width = geometry.x_shape
    c_out, per_group, k_h, k_w = geometry.weight_shape
    x = n * c_in * height * width
    y = n * c_out * geometry.output_size[0] * geometry.output_size[1]
    weight = c_out * per_group * k_h * k_w
    saved = 0 if case.method == "exact" else saved_bytes(case)  # exact saves x itself
    item = DTYPE_BYTES[case.dtype]
    tensors = (2 * x + 2 * y + 4 * max(x, y) + 4 * weight + 2 * c_out) * item
    held = 3 * min(max(x, y) * item, _HEAP_BLOCK_BYTES)
    process = _PROCESS_BYTES + (_CUDA_CONTEXT_BYTES if case.device == "cuda" else 0)
    return process + tensors + saved + held


def _geometry(case: Case) -> Geometry:
    has_patches = METHODS[case.method].has_patch_size
    return layer_geometry(case.layer, case.patch_size if has_patches else 1, case.batch)


def _keeps_window(case: Case, geometry: Geometry) -> bool:
    if case.method == "gradient_filter_published":
        return geometry.published_keeps_window
    return geometry.keeps_window


def _patches(geometry: Geometry) -> int:
    return geometry.grid[0] * geometry.grid[1]


def _window_sums(geometry: Geometry) -> int:
    return geometry.weight_shape[0] * geometry.weight_shape[1]
