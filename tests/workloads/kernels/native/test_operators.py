"""Kernel native: numbers, memory safety, layouts, threads, and the board's compiler."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import types
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from configurations import kept_window_configurations, random_configurations
from oracle import Config, conv_arguments
from payload_check import channels_last, gradient_error, turned

import workloads
from workloads.convolution import conv2d
from workloads.kernels import KERNELS
from workloads.kernels.native import bindings, compiler, passes
from workloads.kernels.native import grid_products as products
from workloads.kernels.native import operators as native
from workloads.kernels.native.threads import parallel_entries, thread_pool
from workloads.kernels.torch_ops.patches import sum_patches
from workloads.kernels.user import user
from workloads.spec.geometry import conv_geometry

ROOT = Path(workloads.__file__).parents[1]
RANDOM = list(random_configurations(280, seed=17))
KEPT = list(kept_window_configurations(60, seed=18))
LAYOUTS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (torch.clone, channels_last, turned)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def a_compiler() -> Iterator[None]:
    """Skip where there is no C compiler; in CI there has to be one."""
    try:
        compiler.find_compiler()
    except compiler.CompilerError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    threads = torch.get_num_threads()
    native.prepared_call.cache_clear()  # tests change what calls are made of
    yield
    native.prepared_call.cache_clear()
    torch.set_num_threads(threads)


# numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(RANDOM + KEPT)))
def test_gradients_equal_the_slow_loop_in_every_layout(number: int) -> None:
    torch.set_num_threads(1)
    config = (RANDOM + KEPT)[number]
    check(config, torch.float64, LAYOUTS[number % 3], 1e-10)
    check(config, torch.float32, LAYOUTS[(number + 1) % 3], 1e-5)


@pytest.mark.parametrize("config", RANDOM[:80] + KEPT[:30], ids=str)
def test_gradients_equal_the_slow_loop_without_onednn(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_convolution_backward", None)
    check(config, torch.float32, LAYOUTS[sum(config.x_shape) % 2], 1e-5)


@pytest.mark.parametrize("min_cells", [1, 10**9])
@pytest.mark.parametrize("config", RANDOM[::3], ids=str)
def test_threads_that_work_alone_or_together_compute_the_same(
    config: Config, min_cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(3)
    monkeypatch.setattr(native, "MIN_CELLS_PER_THREAD", min_cells)
    monkeypatch.setattr(native, "THREAD_CHUNK_BYTES", 2000)
    for layout in LAYOUTS[:2]:
        check(config, torch.float64, layout, 1e-10)
        check(config, torch.float32, layout, 1e-5)


@pytest.mark.parametrize("without", ["avx512f", "avx"])
def test_processors_with_shorter_vectors_compute_the_same(
    without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("these are vectors of x86-64")
    monkeypatch.setattr(compiler, "native_flags", lambda: ("-march=native", f"-mno-{without}"))
    monkeypatch.setattr(bindings, "_libraries", {})
    for number, config in enumerate(RANDOM[::4]):
        check(config, torch.float64, LAYOUTS[number % 2], 1e-10)
        check(config, torch.float32, LAYOUTS[number % 2], 1e-5)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("width", [1, 8, 15, 16, 17, 28, 33, 56, 63, 64, 65])
def test_narrow_maps_of_every_width(
    width: int, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "last_cache_bytes", lambda: 0 if streaming else 2**40)
    monkeypatch.setattr(native, "THREAD_CHUNK_BYTES", 30000)
    for sides in ((2, 2), (4, 4), (3, 2), (1, 4), (4, 2)):
        shape = (3, 19, 13, width)
        config = Config(shape, (35, 19, 3, 3), (1, 1), (1, 1), (1, 1), 1, sides)
        check(config, torch.float64, torch.clone, 1e-10)
        check(config, torch.float32, torch.clone, 1e-5)


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 2), (3, 3), (3, 5), (7, 7), (13, 8), (40, 14), (7, 16)]
)
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_small_maps_of_every_size(size: tuple[int, int], stride: tuple[int, int]) -> None:
    for sides in ((2, 2), (4, 4), (3, 2), (64, 64)):
        for weight, groups in (((35, 19, 3, 3), 1), ((19, 1, 3, 3), 19), ((38, 1, 1, 1), 19)):
            config = Config((3, 19, *size), weight, stride, (1, 1), (1, 1), groups, sides)
            compare_with_torch(config, torch.clone)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(7, 9), (5, 3), (16, 1000)])
def test_maps_of_few_channels(channels: int, size: tuple[int, int]) -> None:
    for sides in ((2, 2), (4, 4), (3, 2), (2, 900)):
        shape, weight = (2, channels, *size), (6, channels, 3, 3)
        config = Config(shape, weight, (2, 2), (1, 1), (1, 1), 1, sides)
        compare_with_torch(config, channels_last)


def compare_with_torch(config: Config, layout: Any) -> None:
    """Hold the gradients against kernel torch's, which are held against the slow loop."""
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        torch.manual_seed(0)
        x = layout(torch.randn(config.x_shape, dtype=dtype)).requires_grad_()
        w = torch.randn(config.weight_shape, dtype=dtype, requires_grad=True)
        b = torch.randn(config.weight_shape[0], dtype=dtype, requires_grad=True)
        options = {**conv_arguments(config), "patch_size": config.patch_size}
        found = conv2d(x, w, b, method="gradient_filter", kernel="native", **options)
        precise = (x.double(), w.double(), b.double())
        wanted = conv2d(*precise, method="gradient_filter", kernel="torch", **options)
        g = layout(torch.randn(found.shape, dtype=dtype))
        for ours, theirs in zip(
            torch.autograd.grad(found, (x, w, b), g),
            torch.autograd.grad(wanted, (x, w, b), g.double()),
            strict=True,
        ):
            assert (ours.double() - theirs).abs().max() <= tolerance * theirs.abs().max()


def check(config: Config, dtype: torch.dtype, layout: Any, tolerance: float) -> None:
    assert gradient_error("gradient_filter", config, 0, "native", dtype, layout) < tolerance


@pytest.mark.parametrize(
    ("shape", "weight", "patch_size"),
    [
        ((2, 40, 33, 31), (24, 40, 3, 3), 5),  # channels beyond a multiple of 16
        ((1, 16, 5, 700), (16, 16, 3, 3), 4),  # blocks within a row of patches
        ((1, 2, 3, 5000), (2, 2, 3, 3), (2, 2500)),  # patches longer than a scratch row
        ((2, 3, 2100, 3), (4, 3, 1, 1), (2100, 1)),
        ((1, 4, 60, 60), (4, 4, 33, 33), 30),  # windows of 1089 taps
        ((1, 3, 40, 40), (3, 3, 46, 46), 40),  # and of 2116, more than a scratch row
        ((2, 3, 20, 20), (48, 1, 3, 3), 2),  # 16 outputs for each input
        ((2, 3, 20, 20), (51, 1, 3, 3), 2),  # 17
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_gradients_where_blocks_and_rows_end(
    shape: Any, weight: Any, patch_size: Any, layout: Any
) -> None:
    sides = patch_size if isinstance(patch_size, tuple) else (patch_size, patch_size)
    padding = (weight[2] // 2, weight[3] // 2)
    config = Config(shape, weight, (1, 1), padding, (1, 1), shape[1] // weight[1], sides)
    check(config, torch.float64, layout, 1e-10)
    check(config, torch.float32, layout, 1e-5)


@pytest.mark.parametrize("groups", [1, 6])
def test_many_chunks_give_the_gradients_of_one(
    groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config((7, 6, 9, 11), (6, 6 // groups, 3, 3), (1, 1), (2, 2), (2, 2), groups, (2, 2))
    for bytes_ in (1, 2000, 10**9):
        monkeypatch.setattr(native, "IMAGE_CHUNK_BYTES", bytes_)
        for layout in LAYOUTS[:2]:
            check(config, torch.float64, layout, 1e-10)


def test_the_threads_of_torch_do_not_change_a_bit() -> None:
    x, w = torch.randn(3, 20, 30, 30), torch.randn(36, 20, 3, 3)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        assert thread_pool().threads == threads
        geometry = conv_geometry(x.shape, w.shape, padding=1, patch_size=2)
        saved = native.save(x, w, geometry, True, True)
        grid = native._empty_grid(x, (15, 15), 3, 20)
        passes.pool(passes.in_place(x), geometry.input_patches, grid, (0, 3), 0.5)
        found.append((*saved, grid.tensor))
    for a, b, c in zip(*found, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_the_passes_run_in_the_threads_of_torchs_own_openmp() -> None:
    assert parallel_entries() is not None
    before = loaded("gomp")
    assert KERNELS["native"].available(CPU, torch.float32) is None
    assert loaded("gomp") == before  # no second runtime came with the object


def loaded(word: str) -> set[str]:
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[-1] for line in maps if word in line}


@pytest.mark.parametrize("need_x", [True, False])
@pytest.mark.parametrize("need_w", [True, False])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_only_what_is_needed_is_computed(
    need_x: bool, need_w: bool, groups: int, dilation: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 9, 9, generator=generator).requires_grad_(need_x)
    w = torch.randn(4, 4 // groups, 3, 3, generator=generator).requires_grad_(need_w)
    b = torch.zeros(4, requires_grad=True)
    found = {}
    for kernel in ("torch", "native"):
        x.grad = w.grad = b.grad = None
        y = conv2d(
            x,
            w,
            b,
            padding=dilation,
            dilation=dilation,
            groups=groups,
            method="gradient_filter",
            kernel=kernel,
        )
        torch.autograd.backward((y * y.detach()).sum())
        found[kernel] = (x.grad, w.grad, b.grad)
    for got, wanted in zip(found["native"], found["torch"], strict=True):
        if wanted is None:
            assert got is None
        else:
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_a_gradient_without_memory_of_its_own_is_read_as_it_is() -> None:
    x, w = torch.randn(2, 4, 9, 7).requires_grad_(), torch.randn(6, 4, 3, 3).requires_grad_()
    y = conv2d(x, w, padding=1, method="gradient_filter", kernel="native")
    ours = torch.autograd.grad(y, (x, w), torch.ones(1).expand_as(y), retain_graph=True)
    dense = torch.autograd.grad(y, (x, w), torch.ones_like(y))
    for a, b in zip(ours, dense, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_the_input_gradient_lies_as_the_output_gradient(layout: Any) -> None:
    x, w = torch.randn(2, 4, 9, 7).requires_grad_(), torch.randn(6, 4, 3, 3)
    y = conv2d(x, w, padding=1, method="gradient_filter", kernel="native")
    (grad_x,) = torch.autograd.grad(y, x, layout(torch.randn(y.shape)))
    expected = torch.channels_last if layout is channels_last else torch.contiguous_format
    assert grad_x.is_contiguous(memory_format=expected)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_the_layout_of_the_output_gradient_may_be_another_than_the_inputs(layout: Any) -> None:
    other = channels_last if layout is torch.clone else torch.clone
    x, w = torch.randn(2, 10, 9, 7, dtype=torch.float64), torch.randn(6, 10, 3, 3).double()
    found = []
    for lies in (layout, other):
        leaf, weight = layout(x).requires_grad_(), w.clone().requires_grad_()
        y = conv2d(leaf, weight, padding=1, method="gradient_filter", kernel="native")
        torch.manual_seed(1)
        found.append(torch.autograd.grad(y, (leaf, weight), lies(torch.randn(y.shape).double())))
    torch.testing.assert_close(found[0], found[1])


# memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("planes", [True, False])
@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("config", RANDOM[:60], ids=str)
def test_nothing_is_written_outside(
    config: Config, planes: bool, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "last_cache_bytes", lambda: 0 if streaming else 2**40)
    geometry = conv_geometry(
        config.x_shape,
        config.weight_shape,
        config.stride,
        config.padding,
        config.dilation,
        config.groups,
        config.patch_size,
    )
    n, channels, height, width = config.x_shape
    x, x_guard = guarded(n, channels, height, width, planes)
    x.normal_()
    _, _, rows, columns = (n, channels, *geometry.grid)
    cells, cells_guard = guarded(n, channels, rows, columns, False)
    grid = passes.Grid(cells, (rows * columns * channels, 1, channels))
    sums = torch.empty(n * (1 if planes else rows) * channels)
    maps = passes.Maps(x, planes)
    passes.pool(maps, geometry.input_patches, grid, (0, n), 0.0, sums)
    passes.expand(grid, geometry.input_patches, maps, (0, n))
    assert torch.isfinite(cells).all()
    assert torch.isfinite(x).all()
    assert torch.isnan(x_guard).all()
    assert torch.isnan(cells_guard).all()


def guarded(
    n: int, channels: int, rows: int, columns: int, planes: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return maps in the middle of a buffer, and the two ends of it, which hold NaN."""
    size, guard = n * channels * rows * columns, 67  # odd: no row is aligned
    buffer = torch.full((size + 2 * guard,), float("nan"))
    inner = buffer[guard : guard + size].zero_()
    ends = torch.as_strided(buffer, (2, guard), (size + guard, 1))
    if planes:
        return inner.view(n, channels, rows, columns), ends
    return inner.view(n, rows, columns, channels).permute(0, 3, 1, 2), ends


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("number", [1, 15, 1000, 4001])
@pytest.mark.parametrize("taps", [(1, 2), (3, 3), (7, 7), (50, 50)])
def test_a_value_is_repeated_on_its_taps_and_nowhere_else(
    number: int, taps: tuple[int, int], streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "last_cache_bytes", lambda: 0 if streaming else 2**40)
    values = torch.randn(number, 1)
    found = passes.repeat_taps(values, (number, 1, *taps))
    assert torch.equal(found, values[:, :, None, None].expand(number, 1, *taps))
    sums = passes.sum_windows(found)
    # Of 2,500 equal terms: the fewer lanes a vector has, the more of them are added in turn.
    torch.testing.assert_close(sums[:, :, 0, 0], values * taps[0] * taps[1], rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (9, 16, 1, 1), (5, 2051, 1, 2)])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_window_sums_in_tiles_are_the_window_sums(
    shape: tuple[int, int, int, int], groups: int, layout: Any
) -> None:
    weight = layout(torch.randn(shape[0] * groups, *shape[1:], dtype=torch.float64))
    x = layout(torch.empty(1, shape[1] * groups, 4, 4, dtype=torch.float64))
    geometry = conv_geometry(x.shape, weight.shape, 1, 0, 1, groups, 2)
    maps, axes = passes.in_place(x), geometry.input_patches
    _, tiles = passes.save(maps, axes, weight, groups, True, False)
    assert tiles is not None
    expected = weight.sum((2, 3), keepdim=True)
    found = passes.unpack_w_sums(tiles, (len(weight), shape[1], 1, 1), groups)
    torch.testing.assert_close(found, expected)
    by_group = tiles.view(groups, -1, *tiles.shape[1:]).transpose(1, 2)
    rest = by_group.reshape(len(weight), -1)[:, shape[1] :]
    assert not rest.any()


# the board's compiler ------------------------------------------------------------------------

ASK = """
import sys, torch
from workloads.kernels import KERNELS
reason = KERNELS["native"].available(torch.device("cpu"), torch.float32)
print("reason: %s" % reason)
"""


def ask(environment: dict[str, str], path: Path = ROOT) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(path), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", ASK],
        env=environment,
        cwd="/",  # -c puts the working folder on the path
        stdout=subprocess.PIPE,
        text=True,
    )


def answer(asked: subprocess.Popen[str]) -> str:
    with asked:
        assert asked.stdout is not None
        return asked.stdout.read().strip()


def test_without_a_compiler_the_reason_is_given_and_the_call_refused(tmp_path: Path) -> None:
    found = answer(ask({"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}))
    assert found == "reason: no C compiler: cc, gcc and clang are not on PATH"


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\n[ $1 = --version ] && exit 0\necho no such chip >&2\nexit 1\n")
    fake.chmod(0o755)
    found = answer(ask({"PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_CACHE_HOME": "/proc/x"}))
    assert found.startswith("reason: ")
    assert "/proc/x" in found or "Permission" in found or "No such file" in found
    found = answer(
        ask({"PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path)})
    )
    assert "no such chip" in found


def test_first_uses_at_the_same_time_compile_once(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    real, _ = compiler.find_compiler()
    fake = tmp_path / "cc"
    fake.write_text(f'#!/bin/sh\n[ "$1" = --version ] || echo x >> {counter}\nexec {real} "$@"\n')
    fake.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    asked = [ask(environment) for _ in range(3)]
    assert [answer(each) for each in asked] == ["reason: None"] * 3
    assert counter.read_text() == "x\n"
    objects = list((tmp_path / "cache" / "gfbench" / "objects").iterdir())
    assert sorted(path.suffix for path in objects) == [".lock", ".so"]


def test_from_inside_an_archive_objects_lie_beside_it(tmp_path: Path) -> None:
    archive = tmp_path / "payload.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in (ROOT / "workloads").rglob("*"):
            if path.suffix in (".py", ".c", ".h"):
                packed.write(path, path.relative_to(ROOT))
    environment = {"XDG_CACHE_HOME": str(tmp_path / "unused")}
    assert answer(ask(environment, archive)) == "reason: None"
    assert list((tmp_path / "objects").glob("*.so"))
    assert not (tmp_path / "unused").exists()


# a kernel of one's own -----------------------------------------------------------------------


@pytest.mark.parametrize("patch_size", [1, 2, (2, 3)])
def test_the_example_in_the_documentation_is_a_kernel(
    patch_size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "kernels.md").read_text()
    module = types.ModuleType("simple")
    exec(text.split("```python\n")[1].split("```")[0], module.__dict__)
    monkeypatch.setitem(KERNELS, "simple", user.kernel_of("simple", "simple.py", module))
    sides = patch_size if isinstance(patch_size, tuple) else (patch_size, patch_size)
    config = Config((2, 3, 12, 6), (4, 3, 3, 5), (1, 1), (1, 2), (1, 1), 1, sides)
    assert gradient_error("gradient_filter", config, kernel="simple") < 1e-10


def test_other_devices_and_types_are_refused_with_the_reason() -> None:
    available = KERNELS["native"].available
    assert "runs on the CPU" in str(available(torch.device("cuda"), torch.float32))
    assert "float32 and float64" in str(available(CPU, torch.float16))
    x = torch.zeros(1, 2, 4, 4, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="kernel: kernel native computes"):
        conv2d(x, x[:, :, :3, :3], method="gradient_filter", kernel="native")


@pytest.mark.parametrize("channels", [1, 8, 19, 32, 40, 64, 75])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_patch_sums_in_panels_are_the_patch_sums(
    channels: int, groups: int, dtype: torch.dtype
) -> None:
    x = torch.randn(2, channels * groups, 11, 37, dtype=dtype)
    weight = torch.randn(groups, channels, 3, 3, dtype=dtype)
    geometry = conv_geometry(x.shape, weight.shape, 1, 1, 1, groups, (2, 3))
    maps, axes = passes.in_place(x), geometry.input_patches
    sums, _ = passes.save(maps, axes, weight, groups, False, True)
    assert sums is not None
    expected = sum_patches(x, axes)
    assert sums.numel() == expected.numel()  # no memory is lost to the last panel
    torch.testing.assert_close(
        passes.unpack_x_sums(sums, (2, channels * groups, *geometry.grid), groups), expected
    )


def test_a_workspace_is_kept_where_it_is_small_and_is_a_thread_s_own() -> None:
    few = passes._workspace(1000)
    assert passes._workspace(500) is few
    assert passes._workspace(2 * few.numel()) is not few
    most = passes.KEPT_WORKSPACE_BYTES
    assert passes._workspace(most + 1) is not passes._workspace(most + 1)
    others: list[torch.Tensor] = []
    thread = threading.Thread(target=lambda: others.append(passes._workspace(1000)))
    thread.start()
    thread.join()
    assert others[0] is not passes._workspace(1000)


def test_threads_may_run_backwards_at_the_same_time() -> None:
    x, w = torch.randn(4, 24, 30, 30), torch.randn(24, 24, 3, 3)
    geometry = conv_geometry(x.shape, w.shape, padding=1, patch_size=2)
    saved = native.save(x, w, geometry, True, True)
    grads = [torch.randn(geometry.x_shape) for _ in range(4)]
    wanted = (True, True, False)
    expected = [native.gradients(grad, *saved, geometry, wanted) for grad in grads]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            runs = [pool.submit(native.gradients, g, *saved, geometry, wanted) for g in grads]
            for run, (grad_x, grad_w, _bias) in zip(runs, expected, strict=True):
                torch.testing.assert_close(run.result()[0], grad_x)
                torch.testing.assert_close(run.result()[1], grad_w)
