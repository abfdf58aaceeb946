"""A user's kernel in C: compiled and called by the ABI that ``gfbench.h`` lays down.

The file defines two functions, with REAL float or double (it is compiled once for each):

    int gfbench_save(const gfbench_t *g, const REAL *x, const REAL *w, REAL *x_sum, REAL *w_sum);
    int gfbench_gradients(const gfbench_t *g, const REAL *grad, const REAL *x_sum,
                          const REAL *w_sum, REAL *grad_x, REAL *grad_w, REAL *grad_b);

Arrays are dense and row-major; outputs arrive unwritten. A pointer is NULL where its gradient is
not wanted. 0 is success, anything else "this geometry I do not do".
"""

import ctypes
from typing import Any, Dict, Optional, Sequence, Tuple

import torch

from workloads.kernels.native import compiler
from workloads.kernels.seam import Kernel, KernelError, Maybe, Operator
from workloads.spec.geometry import Geometry
from workloads.spec.kernels import USER_HEADER, USER_METHODS

TYPES = {torch.float32: "float", torch.float64: "double"}
FIELDS = (
    "n",
    "c_in",
    "height",
    "width",
    "c_out",
    "per_group",
    "k_h",
    "k_w",
    "stride_h",
    "stride_w",
    "pad_top",
    "pad_bottom",
    "pad_left",
    "pad_right",
    "dilation_h",
    "dilation_w",
    "groups",
    "r_h",
    "r_w",
    "out_h",
    "out_w",
    "grid_h",
    "grid_w",
    "in_start_h",
    "in_length_h",
    "in_stop_h",
    "in_start_w",
    "in_length_w",
    "in_stop_w",
    "keeps_window",
    "threads",
)


class Convolution(ctypes.Structure):
    """``gfbench_t`` of gfbench.h."""

    _fields_ = [(name, ctypes.c_int64) for name in FIELDS]


def kernel(name: str, source: str) -> Kernel:
    """Return the kernel of a C file in ``workloads/kernels``; its first use compiles it."""
    program = _Program(name, source)
    operator = Operator(program.save, program.gradients)
    operators = dict.fromkeys(USER_METHODS, operator)
    return Kernel(name, "user", (source,), operators, program.available)


class _Program:
    """The functions of one C file, compiled for each type that is used."""

    def __init__(self, name: str, source: str) -> None:
        self._name = name
        self._sources = ("kernels/" + source, USER_HEADER)
        self._libraries: Dict[torch.dtype, Any] = {}
        self._reasons: Dict[torch.dtype, str] = {}

    def available(self, device: torch.device, dtype: torch.dtype) -> Optional[str]:
        """Return why it cannot run there; None if it can."""
        if torch.device(device).type != "cpu":
            return "kernel %s is written in C and runs on the CPU only" % self._name
        if dtype not in TYPES:
            return "kernel %s computes in float32 and float64, not %s" % (self._name, dtype)
        if dtype not in self._libraries and dtype not in self._reasons:
            self._load(dtype)
        return self._reasons.get(dtype)

    def _load(self, dtype: torch.dtype) -> None:
        """Compile for a type; a board without a compiler is a reason, a broken file is an error.

        Raises:
            KernelError: the file does not compile, or lacks a function.
        """
        try:
            library = compiler.load(self._sources, ("REAL=" + TYPES[dtype],))
            self._libraries[dtype] = _declared(library)
        except compiler.NoCompiler as error:
            self._reasons[dtype] = str(error)
        except (compiler.CompilerError, OSError, AttributeError) as error:
            raise KernelError("kernel %s: %s" % (self._name, error)) from error

    def save(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        geometry: Geometry,
        need_x: bool,
        need_w: bool,
    ) -> Tuple[Maybe, Maybe]:
        """Return x~ (N, C_i, P_h, P_w) and w~ (C_o, C_i / groups); w where the window is kept."""
        x, weight = x.contiguous(), weight.contiguous()
        x_sum = w_sum = None
        if need_w:
            x_sum = x.new_empty((*x.shape[:2], *geometry.grid))
        if need_x and not geometry.keeps_window:
            w_sum = weight.new_empty(weight.shape[:2])
        if x_sum is not None or w_sum is not None:
            self._call("gfbench_save", geometry, (x, weight, x_sum, w_sum))
        if need_x and geometry.keeps_window:
            return x_sum, weight
        return x_sum, w_sum

    def gradients(
        self,
        grad_output: torch.Tensor,
        x_sum: Maybe,
        w_sum: Maybe,
        geometry: Geometry,
        needs_input_grad: Sequence[bool],
    ) -> Tuple[Maybe, Maybe, Maybe]:
        """Return (g_x, g_w, g_b); None for each that is not needed."""
        grad = grad_output.contiguous()
        need_x, need_w, need_b = needs_input_grad
        grad_x = grad.new_empty(geometry.x_shape) if need_x else None
        grad_w = grad.new_empty(geometry.weight_shape) if need_w else None
        grad_b = grad.new_empty(geometry.weight_shape[:1]) if need_b else None
        tensors = (grad, x_sum, w_sum, grad_x, grad_w, grad_b)
        self._call("gfbench_gradients", geometry, tensors)
        return grad_x, grad_w, grad_b

    def _call(self, function: str, geometry: Geometry, tensors: Sequence[Maybe]) -> None:
        dtype = next(tensor.dtype for tensor in tensors if tensor is not None)
        reason = self.available(torch.device("cpu"), dtype)
        if reason:
            raise compiler.CompilerError(reason)
        addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
        convolution = _convolution(geometry)
        status = getattr(self._libraries[dtype], function)(convolution, *addresses)
        if status != 0:
            raise NotImplementedError("kernel %s: %s returned %d" % (self._name, function, status))


def _convolution(geometry: Geometry) -> Convolution:
    rows, columns = geometry.input_patches
    return Convolution(
        *geometry.x_shape,
        *geometry.weight_shape,
        *geometry.stride,
        *geometry.padding[0],
        *geometry.padding[1],
        *geometry.dilation,
        geometry.groups,
        *geometry.patch_size,
        *geometry.output_size,
        *geometry.grid,
        rows.start,
        rows.length,
        rows.stop,
        columns.start,
        columns.length,
        columns.stop,
        geometry.keeps_window,
        torch.get_num_threads(),
    )


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    convolution, pointer = ctypes.POINTER(Convolution), ctypes.c_void_p
    library.gfbench_save.argtypes = (convolution, *[pointer] * 4)
    library.gfbench_gradients.argtypes = (convolution, *[pointer] * 6)
    return library
