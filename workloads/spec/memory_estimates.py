"""How much memory a block of a case needs, estimated before anything is allocated; no torch."""

import math
from typing import List

from workloads.spec.costs import NetworkPart, network_parts, saved_bytes, unfolded_bytes
from workloads.spec.geometry import Geometry, layer_geometry
from workloads.spec.messages import DTYPE_BYTES, Case
from workloads.spec.methods import BASELINE, METHODS
from workloads.spec.networks import check_network

MIB = 2**20
# An interpreter that has imported torch and run a step (240 to 360 MiB resident); a CUDA context
# with its libraries, which on boards with shared memory is taken from the same RAM.
_PROCESS_BYTES = 400 * MIB
_CUDA_CONTEXT_BYTES = 600 * MIB
_COMPILER_BYTES = 400 * MIB  # torch.compile: its modules, and the C++ compiler that it starts
# glibc keeps freed blocks of up to this size in its heap (DEFAULT_MMAP_THRESHOLD_MAX, 64 bit).
_HEAP_BLOCK_BYTES = 32 * MIB
# Of a network: maps beside those that are kept (gradients, layout conversions), in multiples of the
# largest; weights of the network and of the reference that verifies it; of what is trained the
# gradients of two phases, those of the reference, and what changes the weights between calls.
_WORKING_MAPS = 5
_COPIES_OF_WEIGHTS = 2
_COPIES_OF_TRAINED = 6
_REFERENCE_IMAGES = 4  # at once
_MICRO_BATCHES = 4


def memory_estimate_bytes(case: Case, unfolds: bool = False) -> int:
    """Return the bytes that a block of this case needs resident, slightly on the safe side.

    ``unfolds`` says that torch has no oneDNN for the CPU: then every method's forward needs the
    columns of its convolution beside all else.
    """
    process = _PROCESS_BYTES
    if case.device == "cuda":
        process += _CUDA_CONTEXT_BYTES
    has_columns = unfolds and case.device == "cpu"
    if case.is_network:
        return process + _network_bytes(case, has_columns)
    return process + _layer_bytes(case, has_columns)


def _layer_bytes(case: Case, has_columns: bool) -> int:
    """Return what a layer needs: x, y, g and g_x, w, g_w and what is saved; workspace.

    That is four more copies of the largest map (layout conversions, the y of the step beside that
    of the backward, the exact g_x beside the filtered one) and two of the weight; and three maps
    that are freed and yet held by the heap, where they are small enough to be. Blocks of the
    paper's layers took 63 to 97 % of the estimate with torch 1.10 and 2.13 on x86; the same block
    differs by 15 % between runs.
    """
    geometry = _geometry(case)
    x, y, weight = geometry.x_elements, geometry.y_elements, geometry.weight_elements
    item = DTYPE_BYTES[case.dtype]
    tensors = (2 * x + 2 * y + 4 * max(x, y) + 4 * weight + 2 * case.layer.out_channels) * item
    saved = METHODS[case.method].costs(geometry).written * item
    held = 3 * min(max(x, y) * item, _HEAP_BLOCK_BYTES)
    columns = unfolded_bytes(case) if has_columns else 0
    return tensors + saved + held + columns


def _network_bytes(case: Case, has_columns: bool) -> int:
    """Return what a network needs: its weights, the maps kept for the backward, workspace.

    After the timed calls, stock torch repeats one on a few images to verify it, while the graph of
    the backward is still there.
    """
    network = case.network
    parts = network_parts(case)
    item = DTYPE_BYTES[case.dtype]
    classifier = network.num_classes * parts[-1].case.layer.out_channels
    weights = trained = classifier
    largest_map = 0
    columns = [0]
    for part in parts:
        geometry = _geometry(part.case)
        weights += geometry.weight_elements
        if part.is_trained:
            trained += geometry.weight_elements
        largest_map = max(largest_map, geometry.x_elements, geometry.y_elements)
        if has_columns:
            columns.append(unfolded_bytes(part.case))
    copies = _COPIES_OF_WEIGHTS * weights + _COPIES_OF_TRAINED * trained
    needed = (copies + _WORKING_MAPS * largest_map) * item + max(columns) + kept_bytes(case)
    images = min(case.batch, _REFERENCE_IMAGES) if network.frozen_batch_norm else case.batch
    needed += kept_bytes(case._replace(kernel="torch", method=BASELINE, batch=images))
    if case.kernel == "compiled":
        needed += _COMPILER_BYTES
    return needed


def kept_bytes(case: Case) -> int:
    """Return about the bytes that a step of a network keeps for its backward.

    They are kept from the first trained convolution on: what a convolution saves, what a BatchNorm
    that is not folded reads, the copy of what a ReLU6 overwrites, and what a ReLU leaves where no
    convolution saves it; at the end the last output, and at the beginning what max pooling reads.
    Folded, each trained weight is kept as it is folded. Fused, each output is kept once.
    """
    if case.method == "micro_batches":
        images = math.ceil(case.batch / _MICRO_BATCHES)
        return kept_bytes(case._replace(method=BASELINE, batch=images))
    parts = network_parts(case)
    reached = [part for part in parts if part.is_reached]
    if case.method == "checkpoint":
        return _checkpointed_bytes(reached)
    kept = _output_bytes(parts[-1]) + _pooling_bytes(parts)
    for part in reached:
        kept += saved_bytes(part.case) + _maps_beside(case, part) * _output_bytes(part)
        if case.kernel == "folded" and part.is_trained:
            kept += _geometry(part.case).weight_elements * DTYPE_BYTES[case.dtype]
    return kept


def _maps_beside(case: Case, part: NetworkPart) -> int:
    """Return how many maps are kept of a convolution's output, beside what the next one saves."""
    if case.kernel == "fused":
        return 0
    maps = 0
    if case.kernel != "folded":
        maps += 1
    has_copy = check_network(case.network.architecture).activation == "ReLU6"
    is_filtered = not METHODS[part.case.method].exact
    if has_copy or is_filtered:
        maps += 1
    return maps


def _output_bytes(part: NetworkPart) -> int:
    return _geometry(part.case).y_elements * DTYPE_BYTES[part.case.dtype]


def _pooling_bytes(parts: List[NetworkPart]) -> int:
    """Return the bytes that max pooling keeps after the first convolution, if there is one.

    That is its input, and the place of each largest element in 8 bytes.
    """
    first, second = parts[:2]
    pooled = _geometry(second.case).x_elements
    if not first.is_reached or _geometry(first.case).y_elements == pooled:
        return 0
    return _output_bytes(first) + 8 * pooled


def _checkpointed_bytes(parts: List[NetworkPart]) -> int:
    """Return the bytes kept between segments and, of the largest segment, within it.

    There are about as many segments as a segment has convolutions.
    """
    length = math.ceil(math.sqrt(len(parts)))
    between = largest = 0
    for first in range(0, len(parts), length):
        segment = [saved_bytes(part.case) for part in parts[first : first + length]]
        between += segment[0]
        largest = max(largest, sum(segment))
    return between + largest


def _geometry(case: Case) -> Geometry:
    patch_size = case.patch_size if METHODS[case.method].has_patch_size else 1
    return layer_geometry(case.layer, patch_size, case.batch)
