"""NVRTC, NVIDIA's run-time compiler, through ctypes: CUDA C in, an image for the driver out.

Any NVRTC from CUDA 10.2 on will do, and no other build tool is needed. That which came with torch
is preferred, as it fits the driver that torch runs on. Images are kept in a folder: compiling takes
a second, on a small board several.
"""

import contextlib
import ctypes
import glob
import hashlib
import os
import re
import tempfile
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch

LOADER_NAMES = (
    "libnvrtc.so",
    "libnvrtc.so.13",
    "libnvrtc.so.12",
    "libnvrtc.so.11.2",  # of all of CUDA 11.2 to 11.8
    "libnvrtc.so.11.1",
    "libnvrtc.so.11.0",
    "libnvrtc.so.10.2",
)
SYSTEM_FOLDERS = ("/usr/local/cuda/lib64", "/usr/local/cuda/targets/*/lib")
CHOICE = "GFBENCH_NVRTC"  # environment: the path of the library to use

# What CUDA 10.2 to 11.1 compile for: they cannot be asked.
_ARCHES_BEFORE_11_2 = {
    (10, 2): (30, 32, 35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75),
    (11, 0): (35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75, 80),
    (11, 1): (35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86),
}


class NvrtcError(Exception):
    """There is no NVRTC, or it cannot compile the source; the message says why."""


class Target(NamedTuple):
    """What an image is made for: ``sm_87``, machine code, or ``compute_87``, PTX."""

    arch: str
    binary: bool


class Nvrtc:
    """One NVRTC library."""

    def __init__(self, path: str) -> None:
        """Load the library.

        Raises:
            NvrtcError: it cannot be loaded, or is too old.
        """
        try:
            self._library = ctypes.CDLL(path)
            major, minor = ctypes.c_int(), ctypes.c_int()
            self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        except (OSError, AttributeError) as error:
            raise NvrtcError("%s cannot be loaded: %s" % (path, error)) from error
        self.path = path
        self.version = (major.value, minor.value)
        if self.version < (10, 2):
            raise NvrtcError(
                "%s belongs to CUDA %d.%d, which is older than 10.2" % (path, *self.version)
            )

    def arches(self) -> Tuple[int, ...]:
        """Return the architectures that it compiles for, such as 53 and 87, ascending."""
        if self.version in _ARCHES_BEFORE_11_2:
            return _ARCHES_BEFORE_11_2[self.version]
        number = ctypes.c_int()
        self._check(self._library.nvrtcGetNumSupportedArchs(ctypes.byref(number)))
        found = (ctypes.c_int * number.value)()
        self._check(self._library.nvrtcGetSupportedArchs(found))
        return tuple(sorted(found))

    def target(self, capability: Tuple[int, int]) -> Target:
        """Return what to compile for a device, (5, 3) for sm_53.

        Machine code where it can be, as the driver may be too old for this NVRTC's PTX; PTX for
        the nearest older architecture where the device is newer than NVRTC.

        Raises:
            NvrtcError: the device is older than anything that it compiles for.
        """
        device, arches = 10 * capability[0] + capability[1], self.arches()
        older = [arch for arch in arches if arch <= device]
        if not older:
            raise NvrtcError(
                "NVRTC %d.%d compiles for sm_%d and newer, but this device is sm_%d: set %s to "
                "an older libnvrtc" % (*self.version, arches[0], device, CHOICE)
            )
        if older[-1] == device and self.version >= (11, 1):
            return Target("sm_%d" % device, True)
        return Target("compute_%d" % older[-1], False)

    def compile(self, source: bytes, name: str, target: Target, defines: Sequence[str]) -> bytes:
        """Return the image of CUDA C, to be given to cuModuleLoadData.

        Raises:
            NvrtcError: the source does not compile; the message holds the compiler's log.
        """
        library, program = self._library, ctypes.c_void_p()
        self._check(
            library.nvrtcCreateProgram(
                ctypes.byref(program), source, name.encode("ascii"), 0, None, None
            )
        )
        try:
            options = ["--gpu-architecture=" + target.arch, *("-D" + text for text in defines)]
            texts = (ctypes.c_char_p * len(options))(*(text.encode("ascii") for text in options))
            with _locale_kept():
                status = library.nvrtcCompileProgram(program, len(options), texts)
            if status:
                log = self._output("nvrtcGetProgramLog", program).rstrip(b"\0")
                words = log.decode("utf-8", "replace").strip()[-2000:]
                raise NvrtcError("%s: %s: %s" % (name, self._error(status), words))
            return self._output("nvrtcGetCUBIN" if target.binary else "nvrtcGetPTX", program)
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _output(self, getter: str, program: ctypes.c_void_p) -> bytes:
        """Return what NVRTC's ``getter`` gives, sized by its fellow of the same name + Size."""
        size = ctypes.c_size_t()
        self._check(getattr(self._library, getter + "Size")(program, ctypes.byref(size)))
        data = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, getter)(program, data))
        return data.raw

    def _check(self, status: int) -> None:
        if status:
            raise NvrtcError(self._error(status))

    def _error(self, status: int) -> str:
        describe = self._library.nvrtcGetErrorString
        describe.restype = ctypes.c_char_p
        return str(describe(status).decode("ascii", "replace"))


@contextlib.contextmanager
def _locale_kept() -> Iterator[None]:
    """Put the thread's locale back: CUDA 11.8's leaves it at "C", where text is read as ASCII."""
    try:
        use = ctypes.CDLL(None).uselocale
    except AttributeError:  # not the C library of Linux
        yield
        return
    use.restype, use.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
    before = use(None)
    try:
        yield
    finally:
        use(before)


def find() -> Nvrtc:
    """Return the NVRTC to use: the one chosen, else torch's, else the system's.

    Raises:
        NvrtcError: there is none; the message says where it was looked for.
    """
    chosen = os.environ.get(CHOICE)
    if chosen:
        return Nvrtc(chosen)
    folders = torch_folders()
    for path in [*in_folders(folders), *LOADER_NAMES, *in_folders(SYSTEM_FOLDERS)]:
        with contextlib.suppress(NvrtcError):
            return Nvrtc(path)
    raise NvrtcError(
        "NVRTC is not found in %s, nor as %s or in %s: install CUDA's nvrtc package, or set %s"
        % (", ".join(folders), ", ".join(LOADER_NAMES), ", ".join(SYSTEM_FOLDERS), CHOICE)
    )


def torch_folders() -> List[str]:
    """Return where torch and the packages it depends on keep their libraries."""
    torch_folder = os.path.dirname(torch.__file__)
    packages = os.path.dirname(torch_folder)
    return [
        os.path.join(torch_folder, "lib"),
        os.path.join(packages, "nvidia", "cuda_nvrtc", "lib"),
        os.path.join(packages, "nvidia", "cu[0-9]*", "lib"),  # from CUDA 13 on
    ]


def in_folders(folders: Sequence[str]) -> List[str]:
    """Return the NVRTC libraries in folders: those of torch's own CUDA first, then the newest."""
    paths = [
        path for folder in folders for path in glob.glob(os.path.join(folder, "libnvrtc*.so*"))
    ]
    named = [(path, _version_in_name(path)) for path in paths]
    ours = int((torch.version.cuda or "0").split(".")[0])
    named.sort(key=lambda item: (item[1][0] == ours, item[1]), reverse=True)
    return [path for path, version in named if version is not None and _is_library(path)]


def _is_library(path: str) -> bool:
    """Tell the compiler from its helpers, libnvrtc-builtins.so and libnvrtc.alt.so."""
    return re.match(r"libnvrtc(-[0-9a-f]{8})?\.so(\.[\d.]+)?$", os.path.basename(path)) is not None


def _version_in_name(path: str) -> Tuple[int, ...]:
    """Return (11, 2) for libnvrtc.so.11.2, (0,) where the name tells none."""
    digits = os.path.basename(path).partition(".so.")[2].split(".")
    return tuple(int(part) for part in digits if part.isdigit()) or (0,)


def compile_kept(
    nvrtc: Nvrtc, source: bytes, name: str, capability: Tuple[int, int], defines: Sequence[str]
) -> bytes:
    """Return the image for a device out of the folder, compiling it if it is not there yet.

    Raises:
        NvrtcError: it cannot be compiled.
    """
    target = nvrtc.target(capability)
    key = "\n".join(["%d.%d" % nvrtc.version, target.arch, *defines, ""])
    digest = hashlib.sha256(key.encode("ascii") + source).hexdigest()[:16]
    stem = os.path.splitext(name)[0]
    path = os.path.join(
        kept_folder(), "%s-%s.%s" % (stem, digest, "cubin" if target.binary else "ptx")
    )
    image = _read(path)
    if image is None:
        image = nvrtc.compile(source, name, target, defines)
        with contextlib.suppress(OSError):  # a full or read-only disk costs time, not results
            _write(path, image)
    return image


def kept_folder() -> str:
    """Return the folder for compiled images: beside the payload's archive, or in the cache."""
    loader: Any = globals().get("__loader__")
    archive = getattr(loader, "archive", None)
    if archive:
        return os.path.join(os.path.dirname(os.path.abspath(archive)), "objects")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "gfbench", "objects")


def _read(path: str) -> Optional[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read() or None
    except OSError:
        return None


def _write(path: str, data: bytes) -> None:
    """Write a file whole or not at all, also when others write it, or the power fails."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    fd, partial = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
