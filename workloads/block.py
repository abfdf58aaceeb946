"""One block: a fresh process warms up and measures one case, of one kind.

timing     windows of forward, backward and step, raw times kept
memory     bytes saved for the backward and the peaks of a step
fidelity   the method's gradients against the exact ones, in the same process
check      a user's kernel against float64, before it is timed
roofline   the machine's own bandwidths and rate, once a round: the floor's input
sentinel   a short window of step of a small case that is the same in every run

torch is imported inside the functions: a forked block finds it imported, a probe never pays.
"""

import contextlib
import gc
import os
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from workloads import memory, timing
from workloads.catalog import METHODS, SENTINEL_WINDOW_S
from workloads.messages import PHASES, Block, Case, to_json

OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory")


class Work(NamedTuple):
    """The three things that are timed, the device's barrier, and the layer's parameters."""

    forward: Callable[[], Any]
    backward: Callable[[], Any]
    step: Callable[[], Any]
    synchronize: Callable[[], None]
    parameters: List[Any]


def load() -> None:
    """Import what a block needs, and let the garbage collector leave it alone from now on.

    Otherwise every collection walks all of torch's objects, and in a forked child copies them.
    """
    import torch

    from workloads import convolution, fidelity, inputs  # noqa: F401

    with contextlib.suppress(ImportError):  # torch >= 2: what its first backward would import
        import torch.fx.experimental.symbolic_shapes  # noqa: F401
    gc.collect()
    freeze = getattr(gc, "freeze", None)  # Python >= 3.7
    if freeze is not None:
        freeze()


def run_block(
    block: Block, min_window_s: float, threads: int, pauses: bool = False
) -> Dict[str, Any]:
    """Measure one block and return its part of the journal record; never raises.

    ``pauses`` asks for random pauses between timed samples, for the sake of power sensors.
    """
    measures: Dict[str, Callable[[], Dict[str, Any]]] = {
        "timing": lambda: _timing(block, min_window_s, pauses),
        "memory": lambda: _memory(block),
        "fidelity": lambda: _fidelity(block),
        "check": lambda: _check(block),
        "roofline": _roofline,
        "sentinel": lambda: _timing(
            block, min(min_window_s, SENTINEL_WINDOW_S), False, phases=("step",)
        ),
    }
    try:
        load()
        cpus = _use_threads(threads)
        record = measures[block.kind]()
        record.update(status="ok", reason=None, threads=threads, cpus=cpus, pid=os.getpid())
        return record
    except Exception as error:
        status = "out_of_memory" if _is_out_of_memory(error) else "failed"
        return {
            "status": status,
            "reason": "%s: %s" % (type(error).__name__, error),
            "traceback": traceback.format_exc()[-8000:],
            "pid": os.getpid(),
        }


def prepare(case: Case, seed: int) -> Work:
    """Build the case's tensors, random normal and seeded, and its three callables.

    x is (N, C_in, H, W), the gradient of the output (N, C_out, H_y, W_y), both of the case's
    dtype on its device; they and the weight lie as the kernel is measured. The backward returns
    the gradients of input, weight and bias.
    """
    import torch

    from workloads import inputs
    from workloads.convolution import conv2d
    from workloads.kernels import find

    layer = case.layer
    device = torch.device(case.device)
    dtype = getattr(torch, case.dtype)

    kernel = find(case.kernel)

    def normal(shape: Tuple[int, ...], index: int) -> Any:
        values = inputs.normal(shape, seed + index, dtype=dtype, device=device)
        return kernel.laid_out(values) if len(shape) == 4 else values

    x = normal((case.batch, layer.in_channels, layer.height, layer.width), 0).requires_grad_()
    weight_shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    fan_in = weight_shape[1] * weight_shape[2] * weight_shape[3]
    weight = normal(weight_shape, 1).mul_(fan_in**-0.5).requires_grad_()
    bias = normal((layer.out_channels,), 2).requires_grad_() if layer.bias else None
    wanted = [x, weight] if bias is None else [x, weight, bias]

    if not METHODS[case.method].usable:
        return _prepare_pooled(case, normal, x.detach(), weight.detach())

    def forward() -> Any:
        return conv2d(
            x,
            weight,
            bias,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
            method=case.method,
            patch_size=case.patch_size or 1,
            kernel=case.kernel,
        )

    graph: List[Any] = []
    with torch.no_grad():
        grad_output = normal(tuple(forward().shape), 3)

    def backward() -> Any:
        if not graph:
            graph.append(forward())
        return torch.autograd.grad(graph[0], wanted, grad_output, retain_graph=True)

    def step() -> Any:
        return torch.autograd.grad(forward(), wanted, grad_output)

    return Work(forward, backward, step, _barrier(device), wanted[1:])


def _prepare_pooled(case: Case, normal: Any, x: Any, weight: Any) -> Work:
    """Return the work of a method whose results autograd would not take: called directly.

    The forward is the convolution and what is saved, as of the other methods.
    """
    import torch
    import torch.nn.functional as F

    from workloads.geometry import layer_geometry
    from workloads.kernels import find

    layer, operator = case.layer, find(case.kernel).operators[case.method]
    geometry = layer_geometry(layer, case.patch_size, case.batch)
    bias = normal((layer.out_channels,), 2) if layer.bias else None
    grad_output = normal((case.batch, layer.out_channels, *geometry.output_size), 3)
    needs = (True, True, layer.bias)
    options = (layer.stride, layer.padding, layer.dilation, layer.groups)
    kept: List[Any] = []

    def forward() -> Any:
        with torch.no_grad():
            saved = operator.save(x, weight, geometry, True, True)
            return F.conv2d(x, weight, bias, *options), saved

    def gradients(saved: Any) -> Any:
        with torch.no_grad():
            return operator.gradients(grad_output, saved[0], saved[1], geometry, needs)

    def backward() -> Any:
        if not kept:
            kept.append(forward()[1])
        return gradients(kept[0])

    def step() -> Any:
        return gradients(forward()[1])

    parameters = [weight] if bias is None else [weight, bias]
    return Work(forward, backward, step, _barrier(x.device), parameters)


def _timing(
    block: Block, min_window_s: float, pauses: bool, phases: Sequence[str] = PHASES
) -> Dict[str, Any]:
    allocator = memory.keep_freed_memory()
    work = prepare(block.case, block.seed)
    found = {
        phase: to_json(
            timing.measure(getattr(work, phase), work.synchronize, min_window_s, pauses=pauses)
        )
        for phase in phases
    }
    return {"timing": found, "allocator": allocator}


def _memory(block: Block) -> Dict[str, Any]:
    """One step is enough: memory does not depend on how often it is repeated."""
    import torch

    cuda = block.case.device.startswith("cuda")
    with contextlib.suppress(NotImplementedError):  # a user's kernel may not do so small a map
        prepare(_tiny(block.case), block.seed).step()  # libraries and thread pools are no data
    gc.collect()
    baseline = memory.rss_bytes()
    with memory.AvailableDip() as dip:
        work = prepare(block.case, block.seed)
        work.step()
        work.synchronize()
        gc.collect()
        was_reset = memory.reset_high_water_mark()
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        work.step()
        work.synchronize()
        peak = memory.rss_bytes("VmHWM")
    saved = memory.saved_bytes(work.forward, work.parameters)
    figures = memory.Memory(
        saved_bytes=saved,
        peak_rss_bytes=None if peak is None or baseline is None else max(0, peak - baseline),
        peak_rss_method="VmHWM after clear_refs" if was_reset else "VmHWM since the start",
        cuda_peak_bytes=int(torch.cuda.max_memory_allocated()) if cuda else None,
        system_dip_bytes=dip.bytes,
    )
    return {"memory": to_json(figures), "allocator": {"defaults": True}}


def _tiny(case: Case) -> Case:
    """Return the case on a map that is as small as its window allows, for one channel a group."""
    layer = case.layer
    groups = layer.groups if layer.groups == 1 else 2
    side = 1 + max(d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size))
    small = layer._replace(
        in_channels=groups, out_channels=groups, height=side, width=side, groups=groups
    )
    return case._replace(layer=small, batch=1)


def _fidelity(block: Block) -> Dict[str, Any]:
    from workloads.fidelity import layer_fidelity

    return {"fidelity": layer_fidelity(block.case, block.seed)}


def _check(block: Block) -> Dict[str, Any]:
    from workloads.kernels.check import check

    return {"check": check(block.case, block.seed)}


def _roofline() -> Dict[str, Any]:
    """Measure what fits in half of the memory there is, source and target beside each other."""
    from workloads import roofline

    available = memory.available_bytes()
    fitting = tuple(
        size for size in roofline.WORKING_SETS if available is None or 4 * size <= available
    )
    memory.keep_freed_memory()
    return {"roofline": to_json(roofline.measure(fitting or roofline.WORKING_SETS[:1]))}


def _barrier(device: Any) -> Callable[[], None]:
    import torch

    if device.type == "cuda":
        return torch.cuda.synchronize
    return lambda: None


def _use_threads(threads: int) -> Optional[List[int]]:
    """Set torch's threads and pin the process to as many processors; returns these."""
    import torch

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        # A float32 case is measured in float32, in every method alike.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    from workloads.processors import processors

    try:
        os.sched_setaffinity(0, processors()[:threads])
        return sorted(os.sched_getaffinity(0))
    except OSError:
        return None


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY_WORDS)
