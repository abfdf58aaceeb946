"""NVRTC, NVIDIA's run-time compiler, through ctypes: CUDA C in, an image for the driver out.

Any NVRTC from CUDA 10.2 on will do, and no other build tool is needed. The one that came with torch
is preferred, because it fits the driver that torch runs on. Images are kept in a folder: compiling
takes a second, on a small board several.
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
    "libnvrtc.so.11.2",  # of CUDA 11.2 to 11.8
    "libnvrtc.so.11.1",
    "libnvrtc.so.11.0",
    "libnvrtc.so.10.2",
)
SYSTEM_FOLDERS = ("/usr/local/cuda/lib64", "/usr/local/cuda/targets/*/lib")
CHOICE = "GFBENCH_NVRTC"  # environment: the path of the library to use

# What NVRTC of CUDA 10.2 to 11.1 compiles for; it has no function that says so.
_ARCHES_BEFORE_11_2 = {
    (10, 2): (30, 32, 35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75),
    (11, 0): (35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75, 80),
    (11, 1): (35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86),
}


class NvrtcError(Exception):
    """There is no NVRTC, or it cannot compile the source; the message says why."""


class Target(NamedTuple):
    """What an image is compiled for: ``sm_87`` is machine code, ``compute_87`` is PTX."""

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
        """Return the architectures it can compile for, such as 53 and 87, in ascending order."""
        if self.version in _ARCHES_BEFORE_11_2:
            return _ARCHES_BEFORE_11_2[self.version]
        count = ctypes.c_int()
        self._check(self._library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        arches = (ctypes.c_int * count.value)()
        self._check(self._library.nvrtcGetSupportedArchs(arches))
        return tuple(sorted(arches))

    def target(self, capability: Tuple[int, int]) -> Target:
        """Return what to compile for a device of a compute capability, such as (5, 3).

        That is machine code if possible, because the driver may be too old for this NVRTC's PTX;
        PTX of the nearest older architecture if the device is newer than this NVRTC.

        Raises:
            NvrtcError: the device is older than all architectures it can compile for.
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
        """Compile CUDA C and return the image, for cuModuleLoadData.

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
            options = ["--gpu-architecture=" + target.arch]
            options += ["-D" + define for define in defines]
            texts = [option.encode("ascii") for option in options]
            with _locale_kept():
                status = library.nvrtcCompileProgram(
                    program, len(texts), (ctypes.c_char_p * len(texts))(*texts)
                )
            if status:
                log = self._output("nvrtcGetProgramLog", program).rstrip(b"\0")
                text = log.decode("utf-8", "replace").strip()[-2000:]
                raise NvrtcError("%s: %s: %s" % (name, self._error(status), text))
            return self._output("nvrtcGetCUBIN" if target.binary else "nvrtcGetPTX", program)
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _output(self, getter: str, program: ctypes.c_void_p) -> bytes:
        """Return the bytes that ``getter`` of NVRTC writes; ``getter`` + Size says how many."""
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
    """Restore the thread's locale: NVRTC of CUDA 11.8 sets it to "C", which reads text as ASCII."""
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
    """Return the NVRTC that the user chose, or torch's, or the system's.

    Raises:
        NvrtcError: there is none; the message says where it was searched.
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
    """Return the folders where torch and the packages that it depends on have their libraries."""
    torch_folder = os.path.dirname(torch.__file__)
    packages = os.path.dirname(torch_folder)
    return [
        os.path.join(torch_folder, "lib"),
        os.path.join(packages, "nvidia", "cuda_nvrtc", "lib"),
        os.path.join(packages, "nvidia", "cu[0-9]*", "lib"),  # from CUDA 13 on
    ]


def in_folders(folders: Sequence[str]) -> List[str]:
    """Return the NVRTC libraries in folders: those of torch's CUDA first, and the newest first."""
    torch_major = int((torch.version.cuda or "0").split(".")[0])
    libraries = []
    for folder in folders:
        for path in glob.glob(os.path.join(folder, "libnvrtc*.so*")):
            if _is_compiler(path):
                version = _version_in_name(path)
                libraries.append((version[0] == torch_major, version, path))
    libraries.sort(key=lambda library: library[:2], reverse=True)
    return [path for _, _, path in libraries]


def _is_compiler(path: str) -> bool:
    """Return whether this is the compiler, not libnvrtc-builtins.so or libnvrtc.alt.so."""
    return re.match(r"libnvrtc(-[0-9a-f]{8})?\.so(\.[\d.]+)?$", os.path.basename(path)) is not None


def _version_in_name(path: str) -> Tuple[int, ...]:
    """Return (11, 2) for libnvrtc.so.11.2, and (0,) where the name has no version."""
    digits = os.path.basename(path).partition(".so.")[2].split(".")
    return tuple(int(part) for part in digits if part.isdigit()) or (0,)


def compile_kept(
    nvrtc: Nvrtc, source: bytes, name: str, capability: Tuple[int, int], defines: Sequence[str]
) -> bytes:
    """Return the image for a device from the folder, compiling it if it is not there yet.

    Raises:
        NvrtcError: it cannot be compiled.
    """
    target = nvrtc.target(capability)
    key = "\n".join(["%d.%d" % nvrtc.version, target.arch, *defines, ""])
    digest = hashlib.sha256(key.encode("ascii") + source).hexdigest()[:16]
    suffix = "cubin" if target.binary else "ptx"
    file_name = "%s-%s.%s" % (os.path.splitext(name)[0], digest, suffix)
    path = os.path.join(kept_folder(), file_name)
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
    """Write a file whole or not at all, even if others write it too or the power fails."""
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
