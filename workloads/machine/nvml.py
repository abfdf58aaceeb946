"""NVIDIA's management library, loaded by its name: energy and power of a card, no package needed.

Constants and structures are those of NVIDIA's nvml.h. Each call is checked by itself: a card that
does not know a quantity answers "not supported", and the other quantities are read all the same.
"""

import contextlib
import ctypes
from typing import Any, Dict, Optional, Union

LIBRARY = "libnvidia-ml.so.1"
# A field identifier. On Ampere and newer cards the plain power reading is an average over one
# second; this field is instantaneous.
FIELD_POWER_INSTANT = 186
QUANTITIES = ("energy", "power_instant", "power")  # mJ, mW, mW
NAME_BYTES = 96
ERRORS = {
    1: "the library is not initialised",
    3: "not supported by this card",
    4: "no permission",
    6: "no such card",
    9: "the driver is not loaded",
    12: "the driver's library has no such function",
    15: "the card has fallen off the bus",
    18: "library and driver have different versions (reboot)",
}
# nvmlValueType_t -> the type of a field's value
VALUE_TYPES: Dict[int, Any] = {
    0: ctypes.c_double,
    1: ctypes.c_uint,
    2: ctypes.c_ulong,
    3: ctypes.c_ulonglong,
    4: ctypes.c_longlong,
    5: ctypes.c_int,
}


class NvmlError(Exception):
    """A call did not give a figure; the message says why."""


class FieldValue(ctypes.Structure):
    """``nvmlFieldValue_t``."""

    _fields_ = [
        ("field_id", ctypes.c_uint),
        ("scope_id", ctypes.c_uint),
        ("timestamp", ctypes.c_longlong),
        ("latency_us", ctypes.c_longlong),
        ("value_type", ctypes.c_uint),
        ("status", ctypes.c_uint),
        ("value", ctypes.c_ubyte * 8),
    ]


class Library:
    """The loaded and initialised library."""

    def __init__(self, name: str = LIBRARY) -> None:
        """Load and initialise it.

        Raises:
            NvmlError: it is not installed, or the driver does not answer.
        """
        try:
            self._library = ctypes.CDLL(name)
        except OSError as error:
            raise NvmlError("NVML: %s" % error) from None
        self._handles: Dict[int, ctypes.c_void_p] = {}
        self._call("nvmlInit_v2")

    def close(self) -> None:
        """Shut the library down."""
        with contextlib.suppress(NvmlError):
            self._call("nvmlShutdown")

    def count(self) -> int:
        """Return the number of cards."""
        number = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(number))
        return number.value

    def name(self, index: int) -> str:
        """Return a card's name."""
        return self._text("nvmlDeviceGetName", index)

    def uuid(self, index: int) -> str:
        """Return a card's own identifier."""
        return self._text("nvmlDeviceGetUUID", index)

    def read(self, index: int, quantity: str) -> Union[int, float]:
        """Return one of QUANTITIES of a card, in mJ or mW.

        Raises:
            NvmlError: the card does not report it.
        """
        if quantity == "energy":
            energy = ctypes.c_ulonglong()
            call = "nvmlDeviceGetTotalEnergyConsumption"
            self._call(call, self._handle(index), ctypes.byref(energy))
            return energy.value
        if quantity == "power":
            power = ctypes.c_uint()
            self._call("nvmlDeviceGetPowerUsage", self._handle(index), ctypes.byref(power))
            return power.value
        return self._field(index, FIELD_POWER_INSTANT)

    def _field(self, index: int, field_id: int) -> Union[int, float]:
        field = FieldValue(field_id=field_id)
        call = "nvmlDeviceGetFieldValues"
        self._call(call, self._handle(index), ctypes.c_int(1), ctypes.byref(field))
        self._check(call, field.status)
        kind = VALUE_TYPES.get(field.value_type)
        if kind is None:
            raise NvmlError("NVML: a value of unknown type %d" % field.value_type)
        number: Union[int, float] = kind.from_buffer_copy(
            bytes(field.value).ljust(ctypes.sizeof(kind), b"\0")
        ).value
        return number

    def _handle(self, index: int) -> ctypes.c_void_p:
        if index not in self._handles:
            handle = ctypes.c_void_p()
            call = "nvmlDeviceGetHandleByIndex_v2"
            self._call(call, ctypes.c_uint(index), ctypes.byref(handle))
            self._handles[index] = handle
        return self._handles[index]

    def _text(self, call: str, index: int) -> str:
        buffer = ctypes.create_string_buffer(NAME_BYTES)
        self._call(call, self._handle(index), buffer, ctypes.c_uint(NAME_BYTES))
        return buffer.value.decode("utf-8", "replace")

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, name, None)
        if function is None:
            raise NvmlError("NVML: the driver's library has no %s" % name)
        function.restype = ctypes.c_int
        self._check(name, function(*arguments))

    @staticmethod
    def _check(name: str, status: int) -> None:
        if status:
            reason = ERRORS.get(status, "error %d" % status)
            raise NvmlError("NVML: %s: %s" % (name, reason))


def facts(library: Optional[Any] = None) -> Optional[Dict[str, Any]]:
    """Return the cards with their energy and power; None without the library.

    ``{"cards": [{"index", "name", "uuid", "energy": 123, "power": "!NVML: ..."}]}``, or
    ``{"error": reason}`` where the library is installed and does not work.
    """
    try:
        opened = Library() if library is None else library
    except NvmlError as error:
        absent = "cannot open shared object" in str(error)
        return None if absent else {"error": str(error)}
    try:
        return {"cards": [_card(opened, index) for index in range(opened.count())]}
    except NvmlError as error:
        return {"error": str(error)}
    finally:
        opened.close()


def _card(library: Any, index: int) -> Dict[str, Any]:
    card: Dict[str, Any] = {
        "index": index,
        "name": _guarded(library.name, index),
        "uuid": _guarded(library.uuid, index),
    }
    for quantity in QUANTITIES:
        card[quantity] = _guarded(library.read, index, quantity)
    return card


def _guarded(call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except NvmlError as error:
        return "!%s" % error
