# ruff: noqa: UP006, UP031, UP035, B905  (Python 3.6 has no list[int] and no zip(strict=))
"""Check the payload's numerics against the slow oracle: plain Python >= 3.6 and torch, no pytest.

    PYTHONPATH=<repository> python tests/support/payload_check.py [--without-onednn]

Prints one JSON line, {"checked": n, "worst": error, "native": "checked" or the reason why not,
"torch": version, "failures": [...]}, and exits with 1 if anything fails. torch 1.10 will do.
"""

import json
import sys
from typing import Any, Callable, Dict, Iterator, List, Tuple

import oracle
import torch
from configurations import (
    kept_window_configurations,
    published_configurations,
    random_configurations,
)

from workloads.convolution import conv2d, filter_module
from workloads.kernels import KERNELS
from workloads.kernels.native import operators as native
from workloads.measure import fidelity
from workloads.spec import costs
from workloads.spec.layers import LAYERS
from workloads.spec.messages import Case

TOLERANCE = 1e-10
WITHOUT_ONEDNN = "--without-onednn"


def main() -> int:
    """Run every check, print the summary and return the exit code."""
    torch.set_num_threads(1)
    if WITHOUT_ONEDNN in sys.argv:  # as on boards whose torch was built without it
        torch._C._set_mkldnn_enabled(False)
    failures: List[str] = []
    errors: List[float] = []
    for method, config in _cases():
        error = gradient_error(method, config)
        errors.append(error)
        if not error < TOLERANCE:
            failures.append("%s %s: %.2e" % (method, config, error))
    native = KERNELS["native"].available(torch.device("cpu"), torch.float32)
    if native is None:
        for error, tolerance, words in native_errors(30, seed=36):
            errors.append(error if tolerance == TOLERANCE else 0.0)
            if not error < tolerance:
                failures.append("%s: %.2e" % (words, error))
    failures += module_failures() + saved_bytes_failures() + fidelity_failures()
    summary: Dict[str, Any] = {
        "checked": len(errors),
        "worst": max(errors),
        "native": native or "checked",
        "torch": torch.__version__,
        "failures": failures,
    }
    print(json.dumps(summary))
    return 1 if failures else 0


def gradient_error(
    method: str,
    config: oracle.Config,
    seed: int = 0,
    kernel: str = "torch",
    dtype: torch.dtype = torch.float64,
    layout: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
) -> float:
    """Return the largest error of y, g_x, g_w and g_b against the oracle, relative to it.

    ``layout`` lays x and the gradient of y out anew, values unchanged.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    x, w = (
        layout(draw(*config.x_shape)).requires_grad_(),
        draw(*config.weight_shape).requires_grad_(),
    )
    b = draw(config.weight_shape[0]).requires_grad_()
    arguments = oracle.conv_arguments(config)
    y = conv2d(x, w, b, method=method, patch_size=config.patch_size, kernel=kernel, **arguments)
    exact = torch.nn.functional.conv2d(x, w, b, **arguments)
    g = layout(draw(*y.shape))
    got = torch.autograd.grad(y, (x, w, b), g)
    if method == "exact":
        wanted = torch.autograd.grad(exact, (x, w, b), g)
    elif method == "gradient_filter":
        wanted = oracle.filtered_gradients(
            x.detach().double(), w.detach().double(), g.double(), config
        )
    else:
        wanted = oracle.published_gradients(x.detach(), w.detach(), g, config)
    pairs = [*zip(got, wanted), (y.detach(), exact.detach())]
    return max(_error(a.double(), b.double()) for a, b in pairs)


def native_errors(number: int, seed: int) -> Iterator[Tuple[float, float, str]]:
    """Yield (error, tolerance, words) of kernel native on random convolutions, in all layouts."""
    layouts = (torch.clone, channels_last, turned)
    for configs in (random_configurations(number, seed), kept_window_configurations(number, seed)):
        for i, config in enumerate(configs):
            for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
                layout = layouts[i % len(layouts)]
                native.MIN_CELLS_PER_THREAD, native.THREAD_CHUNK_BYTES = ((64, 2**22), (1, 2000))[
                    i // 3 % 2
                ]
                native.prepared_call.cache_clear()
                error = gradient_error("gradient_filter", config, i, "native", dtype, layout)
                yield error, tolerance, "native %s %s %s" % (layout.__name__, dtype, config)


def channels_last(maps: torch.Tensor) -> torch.Tensor:
    """Return the same maps with their channels side by side."""
    return maps.contiguous(memory_format=torch.channels_last)


def turned(maps: torch.Tensor) -> torch.Tensor:
    """Return the same maps with their rows side by side, which no kernel walks in place."""
    return maps.transpose(2, 3).contiguous().transpose(2, 3)


def module_failures() -> List[str]:
    """Return what is wrong with a filtered model, if anything."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3, padding=1)
    )
    keys = list(model.state_dict())
    x = torch.randn(2, 3, 8, 8)
    before = model(x)
    filter_module(model, 2, layers=1)
    if list(model.state_dict()) != keys or not torch.allclose(model(x), before):
        return ["filter_module changed the model's keys or its output"]
    model(x).sum().backward()
    grad = dict(model.named_parameters())["2.weight"].grad
    if grad is None or not torch.equal(grad, grad[:, :, :1, :1].expand_as(grad)):
        return ["filter_module: the last layer's gradient is not filtered"]
    return []


def saved_bytes_failures() -> List[str]:
    """Return the cases whose saved bytes, as torch counts them, differ from the formula."""
    failures = []
    for method in ("exact", "gradient_filter", "gradient_filter_published"):
        for name in ("quick-256ch-14x14", "mobile-mcunet-depthwise-7x7"):
            case = Case(LAYERS[name], method, 2, "torch", "cpu", "float32", 1)
            counted, formula = count_saved_bytes(case), costs.saved_bytes(case)
            if method == "exact" and keeps_columns():
                formula += costs.unfolded_bytes(case)
            if counted != formula:
                failures.append("%s: %d saved, formula %d" % (case.key, counted, formula))
    return failures


def keeps_columns() -> bool:
    """Return whether torch's exact convolution unfolds x and keeps the columns."""
    major, minor = torch.__version__.split(".")[:2]
    built_in: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    has_onednn = built_in and WITHOUT_ONEDNN not in sys.argv
    return not has_onednn and (int(major), int(minor)) < (1, 11)


def fidelity_failures() -> List[str]:
    """Return what is wrong with the fidelity of a layer; it must need no FFT and no LAPACK."""
    case = Case(LAYERS["quick-256ch-14x14"], "gradient_filter", 2, "torch", "cpu", "float32", 1)
    found = fidelity.layer_fidelity(case, 1)
    natural, white = found["one_over_f"]["cosine_gw"], found["white_noise"]["cosine_gw"]
    if natural is None or white is None or not (natural > 0.9 and white < 0.35):
        return ["fidelity %s" % json.dumps(found)]
    return []


def count_saved_bytes(case: Case) -> int:
    """Return the bytes of saved tensors that share no storage with a parameter."""
    layer = case.layer
    dtype = getattr(torch, case.dtype)
    x = torch.randn(case.batch, layer.in_channels, layer.height, layer.width, dtype=dtype)
    weight_shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    weight = torch.randn(weight_shape, dtype=dtype).requires_grad_()
    bias = torch.randn(layer.out_channels, dtype=dtype).requires_grad_() if layer.bias else None
    own = {_address(tensor) for tensor in (weight, bias) if tensor is not None}
    seen: Dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if _address(tensor) not in own:
            seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    # Under hooks torch cannot see that a saved output is alive: keep y until the count is done.
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = conv2d(
            x.requires_grad_(),
            weight,
            bias,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
            method=case.method,
            patch_size=case.patch_size,
        )
    del y
    return sum(seen.values())


def _address(tensor: torch.Tensor) -> int:
    """Return where the storage lies; torch 1.10 has no untyped_storage."""
    read = getattr(tensor, "untyped_storage", tensor.storage)
    return int(read().data_ptr())


def _cases() -> Iterator[Tuple[str, oracle.Config]]:
    for config in random_configurations(24, seed=36):
        yield "exact", config
        yield "gradient_filter", config
    for config in kept_window_configurations(12, seed=36):
        yield "gradient_filter", config
    for config in published_configurations(24, seed=36):
        yield "gradient_filter_published", config


def _error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    return float((got - wanted).abs().max() / max(1.0, float(wanted.abs().max())))


if __name__ == "__main__":
    sys.exit(main())
