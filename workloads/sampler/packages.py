"""Sensors read through third-party packages, imported only when the inventory asks for them.

jtop     jetson-stats: the readings that its root service hands out (``power: jtop``)
pyrapl   pyRAPL: the counters of x86 processors (``power: pyrapl``)
pynvml   nvidia-ml-py: NVIDIA's own binding of NVML (``power: pynvml``)

``explain`` turns the errors of each into what is wrong and what to do about it.
"""

import threading
from typing import Any, Dict, Tuple, Union

from workloads.machine import nvml
from workloads.sampler.sensors import CLOCK, Nvml, Write, channels_of, poll

PROBE_INTERVAL_S = 0.5
UNITS = ("pkg", "dram")  # in the order of pyRAPL's own Device numbers


class Jtop:
    """The rails of jetson-stats, as its service sends them."""

    def __init__(self, spec: Dict[str, Any], sysroot: str) -> None:
        """Remember the rails; nothing is imported yet."""
        self._id = str(spec["id"])
        self._interval_s = float(spec["interval_s"])
        self._channels = channels_of(spec)

    def run(self, write: Write, stop: threading.Event) -> None:
        """Write every rail's power as often as the service sends it, until told to stop."""
        try:
            from jtop import jtop

            with jtop(interval=self._interval_s) as client:
                while not stop.is_set() and client.ok():  # waits for the next readings
                    now = CLOCK()
                    rails = client.power["rail"]
                    for channel in self._channels:
                        rail = rails.get(channel.path.partition(":")[2])
                        write(now, channel.id, "!absent" if rail is None else str(rail["power"]))
        except Exception as error:
            write(CLOCK(), self._id, "!" + " ".join(explain("jtop", error)))

    def close(self) -> None:
        """Do nothing: the client is closed by the thread that uses it."""


class PyRapl:
    """The counters of pyRAPL, in microjoules."""

    def __init__(self, spec: Dict[str, Any], sysroot: str) -> None:
        """Remember the counters; nothing is imported yet."""
        self._id = str(spec["id"])
        self._interval_s = float(spec["interval_s"])
        self._channels = channels_of(spec)

    def run(self, write: Write, stop: threading.Event) -> None:
        """Read every counter until told to stop."""
        try:
            sensor = _pyrapl_sensor()

            def read_all() -> None:
                before = CLOCK()
                counters = _counters(sensor)
                middle = 0.5 * (before + CLOCK())
                for channel in self._channels:
                    value = counters.get(channel.path.partition(":")[2])
                    write(middle, channel.id, "!absent" if value is None else "%.0f" % value)

            poll(read_all, self._interval_s, stop)
        except Exception as error:
            write(CLOCK(), self._id, "!" + " ".join(explain("pyrapl", error)))

    def close(self) -> None:
        """Do nothing: pyRAPL keeps files open until the process ends."""


class PynvmlLibrary:
    """nvidia-ml-py behind the methods of ``nvml.Library``."""

    def __init__(self) -> None:
        """Import and initialise it.

        Raises:
            nvml.NvmlError: the package is not installed, or the driver does not answer.
        """
        try:
            import pynvml
        except ImportError as error:
            raise nvml.NvmlError("nvidia-ml-py: %s" % error) from error
        self._pynvml = pynvml
        self._guard(pynvml.nvmlInit)

    def close(self) -> None:
        """Shut the library down."""
        self._guard(self._pynvml.nvmlShutdown)

    def count(self) -> int:
        """Return the number of cards."""
        return int(self._guard(self._pynvml.nvmlDeviceGetCount))

    def name(self, index: int) -> str:
        """Return a card's name."""
        return _text(self._guard(self._pynvml.nvmlDeviceGetName, self._handle(index)))

    def uuid(self, index: int) -> str:
        """Return a card's own identifier."""
        return _text(self._guard(self._pynvml.nvmlDeviceGetUUID, self._handle(index)))

    def read(self, index: int, quantity: str) -> Union[int, float]:
        """Return one of ``nvml.QUANTITIES`` of a card, in mJ or mW.

        Raises:
            nvml.NvmlError: the card does not report it.
        """
        handle = self._handle(index)
        if quantity == "energy":
            return int(self._guard(self._pynvml.nvmlDeviceGetTotalEnergyConsumption, handle))
        if quantity == "power":
            return int(self._guard(self._pynvml.nvmlDeviceGetPowerUsage, handle))
        call = self._pynvml.nvmlDeviceGetFieldValues
        field = self._guard(call, handle, [nvml.FIELD_POWER_INSTANT])[0]
        if field.nvmlReturn:
            reason = nvml.ERRORS.get(field.nvmlReturn, "error %d" % field.nvmlReturn)
            raise nvml.NvmlError("nvidia-ml-py: power field: %s" % reason)
        return int(field.value.uiVal)

    def _handle(self, index: int) -> Any:
        return self._guard(self._pynvml.nvmlDeviceGetHandleByIndex, index)

    def _guard(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except (self._pynvml.NVMLError, AttributeError) as error:
            raise nvml.NvmlError("nvidia-ml-py: %s" % error) from None


def make_pynvml(spec: Dict[str, Any], sysroot: str) -> Nvml:
    """Return the sensor of a card that is read through nvidia-ml-py."""
    return Nvml(spec, sysroot, PynvmlLibrary)


KINDS: Dict[str, Any] = {"jtop": Jtop, "pyrapl": PyRapl, "pynvml": make_pynvml}


def facts(kind: str) -> Dict[str, Any]:
    """Return what a package offers here, or ``{"error": ..., "remedy": ...}``; never raises."""
    try:
        if kind == "jtop":
            return _jtop_facts()
        if kind == "pyrapl":
            return {"counters": _counters(_pyrapl_sensor())}
        return nvml.facts(PynvmlLibrary()) or {}
    except Exception as error:
        reason, remedy = explain(kind, error)
        return {"error": reason, "remedy": remedy}


def explain(kind: str, error: Exception) -> Tuple[str, str]:
    """Return why a package does not work here, and what to do about it, in two sentences."""
    text = " ".join(str(error).split())
    name = {"jtop": "jetson-stats", "pyrapl": "pyRAPL", "pynvml": "nvidia-ml-py"}[kind]
    if isinstance(error, ImportError) or isinstance(error.__cause__, ImportError):
        return (
            "%s is not installed for this Python (%s)." % (name, text),
            "Install it there, or use power: auto, which needs no package.",
        )
    if kind == "jtop":
        return _explain_jtop(text or type(error).__name__)
    if kind == "pyrapl":
        return _explain_pyrapl(error, text)
    return "%s does not work: %s." % (name, text), "Run nvidia-smi to see whether the driver works."


def _explain_jtop(text: str) -> Tuple[str, str]:
    low = text.lower()
    if "not active" in low:
        return (
            "The jtop service is not running (%s)." % text,
            "sudo systemctl enable --now jtop.service, or sudo jtop --install-service",
        )
    if "mismatch" in low or "authentication" in low:
        return (
            "The jtop service and this Python's jetson-stats differ in version (%s)." % text,
            "Install the version that the service has: jtop --version shows it.",
        )
    if "access" in low or "permission" in low:
        return (
            "This user may not talk to the jtop service (%s)." % text,
            'sudo usermod -aG jtop "$USER", then log in again.',
        )
    return "jetson-stats does not work: %s." % text, "sudo systemctl status jtop.service"


def _explain_pyrapl(error: Exception, text: str) -> Tuple[str, str]:
    if isinstance(error, PermissionError):
        return (
            "The RAPL counters may be read by root only (%s)." % text,
            "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj"
            "  (until the next boot; only on hosts you trust)",
        )
    if "PyRAPL" in type(error).__name__:
        return (
            "pyRAPL finds no RAPL counters (MSR) that it understands: a virtual machine, an AMD "
            "or multi-die processor, or a kernel without intel_rapl.",
            "sudo modprobe intel_rapl_msr, or use power: auto, which reads more kinds of counters.",
        )
    return "pyRAPL does not work: %s: %s." % (type(error).__name__, text), "Use power: auto."


def _jtop_facts() -> Dict[str, Any]:
    from jtop import jtop

    with jtop(interval=PROBE_INTERVAL_S) as client:
        client.ok()
        rails = {str(name): rail.get("power") for name, rail in client.power["rail"].items()}
        return {"rails": rails, "interval_s": float(getattr(client, "interval", 0.0)) or None}


def _pyrapl_sensor() -> Any:
    from pyRAPL import Sensor

    return Sensor()


def _counters(sensor: Any) -> Dict[str, float]:
    """Return ``pkg:0``, ``dram:0``, ... -> microjoules of the counters that this machine has."""
    counters: Dict[str, float] = {}
    for device, value in enumerate(sensor.energy()):
        if value >= 0:
            counters["%s:%d" % (UNITS[device % 2], device // 2)] = float(value)
    return counters


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
