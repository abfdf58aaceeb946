"""How the passes are launched: shapes, arguments and contexts, with a driver that takes notes."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cuda_emulator import Emulator, in_place_of_a_gpu

from workloads.kernels.cuda import driver as cuda_driver
from workloads.kernels.cuda import nvrtc
from workloads.kernels.cuda import passes as cuda_passes
from workloads.kernels.cuda.driver import THREADS, Driver, DriverError, Module
from workloads.kernels.cuda.passes import Params, launch_shape
from workloads.spec.geometry import Patches

CONTEXT, MODULE, FUNCTION, STREAM = 0xC0DE, 0x30D, 0xF00, 0x57


class NotingDriver:
    """A libcuda: hands out the handles above, notes every call, fails where it is told to."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.calls: list[tuple[Any, ...]] = []
        self.images: list[bytes] = []
        self.params: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append((name, *map(plain, arguments)))
            if name == self.failing:
                return 201
            getattr(self, "_" + name, lambda *_: None)(*arguments)
            return 0

        return call

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> None:
        context._obj.value = CONTEXT + device.value

    def _cuDeviceGet(self, device: Any, index: int) -> None:
        device._obj.value = index

    def _cuModuleLoadData(self, module: Any, image: bytes) -> None:
        module._obj.value = MODULE
        self.images.append(image)

    def _cuModuleGetFunction(self, function: Any, module: Any, name: bytes) -> None:
        function._obj.value = FUNCTION + len(name)

    def _cuLaunchKernel(self, *arguments: Any) -> None:
        parameters = arguments[9]
        assert len(parameters) == 1
        self.params.append(ctypes.string_at(parameters[0], ctypes.sizeof(Params)))

    def _cuGetErrorName(self, status: int, text: Any) -> None:
        text._obj.value = b"CUDA_ERROR_INVALID_CONTEXT"


def plain(argument: Any) -> Any:
    return argument.value if isinstance(argument, (ctypes.c_void_p, ctypes.c_int)) else argument


@pytest.fixture(autouse=True)
def stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def current(index: int) -> Any:
        return SimpleNamespace(cuda_stream=STREAM + index)

    monkeypatch.setattr(torch.cuda, "current_stream", current)


# the driver ----------------------------------------------------------------------------------


def test_a_launch_takes_torchs_stream_the_shape_and_the_task() -> None:
    library = NotingDriver()
    module = Module(Driver(library), 1, b"image")
    library.calls.clear()
    params = Params(planes=7, scale=0.25, maps=0x1234)
    module.launch("gfb_pool_2", params, (3, 5))
    assert library.names() == [
        "cuCtxPushCurrent_v2",
        "cuModuleGetFunction",
        "cuLaunchKernel",
        "cuCtxPopCurrent_v2",
    ]
    assert library.calls[0][1] == CONTEXT + 1
    function, *shape = library.calls[2][1:9]
    assert function == FUNCTION + len("gfb_pool_2")
    assert shape == [3, 5, 1, THREADS, 1, 1, 0]
    assert library.calls[2][9] == STREAM + 1
    assert library.calls[2][11] is None
    assert library.params == [bytes(params)]


def test_a_context_is_retained_and_a_function_looked_up_only_once() -> None:
    library = NotingDriver()
    driver = Driver(library)
    module = Module(driver, 0, b"image")
    for _ in range(3):
        module.launch("gfb_pool_2", Params(), (1, 1))
    Module(driver, 0, b"other")
    assert library.names().count("cuDevicePrimaryCtxRetain") == 1
    assert library.names().count("cuModuleGetFunction") == 1
    assert library.names().count("cuLaunchKernel") == 3


def test_ptx_reaches_the_driver_with_the_zero_that_ends_it() -> None:
    library = NotingDriver()
    Module(Driver(library), 0, b"// PTX")
    assert library.images == [b"// PTX\0"]


@pytest.mark.parametrize("failing", ["cuModuleGetFunction", "cuLaunchKernel"])
def test_a_failing_call_is_named_and_the_context_is_put_back(failing: str) -> None:
    library = NotingDriver(failing)
    module = Module(Driver(library), 0, b"image")
    with pytest.raises(DriverError, match=failing + ": CUDA_ERROR_INVALID_CONTEXT"):
        module.launch("gfb_pool_2", Params(), (1, 1))
    assert library.names().count("cuCtxPushCurrent_v2") == 2
    assert library.names().count("cuCtxPopCurrent_v2") == 2


def test_a_context_that_cannot_be_pushed_is_not_popped() -> None:
    library = NotingDriver("cuCtxPushCurrent_v2")
    with pytest.raises(DriverError, match="cuCtxPushCurrent_v2"):
        Module(Driver(library), 0, b"image")
    assert "cuCtxPopCurrent_v2" not in library.names()


def test_a_machine_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libnothing-of-the-kind.so.1")
    cuda_driver.driver.cache_clear()
    with pytest.raises(DriverError, match=r"driver cannot be loaded.*libnothing-of-the-kind"):
        cuda_driver.driver()


# loading -------------------------------------------------------------------------------------


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_passes, "_modules", {})
    monkeypatch.setattr(cuda_passes, "_reasons", {})
    board = SimpleNamespace(major=5, minor=3, multi_processor_count=1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: board)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_a_pass_compiles_loads_and_launches_once_per_type(
    nothing_loaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, compiled = NotingDriver(), []

    def compile_kept(*arguments: Any) -> bytes:
        compiled.append(arguments[3:])
        return b"image"

    monkeypatch.setattr(cuda_driver, "driver", lambda: Driver(library))
    monkeypatch.setattr(nvrtc, "find", lambda: None)
    monkeypatch.setattr(nvrtc, "compile_kept", compile_kept)
    monkeypatch.setattr(cuda_passes, "_index", lambda device: 0)
    maps = torch.ones(2, 3, 4, 6)
    axes = (Patches(0, 2, 2, 4), Patches(0, 2, 3, 6))
    for _ in range(2):
        cuda_passes.pool(maps, axes, torch.empty(2, 3, 2, 3))
    cuda_passes.pool(maps.half(), axes, torch.empty(2, 3, 2, 3).half())
    assert compiled == [((5, 3), ("REAL_F32",)), ((5, 3), ("REAL_F16",))]
    assert len(library.params) == 3
    params = Params.from_buffer_copy(library.params[0])
    assert params.maps == maps.data_ptr()
    assert (params.planes, params.channels, params.items) == (6, 3, 6)
    strides = params.map
    assert (strides.image, strides.channel, strides.row, strides.column) == (72, 24, 6, 1)
    assert (params.columns.start, params.columns.length, params.columns.stop) == (0, 2, 6)
    assert params.sums is None
    assert params.scale == 0


def test_what_cannot_be_loaded_is_tried_once_and_gives_its_reason(
    nothing_loaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def find() -> Any:
        tries.append(1)
        raise nvrtc.NvrtcError("NVRTC is not found in a, b")

    monkeypatch.setattr(nvrtc, "find", find)
    monkeypatch.setattr(cuda_driver, "driver", lambda: Driver(NotingDriver()))
    for _ in range(2):
        reason = cuda_passes.unavailable(torch.device("cuda", 0), torch.float32)
        assert reason == "NVRTC is not found in a, b"
    assert len(tries) == 1


def test_a_driver_that_refuses_the_image_is_a_reason(
    nothing_loaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = NotingDriver("cuModuleLoadData")
    monkeypatch.setattr(cuda_driver, "driver", lambda: Driver(library))
    monkeypatch.setattr(nvrtc, "find", lambda: None)
    monkeypatch.setattr(nvrtc, "compile_kept", lambda *arguments: b"image")
    reason = cuda_passes.unavailable(torch.device("cuda", 0), torch.float32)
    assert str(reason).startswith("cuModuleLoadData: ")


# shapes --------------------------------------------------------------------------------------

SIZES = (1, 2, 3, 5, 16, 31, 64, 255, 256, 257, 4800, 65536, 1_000_003)


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("processors", [1, 16, 132])
def test_every_item_of_every_plane_has_one_thread(by_channel: bool, processors: int) -> None:
    for planes in SIZES:
        for items in SIZES:
            shape = launch_shape(planes, items, by_channel, processors)
            fast = 1 << shape.fast_bits
            sharing = THREADS // fast if by_channel else fast
            planes_each = THREADS // sharing
            assert sharing * planes_each == THREADS
            assert (shape.blocks - 1) * planes_each < planes <= shape.blocks * planes_each
            part = shape.items_per_part
            assert (shape.parts - 1) * part < items <= shape.parts * part
            assert shape.parts == 1 or part % sharing == 0
            assert shape.parts <= 65535  # the most blocks in y
            assert sharing < 2 * items  # no half of the threads idles


def test_small_batches_still_fill_the_device_and_large_ones_are_not_split() -> None:
    assert launch_shape(64, 3136, False, 16).parts > 1
    shape = launch_shape(1, 10**7, False, 16)
    assert shape.blocks * shape.parts == 16 * 16
    assert launch_shape(128 * 512, 3136, False, 16).parts == 1


def test_neighbouring_threads_read_neighbouring_memory() -> None:
    planes = launch_shape(512, 4800, False, 16)
    pixels = launch_shape(512, 4800, True, 16)
    assert 1 << planes.fast_bits == THREADS  # a row of patches
    assert 1 << pixels.fast_bits >= 32  # channels of one pixel
    assert not cuda_passes.by_channel((4800, 80, 8, 1), (2, 60, 10, 8))
    assert cuda_passes.by_channel((4800, 1, 480, 60), (2, 60, 10, 8))
    assert cuda_passes.by_channel((4800, 1, 60, 60), (2, 60, 80, 1))
    assert not cuda_passes.by_channel((80, 1, 8, 1), (2, 1, 10, 8))


def test_maps_beyond_the_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="too large for kernel cuda"):
        launch_shape(2**31, 1, False, 16)
    with pytest.raises(ValueError, match="too large for kernel cuda"):
        launch_shape(1, 2**31, False, 16)


def test_a_launch_is_prepared_once_and_its_addresses_never_kept() -> None:
    emulator = Emulator(torch.float64)
    axes = (Patches(0, 2, 2, 4), Patches(0, 2, 2, 4))
    with in_place_of_a_gpu(emulator, 3):
        cuda_passes._pool_launch.cache_clear()
        for value in (1.0, 2.0):
            cells = torch.empty(1, 1, 2, 2, dtype=torch.float64)
            cuda_passes.pool(torch.full((1, 1, 4, 4), value, dtype=torch.float64), axes, cells)
            assert torch.equal(cells, torch.full_like(cells, 4 * value))
        assert cuda_passes._pool_launch.cache_info().misses == 1
