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

from workloads.geometry import Geometry
from workloads.kernels import compiler
from workloads.kernels.seam import Kernel, KernelError, Maybe, Operator

HEADER = "gfbench.h"
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


class Case(ctypes.Structure):
    """``gfbench_t`` of gfbench.h."""

    _fields_ = [(name, ctypes.c_int64) for name in FIELDS]


def kernel(name: str, source: str) -> Kernel:
    """Return the kernel of a C file beside this one; it is compiled when it is first asked for."""
    program = _Program(name, source)
    operators = {"gradient_filter": Operator(program.save, program.gradients)}
    return Kernel(name, "user", (source,), operators, program.available)


class _Program:
    """The functions of one file, for each type."""

    def __init__(self, name: str, source: str) -> None:
        self._name = name
        self._sources = (source, HEADER)
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
        """Compile for a type; having no compiler is a reason, being no C is the file's fault."""
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
        """Return (x~, w~); w itself where the window is kept."""
        x, weight = x.contiguous(), weight.contiguous()
        keeps = geometry.keeps_window
        x_sum = x.new_empty((*x.shape[:2], *geometry.grid)) if need_w else None
        w_sum = weight.new_empty(weight.shape[:2]) if need_x and not keeps else None
        if x_sum is not None or w_sum is not None:
            self._call("gfbench_save", geometry, (x, weight, x_sum, w_sum))
        return x_sum, weight if need_x and keeps else w_sum

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
        shapes = (geometry.x_shape, geometry.weight_shape, geometry.weight_shape[:1])
        found = [grad.new_empty(s) if need else None for s, need in zip(shapes, needs_input_grad)]
        self._call("gfbench_gradients", geometry, (grad, x_sum, w_sum, *found))
        return found[0], found[1], found[2]

    def _call(self, function: str, geometry: Geometry, tensors: Sequence[Maybe]) -> None:
        dtype = next(tensor.dtype for tensor in tensors if tensor is not None)
        reason = self.available(torch.device("cpu"), dtype)
        if reason:
            raise compiler.CompilerError(reason)
        addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
        status = getattr(self._libraries[dtype], function)(_case(geometry), *addresses)
        if status != 0:
            words = (self._name, function, status)
            raise NotImplementedError("kernel %s: %s returned %d" % words)


def _case(geometry: Geometry) -> Case:
    rows, columns = geometry.input_patches
    return Case(
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
    case, pointer = ctypes.POINTER(Case), ctypes.c_void_p
    library.gfbench_save.argtypes = (case, *[pointer] * 4)
    library.gfbench_gradients.argtypes = (case, *[pointer] * 6)
    return library
