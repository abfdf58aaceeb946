"""The filtered convolution against the slow oracle, torch's autograd, and the identities."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from configurations import (
    kept_window_configurations,
    published_configurations,
    random_configurations,
)
from oracle import Config, conv_arguments, filtered_gradients
from payload_check import gradient_error

from workloads.convolution import conv2d
from workloads.kernels import KERNELS, source_sha256
from workloads.kernels.torch_ops.patches import (
    expand_patches,
    pool_patches,
    spread_patches,
    sum_patches,
)
from workloads.spec.geometry import conv_geometry
from workloads.spec.kernels import KERNELS as KERNEL_INFO
from workloads.spec.kernels import kernel_source_sha256
from workloads.spec.layers import LAYERS
from workloads.spec.methods import refusal

RANDOM = list(random_configurations(260, seed=7))
KEPT = list(kept_window_configurations(60, seed=8))
PUBLISHED = list(published_configurations(120, seed=9))

torch.set_num_threads(1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def gradients(
    x: torch.Tensor, w: torch.Tensor, g: torch.Tensor, **arguments: Any
) -> tuple[torch.Tensor, ...]:
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    return torch.autograd.grad(conv2d(x, w, **arguments), (x, w), g)


def scale_of(estimate: torch.Tensor, exact: torch.Tensor) -> float:
    return float((estimate * exact).sum() / (exact * exact).sum())


# against the slow loop -----------------------------------------------------------------------


@pytest.mark.parametrize("config", RANDOM, ids=str)
def test_gradients_equal_the_slow_loop(config: Config) -> None:
    assert gradient_error("gradient_filter", config) < 1e-10


@pytest.mark.parametrize("config", KEPT, ids=str)
def test_gradients_of_a_kept_window_equal_the_slow_loop(config: Config) -> None:
    assert gradient_error("gradient_filter", config) < 1e-10


@pytest.mark.parametrize("config", PUBLISHED, ids=str)
def test_published_gradients_equal_the_slow_loop(config: Config) -> None:
    assert gradient_error("gradient_filter_published", config) < 1e-10


def test_the_random_configurations_cover_what_they_claim() -> None:
    assert len(RANDOM) >= 200
    for config in KEPT:
        assert geometry_of(config).keeps_window
    seen = {
        "stride": {value for c in RANDOM for value in c.stride},
        "dilation": {value for c in RANDOM for value in c.dilation},
        "kernel": {value for c in RANDOM for value in c.weight_shape[2:]},
        "patch_size": {value for c in RANDOM for value in c.patch_size},
    }
    assert seen == {
        "stride": {1, 2, 3},
        "dilation": {1, 2, 3, 4},
        "kernel": set(range(1, 8)),
        "patch_size": set(range(1, 9)),
    }
    assert any(c.groups > 1 and c.weight_shape[1] == 1 for c in RANDOM)  # depthwise
    assert any(c.groups > 1 and c.weight_shape[1] > 1 for c in RANDOM)
    assert any(min(geometry_of(c).offset) < 0 for c in RANDOM)  # more than "same"
    assert any(max(geometry_of(c).offset) > 0 for c in RANDOM)
    assert any(geometry_of(c).published_keeps_window for c in PUBLISHED)


def geometry_of(config: Config) -> Any:
    return conv_geometry(
        config.x_shape,
        config.weight_shape,
        config.stride,
        config.padding,
        config.dilation,
        config.groups,
        config.patch_size,
    )


@pytest.mark.filterwarnings("ignore:Using padding")  # torch pads a copy, which is no matter here
@pytest.mark.parametrize("kernel_size", [(4, 4), (2, 5), (3, 6)])
@pytest.mark.parametrize("dilation", [1, 3])
def test_same_padding_with_an_even_kernel_equals_the_slow_loop(
    kernel_size: tuple[int, int], dilation: int
) -> None:
    x, w = normal(2, 4, 11, 9), normal(6, 2, *kernel_size, seed=1)
    left = tuple(dilation * (k - 1) // 2 for k in kernel_size)
    config = Config(
        tuple(x.shape), tuple(w.shape), (1, 1), (left[0], left[1]), (dilation, dilation), 2, (3, 2)
    )
    arguments: dict[str, Any] = {"padding": "same", "dilation": dilation, "groups": 2}
    g = normal(2, 6, 11, 9, seed=2)
    got = gradients(x, w, g, method="gradient_filter", patch_size=(3, 2), **arguments)
    for a, b in zip(got, filtered_gradients(x, w, g, config), strict=False):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


# identities that truly hold ------------------------------------------------------------------


@pytest.mark.parametrize("config", RANDOM[:40] + PUBLISHED[:20], ids=str)
def test_exact_is_torchs_own_autograd(config: Config) -> None:
    assert gradient_error("exact", config) == 0


def test_a_1x1_window_at_patch_size_1_and_stride_1_is_exact() -> None:
    x, w, g = normal(2, 4, 7, 5), normal(6, 2, 1, 1, seed=1), normal(2, 6, 7, 5, seed=2)
    exact = gradients(x, w, g, groups=2)
    got = gradients(x, w, g, groups=2, method="gradient_filter", patch_size=1)
    for a, b in zip(got, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_kept_dilated_window_at_patch_size_1_is_exact(groups: int) -> None:
    x, w, g = normal(2, 4, 9, 8), normal(4, 4 // groups, 3, 5, seed=1), normal(2, 4, 9, 8, seed=2)
    arguments: dict[str, Any] = {"padding": (2, 6), "dilation": (2, 3), "groups": groups}
    exact = gradients(x, w, g, **arguments)
    got = gradients(x, w, g, method="gradient_filter", patch_size=1, **arguments)
    for a, b in zip(got, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_patch_size_1_is_not_exact_for_a_3x3_window() -> None:
    x, w, g = normal(1, 2, 8, 8), normal(2, 2, 3, 3, seed=1), normal(1, 2, 8, 8, seed=2)
    exact = gradients(x, w, g, padding=1)
    got = gradients(x, w, g, padding=1, method="gradient_filter", patch_size=1)
    assert not torch.allclose(got[0], exact[0], rtol=0.1)


@pytest.mark.parametrize("method", ["gradient_filter", "gradient_filter_published"])
@pytest.mark.parametrize("needs_x", [True, False])
def test_the_bias_gradient_is_exact(method: str, needs_x: bool) -> None:
    x, w, b = normal(3, 4, 9, 7), normal(5, 4, 3, 3, seed=1), normal(5, seed=2)
    b.requires_grad_()
    x.requires_grad_(needs_x)
    g = normal(3, 5, 9, 7, seed=3)
    y = conv2d(x, w, b, padding=1, method=method, patch_size=4)
    (got,) = torch.autograd.grad(y, b, g)
    torch.testing.assert_close(got, g.sum((0, 2, 3)), rtol=0, atol=1e-12)


def test_exact_passes_gradcheck() -> None:
    x, w, b = normal(2, 4, 6, 5), normal(4, 2, 3, 2, seed=1), normal(4, seed=2)
    inputs = tuple(tensor.requires_grad_() for tensor in (x, w, b))

    def function(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return conv2d(x, w, b, (2, 1), (1, 0), (1, 2), 2, method="exact")

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("patch_size", [1, 2, 3, (4, 6)])
def test_published_equals_ours_where_patches_divide_the_map(
    kernel_size: int, groups: int, patch_size: Any
) -> None:
    x, g = normal(2, 6, 12, 12), normal(2, 6, 12, 12, seed=2)
    w = normal(6, 6 // groups, kernel_size, kernel_size, seed=1)
    arguments: dict[str, Any] = {
        "padding": kernel_size // 2,
        "groups": groups,
        "patch_size": patch_size,
    }
    ours = gradients(x, w, g, method="gradient_filter", **arguments)
    published = gradients(x, w, g, method="gradient_filter_published", **arguments)
    for a, b in zip(ours, published, strict=True):
        assert float((a - b).abs().max() / a.abs().max()) < 1e-12


def test_published_is_4_times_ours_in_gw_at_stride_2_with_dividing_patches() -> None:
    x, w, g = normal(2, 4, 16, 16), normal(4, 4, 3, 3, seed=1), normal(2, 4, 8, 8, seed=2)
    arguments: dict[str, Any] = {"stride": 2, "padding": 1, "patch_size": 2}
    ours = gradients(x, w, g, method="gradient_filter", **arguments)
    published = gradients(x, w, g, method="gradient_filter_published", **arguments)
    torch.testing.assert_close(published[1], 4 * ours[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [56, 75])  # maps of at least 28: x and, at stride 2, g
@pytest.mark.parametrize("patch_size", [1, 2])
def test_the_scale_of_gw_on_band_limited_inputs_at_stride_2(
    seed: int, size: int, patch_size: int
) -> None:
    x = band_limited(2, 6, size, seed=seed)
    g = band_limited(2, 8, (size + 1) // 2, seed=seed + 100)
    w = normal(8, 6, 3, 3, seed=seed + 200).abs()
    arguments: dict[str, Any] = {"stride": 2, "padding": 1, "patch_size": patch_size}
    exact = gradients(x, w, g, stride=2, padding=1)
    ours = gradients(x, w, g, method="gradient_filter", **arguments)
    published = gradients(x, w, g, method="gradient_filter_published", **arguments)
    assert scale_of(ours[1], exact[1]) == pytest.approx(1, rel=0.1)
    assert scale_of(published[1], exact[1]) == pytest.approx(4, rel=0.1)


def band_limited(n: int, c: int, size: int, *, seed: int) -> torch.Tensor:
    """Return maps of at most two periods per axis, with a constant part."""
    t = torch.arange(size, dtype=torch.float64) * (2 * torch.pi / size)
    waves = [torch.ones_like(t)]
    for periods in (1, 2):
        waves += [torch.cos(periods * t), torch.sin(periods * t)]
    basis = torch.stack(waves)
    return basis.t() @ normal(n, c, 5, 5, seed=seed) @ basis


# what is saved, what is computed -------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradient_filter", "gradient_filter_published"])
def test_only_the_gradients_that_are_needed_are_saved_for_and_computed(method: str) -> None:
    for need_x, need_w in [(True, False), (False, True), (True, True)]:
        x = normal(2, 4, 8, 8).requires_grad_(need_x)
        w = normal(6, 4, 3, 3, seed=1).requires_grad_(need_w)
        saved: list[tuple[int, ...]] = []

        def pack(tensor: torch.Tensor, saved: Any = saved) -> torch.Tensor:
            saved.append(tuple(tensor.shape))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = conv2d(x, w, padding=1, method=method, patch_size=2)
        wanted = [(2, 4, 4, 4)] * need_w + [(6, 4, 1, 1)] * need_x
        assert saved == wanted
        torch.autograd.backward(y.sum())
        assert (x.grad is not None, w.grad is not None) == (need_x, need_w)


def test_a_needless_bias_gradient_is_none_and_a_lone_bias_saves_nothing() -> None:
    x, w, b = normal(1, 2, 6, 6), normal(2, 2, 3, 3), normal(2)
    grads = (
        KERNELS["torch"]
        .operators["gradient_filter"]
        .gradients(
            normal(1, 2, 4, 4), None, None, conv_geometry(x.shape, w.shape), (False, False, False)
        )
    )
    assert grads == (None, None, None)
    with torch.autograd.graph.saved_tensors_hooks(refuse_to_save, refuse_to_save):
        torch.autograd.backward(conv2d(x, w, b.requires_grad_(), method="gradient_filter").sum())
    assert b.grad is not None


def refuse_to_save(tensor: torch.Tensor) -> torch.Tensor:
    raise AssertionError(f"saved {tuple(tensor.shape)}")


@pytest.mark.parametrize("method", ["gradient_filter", "gradient_filter_published"])
def test_nothing_is_saved_where_no_gradient_will_be(method: str) -> None:
    x, w = normal(1, 2, 6, 6), normal(2, 2, 3, 3)
    with torch.autograd.graph.saved_tensors_hooks(refuse_to_save, refuse_to_save):
        assert conv2d(x, w, padding=1, method=method).grad_fn is None
        with torch.no_grad():
            y = conv2d(x.requires_grad_(), w.requires_grad_(), padding=1, method=method)
    assert y.grad_fn is None


def test_nothing_is_summed_where_no_gradient_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*arguments: Any) -> Any:
        raise AssertionError("summed for nothing")

    operators = KERNELS["torch"].operators
    refusing = operators["gradient_filter"]._replace(save=save)
    monkeypatch.setitem(operators, "gradient_filter", refusing)
    x, w = normal(1, 2, 6, 6), normal(2, 2, 3, 3)
    conv2d(x, w, method="gradient_filter")
    w.requires_grad_()
    with torch.no_grad():
        conv2d(x, w, method="gradient_filter")
    with pytest.raises(AssertionError, match="summed"):
        conv2d(x, w, method="gradient_filter")


@pytest.mark.parametrize("patch_size", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_the_input_itself_does_not_live_until_the_backward(
    patch_size: int, kernel_size: int
) -> None:
    x, w = normal(1, 2, 8, 8), normal(2, 2, kernel_size, kernel_size).requires_grad_()
    alive = weakref.ref(x)
    y = conv2d(x, w, method="gradient_filter", patch_size=patch_size)
    del x
    gc.collect()
    assert alive() is None
    torch.autograd.backward(y.sum())


@pytest.mark.parametrize("method", ["gradient_filter", "gradient_filter_published"])
def test_double_backward_raises(method: str) -> None:
    x, w = normal(1, 2, 6, 6).requires_grad_(), normal(2, 2, 3, 3).requires_grad_()
    y = conv2d(x, w, padding=1, method=method)
    g = torch.ones_like(y).requires_grad_()
    (grad_x,) = torch.autograd.grad(y, x, g, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(grad_x.sum())


def test_the_backward_can_be_repeated_on_a_retained_graph() -> None:
    x, w = normal(1, 2, 6, 6).requires_grad_(), normal(2, 2, 3, 3).requires_grad_()
    y = conv2d(x, w, padding=1, method="gradient_filter")
    g = normal(*y.shape, seed=5)
    first = torch.autograd.grad(y, (x, w), g, retain_graph=True)
    second = torch.autograd.grad(y, (x, w), g)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


class Cut(torch.autograd.Function):
    """Passes the value on and no gradient back."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor) -> torch.Tensor:
        return y.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> None:
        return None


def test_no_gradient_of_the_output_means_no_gradients() -> None:
    x, w = normal(1, 2, 6, 6).requires_grad_(), normal(2, 2, 3, 3).requires_grad_()
    y = Cut.apply(conv2d(x, w, padding=1, method="gradient_filter"))  # type: ignore[no-untyped-call]
    torch.autograd.backward(y.sum())
    assert (x.grad, w.grad) == (None, None)


# layouts, dtypes -----------------------------------------------------------------------------


@pytest.mark.parametrize("patch_size", [1, 2, 3])
def test_strides_of_the_tensors_do_not_change_the_gradients(patch_size: int) -> None:
    x, w, g = normal(2, 4, 9, 7), normal(6, 4, 3, 3, seed=1), normal(2, 6, 9, 7, seed=2)
    wanted = gradients(x, w, g, padding=1, method="gradient_filter", patch_size=patch_size)
    layouts = [
        (x.contiguous(memory_format=torch.channels_last), w, g),
        tuple(tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, w, g)),
        tuple(tensor.transpose(2, 3).contiguous().transpose(2, 3) for tensor in (x, w, g)),
        (x, w, g[:1, :1].expand_as(g)),
    ]
    for x_, w_, g_ in layouts[:3]:
        got = gradients(x_, w_, g_, padding=1, method="gradient_filter", patch_size=patch_size)
        for a, b in zip(got, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    x_, w_, g_ = layouts[3]
    got = gradients(x_, w_, g_, padding=1, method="gradient_filter", patch_size=patch_size)
    dense = gradients(
        x_, w_, g_.contiguous(), padding=1, method="gradient_filter", patch_size=patch_size
    )
    for a, b in zip(got, dense, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_gradients_are_whole_tensors_in_the_layout_of_the_output_gradient() -> None:
    x, w, g = normal(2, 4, 9, 7), normal(6, 4, 3, 3, seed=1), normal(2, 6, 9, 7, seed=2)
    grad_x, grad_w = gradients(x, w, g, padding=1, method="gradient_filter")
    assert grad_x.is_contiguous()
    assert grad_w.is_contiguous()
    last = g.contiguous(memory_format=torch.channels_last)
    grad_x, _ = gradients(x, w, last, padding=1, method="gradient_filter")
    assert grad_x.is_contiguous(memory_format=torch.channels_last)


def test_float32_is_computed_in_float32() -> None:
    x, w, g = normal(2, 4, 9, 7), normal(6, 4, 3, 3, seed=1), normal(2, 6, 9, 7, seed=2)
    wanted = gradients(x, w, g, padding=1, method="gradient_filter")
    got = gradients(x.float(), w.float(), g.float(), padding=1, method="gradient_filter")
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", RANDOM[:60], ids=str)
def test_pooling_and_expanding_as_on_accelerators_do_what_lanes_do(config: Config) -> None:
    geometry = geometry_of(config)
    x = normal(*config.x_shape)
    sums = sum_patches(x, geometry.input_patches)
    torch.testing.assert_close(pool_patches(x, geometry.input_patches), sums, rtol=0, atol=1e-12)
    size = (x.shape[2], x.shape[3])
    spread = spread_patches(sums, geometry.input_patches, size)
    assert torch.equal(expand_patches(sums, geometry.input_patches, size), spread)


# bad arguments, kernels ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("method", {"method": "filtered"}),
        ("kernel", {"kernel": "fast"}),
        ("patch_size", {"patch_size": 0}),
        ("patch_size", {"patch_size": None}),
        ("stride", {"stride": -1}),
        ("padding", {"padding": "circular"}),
        ("groups", {"groups": 3}),
        ("x", {"x": torch.zeros(2, 8, 8)}),
        ("x", {"x": torch.zeros(1, 2, 8, 8, dtype=torch.int64)}),
        ("weight", {"weight": torch.zeros(2, 3, 3, 3)}),
        ("weight", {"weight": torch.zeros(2, 2, 3, 3, dtype=torch.float64)}),
        ("bias", {"bias": torch.zeros(3)}),
        ("bias", {"bias": torch.zeros(2, dtype=torch.float64)}),
    ],
)
def test_a_bad_argument_is_named(name: str, arguments: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "x": torch.zeros(1, 2, 8, 8),
        "weight": torch.zeros(2, 2, 3, 3),
        "method": "gradient_filter",
    }
    conv2d(**good)
    with pytest.raises(ValueError, match=f"^{name}\\b"):
        conv2d(**{**good, **arguments})


def test_exact_has_no_patch_size() -> None:
    x, w = normal(1, 2, 6, 6), normal(2, 2, 3, 3)
    assert torch.equal(conv2d(x, w, patch_size=None), F.conv2d(x, w))


def test_a_dtype_that_the_kernel_cannot_is_refused_and_exact_takes_it() -> None:
    x, w = torch.ones(1, 2, 6, 6, dtype=torch.bfloat16), torch.ones(2, 2, 3, 3).bfloat16()
    assert conv2d(x, w).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="float32 and float64"):
        conv2d(x, w, method="gradient_filter")


@pytest.mark.parametrize("layer", LAYERS.values(), ids=lambda layer: layer.name)
def test_a_refusal_has_the_words_that_the_call_raises(layer: Any) -> None:
    reason = refusal("gradient_filter_published", layer, 2)
    small = layer._replace(height=8, width=8)
    x = torch.zeros(1, small.in_channels, 8, 8)
    w = torch.zeros(small.out_channels, small.in_channels // small.groups, *small.kernel_size)
    arguments = conv_arguments(small)
    if reason is None:
        conv2d(x, w, method="gradient_filter_published", **arguments)
    else:
        with pytest.raises(ValueError, match="published operator") as caught:
            conv2d(x, w, method="gradient_filter_published", **arguments)
        assert str(caught.value) == reason
    assert refusal("gradient_filter", layer, 2) is None
    assert refusal("exact", layer, None) is None


def test_a_refusal_names_a_bad_patch_size_and_an_unknown_method() -> None:
    layer = LAYERS["quick-64ch-56x56"]
    assert str(refusal("gradient_filter", layer, 0)).startswith("patch_size")
    with pytest.raises(ValueError, match=r"^method"):
        refusal("nothing", layer, 2)


MEMORY_FORMATS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}


def test_the_catalogue_tells_the_truth_about_the_kernels() -> None:
    for name, kernel in KERNELS.items():
        info = KERNEL_INFO[name]
        assert (info.name, info.version, info.sources) == (name, kernel.version, kernel.sources)
        assert set(kernel.operators) <= set(info.methods)
        assert kernel.memory_format == MEMORY_FORMATS[info.layout]
        assert source_sha256(name) == kernel_source_sha256(name)
        for dtype in info.dtypes if "cpu" in info.devices else ():
            assert kernel.available(torch.device("cpu"), getattr(torch, dtype)) is None
