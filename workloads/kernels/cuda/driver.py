"""The CUDA driver through ctypes: images loaded and kernels launched in torch's own context.

torch's context of a device is its primary one. It is made current around each call, because a
thread of autograd need not have it yet, and put back, because the user may be on another device.
"""

import contextlib
import ctypes
import functools
from typing import Any, Dict, Iterator, Tuple

import torch

LIBRARY = "libcuda.so.1"
THREADS = 256  # per block, as in gradient_filter.cu


class DriverError(Exception):
    """The driver is not there, or a call of it failed; the message says which."""


class Driver:
    """The functions of libcuda that are needed here, with their errors as exceptions."""

    def __init__(self, library: Any) -> None:
        """Wrap a loaded libcuda."""
        self._library = library
        self._contexts: Dict[int, ctypes.c_void_p] = {}

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver.

        Raises:
            DriverError: it returns an error.
        """
        status = getattr(self._library, name)(*arguments)
        if status:
            raise DriverError("%s: %s" % (name, self._error_name(status)))

    @contextlib.contextmanager
    def on_device(self, index: int) -> Iterator[None]:
        """Make the primary context of a device the thread's current one within the block."""
        self.call("cuCtxPushCurrent_v2", self._primary(index))
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _primary(self, index: int) -> ctypes.c_void_p:
        """Return a device's primary context, retained until the process ends, as torch does."""
        if index not in self._contexts:
            device, context = ctypes.c_int(), ctypes.c_void_p()
            self.call("cuInit", 0)
            self.call("cuDeviceGet", ctypes.byref(device), index)
            self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
            self._contexts[index] = context
        return self._contexts[index]

    def _error_name(self, status: int) -> str:
        text = ctypes.c_char_p()
        if self._library.cuGetErrorName(status, ctypes.byref(text)) or not text.value:
            return "error %d" % status
        return text.value.decode("ascii", "replace")


@functools.lru_cache(maxsize=None)
def driver() -> Driver:
    """Return the machine's driver.

    Raises:
        DriverError: there is none.
    """
    try:
        return Driver(ctypes.CDLL(LIBRARY))
    except OSError as error:
        raise DriverError("the CUDA driver cannot be loaded: %s" % error) from error


class Module:
    """A loaded image on one device: its kernels, each taking one structure by value."""

    def __init__(self, driver: Driver, index: int, image: bytes) -> None:
        """Load an image (cubin or PTX) on the device of this index.

        Raises:
            DriverError: the driver cannot load it.
        """
        self._driver, self._index = driver, index
        self._functions: Dict[str, ctypes.c_void_p] = {}
        self._module = ctypes.c_void_p()
        with driver.on_device(index):
            # PTX is text that ends with a zero byte; a cubin contains its own length.
            driver.call("cuModuleLoadData", ctypes.byref(self._module), image + b"\0")

    def launch(self, name: str, params: ctypes.Structure, grid: Tuple[int, int]) -> None:
        """Start a kernel on torch's current stream of the device; returns before it is done.

        Args:
            name: the kernel.
            params: its one argument; the driver copies it before this returns.
            grid: blocks in x and y.

        Raises:
            DriverError: it cannot be started, or an earlier kernel has failed.
        """
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(params))
        stream = ctypes.c_void_p(torch.cuda.current_stream(self._index).cuda_stream)
        shared_bytes = 0
        with self._driver.on_device(self._index):
            self._driver.call(
                "cuLaunchKernel",
                self._function(name),
                *(grid[0], grid[1], 1),
                *(THREADS, 1, 1),
                shared_bytes,
                stream,
                arguments,
                None,
            )

    def _function(self, name: str) -> ctypes.c_void_p:
        if name not in self._functions:
            function = ctypes.c_void_p()
            self._driver.call(
                "cuModuleGetFunction", ctypes.byref(function), self._module, name.encode("ascii")
            )
            self._functions[name] = function
        return self._functions[name]
