"""INA monitors as the kernel shows them: hwmon (JetPack 5 and newer, HATs) and iio (JetPack 4).

ina3221 (kernel Documentation/hwmon/ina3221): in1..in3 bus voltage in mV, curr1..curr3 in mA and no
power; in4..in6 are *shunt* voltages in microvolt, in7 and curr4 are sums of the others. Only
channels 1 to 3 are rails. Not to be read: `in_power*_trigger_input` of the iio driver.

A rail's name is its channel's label, else the `label` file of the whole hwmon device, else the chip
with its I2C address: ina219@0x40. One-channel monitors are read by volts and amperes, for their
power register (`power1_input`) holds no sign: a battery that charges would look like a load.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from targets.sensors.rails import Files, Reading, SensedRail, folders, number_of, text_of

INA2XX = ("ina209", "ina219", "ina220", "ina226", "ina230", "ina231", "ina260")
INA238 = ("ina228", "ina237", "ina238")
TOLERANCE = 0.02  # gain of the monitor and of a 1 % shunt
BUS_STEP_V = 0.008  # INA3221
SHUNT_STEP_V = 40e-6  # INA3221
SINGLE_BUS_STEP_V = 0.004  # INA219; INA226 and INA238 have finer ones
PRINTED_STEP_A = 0.001  # curr1_input has whole milliamperes; at 10 mOhm that is a chip's own step
# Without a shunt's value: 2 mOhm, the smallest on a Jetson, hence the coarsest step.
SMALLEST_SHUNT_OHM = 0.002
# JetPack 4: TX2's device tree asks for 512 samples x 3 channels x 0.28 ms; the driver's own
# default is 64 x 3 x 2.2 ms.
IIO_UPDATE_S = 0.43
# Seen in recorded logs of Nano and TX2: readings are multiples of 38 to 40 mW.
IIO_STEP_W = 0.04
AVERAGE_FROM_S = 0.1  # a monitor that takes longer than this covers the time between two readings

_I2C = re.compile(r"(?:^|/)([0-9]{1,4}-00([0-9a-f]{2}))(?=/|$)")  # bus-address, as in 1-0040
_NUMBERED = re.compile(r"(?:hwmon|iio:device)[0-9]+")


def ina_rails(files: Files, *, shunt_ohm: float | None = None) -> tuple[SensedRail, ...]:
    """Return the rails of all INA monitors, unreadable ones included, each monitor once.

    Args:
        files: The probe's files, path to content.
        shunt_ohm: The board's shunt, where the driver does not show it.
    """
    rails: list[SensedRail] = []
    seen: set[str] = set()
    places: dict[str, str] = {}
    for folder, content in folders(files).items():
        keys = _identities(folder, content)
        in_folder = tuple(_folder_rails(folder, content, shunt_ohm))
        if in_folder and not keys & seen:
            rails += in_folder
            seen |= keys
            i2c = _i2c_of(folder, content)
            places[folder] = i2c[1] if i2c else folder.rpartition("/")[2]
    return _unique(rails, places)


def _folder_rails(
    folder: str, content: Mapping[str, str], shunt_ohm: float | None
) -> Iterator[SensedRail]:
    chip = (text_of(content, "name") or "").lower()
    if chip == "ina3221":
        yield from _ina3221(folder, content, shunt_ohm)
    elif chip in INA2XX or chip in INA238:
        yield _single(folder, content, chip)
    elif any(name.startswith("rail_name_") for name in content):
        yield from _ina3221x(folder, content)


def _ina3221(
    folder: str, content: Mapping[str, str], shunt_ohm: float | None
) -> Iterator[SensedRail]:
    interval_s = _milliseconds(content)
    device_label = text_of(content, "label")
    device = device_label or _chip_at(folder, content, "ina3221")
    for channel in (1, 2, 3):
        label = text_of(content, f"in{channel}_label")
        names = (f"in{channel}_input", f"curr{channel}_input")
        switched_off = text_of(content, f"in{channel}_enable") == "0"
        if label == "NC" or switched_off or not any(name in content for name in names):
            continue
        shunt = number_of(content, f"shunt{channel}_resistor")
        ohm = shunt * 1e-6 if shunt else shunt_ohm or SMALLEST_SHUNT_OHM
        yield SensedRail(
            name=label or f"{device} channel {channel}",
            sensor="hwmon-ina3221",
            kind="volt_amp",
            readings=_readings(folder, content, zip(names, ("mV", "mA"), strict=True)),
            resolution=(BUS_STEP_V, SHUNT_STEP_V / ohm),
            tolerance=TOLERANCE,
            conversion=_conversion(interval_s),
            update_interval_s=interval_s,
            labelled=label is not None or device_label is not None,
        )


def _single(folder: str, content: Mapping[str, str], chip: str) -> SensedRail:
    """Read a one-channel monitor: volts times amperes, its own power where it has only that."""
    interval_s = _milliseconds(content)
    shunt = number_of(content, "shunt_resistor")
    scale = 10_000 / shunt if shunt else 1.0  # the steps are inverse to the shunt
    pairs: tuple[tuple[str, str], ...] = (("in1_input", "mV"), ("curr1_input", "mA"))
    steps: tuple[float, ...] = (SINGLE_BUS_STEP_V, max(1.0, scale) * PRINTED_STEP_A)
    if "power1_input" in content and not all(name in content for name, _ in pairs):
        pairs = (("power1_input", "uW"),)
        steps = (_power_step_w(chip) * scale,)
    labels = (text_of(content, name) for name in ("in1_label", "power1_label", "label"))
    label = next(filter(None, labels), None)
    return SensedRail(
        name=label or _chip_at(folder, content, chip),
        sensor=f"hwmon-{chip}",
        kind="power" if len(pairs) == 1 else "volt_amp",
        readings=_readings(folder, content, pairs),
        resolution=steps,
        tolerance=TOLERANCE,
        conversion=_conversion(interval_s),
        update_interval_s=interval_s,
        labelled=label is not None,
    )


def _power_step_w(chip: str) -> float:
    """Return the step of the power register at a shunt of 10 mOhm (data sheets, drivers)."""
    if chip in INA238:
        return 0.0004
    return 0.00625 if chip in ("ina226", "ina230", "ina231") else 0.02


def _ina3221x(folder: str, content: Mapping[str, str]) -> Iterator[SensedRail]:
    for channel in (0, 1, 2):
        label = text_of(content, f"rail_name_{channel}")
        if label is None or label == "NC":
            continue
        power = f"in_power{channel}_input"
        voltage, current = f"in_voltage{channel}_input", f"in_current{channel}_input"
        by_power = power in content or current not in content
        pairs = ((power, "mW"),) if by_power else ((voltage, "mV"), (current, "mA"))
        yield SensedRail(
            name=label,
            sensor="iio-ina3221x",
            kind="power" if by_power else "volt_amp",
            readings=_readings(folder, content, pairs),
            resolution=(IIO_STEP_W,) if by_power else (BUS_STEP_V, 0.008),
            tolerance=TOLERANCE,
            conversion="average",
            update_interval_s=IIO_UPDATE_S,
        )


def _readings(
    folder: str,
    content: Mapping[str, str],
    pairs: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...],
) -> tuple[Reading, ...]:
    return tuple(
        Reading(path=f"{folder}/{name}", unit=unit, raw=content.get(name)) for name, unit in pairs
    )


def _milliseconds(content: Mapping[str, str]) -> float | None:
    interval_ms = number_of(content, "update_interval")
    return interval_ms / 1000 if interval_ms else None


def _conversion(interval_s: float | None) -> str:
    return "average" if interval_s is not None and interval_s >= AVERAGE_FROM_S else "instant"


def _identities(folder: str, content: Mapping[str, str]) -> set[str]:
    """Return what distinguishes a monitor from others, however its folder was reached."""
    base = folder.rpartition("/")[2]
    keys = set()
    i2c = _i2c_of(folder, content)
    if i2c:
        keys.add(i2c[1])
    if _NUMBERED.fullmatch(base):
        keys.add(base)
    return keys or {folder}


def _i2c_of(folder: str, content: Mapping[str, str]) -> re.Match[str] | None:
    """Find bus and address: in the folder's path, or where the link `device` in it leads."""
    return _I2C.search(folder) or _I2C.search(text_of(content, "device") or "")


def _chip_at(folder: str, content: Mapping[str, str], chip: str) -> str:
    """Name a monitor without a label: ina219@0x40, or the chip alone where no address is shown."""
    i2c = _i2c_of(folder, content)
    return f"{chip}@0x{i2c[2]}" if i2c else chip


def _unique(rails: list[SensedRail], places: Mapping[str, str]) -> tuple[SensedRail, ...]:
    """Add to a name that several rails have the monitor's place, within one monitor the file."""
    count = Counter(rail.name for rail in rails)
    names: set[str] = set()
    unique = []
    for rail in rails:
        folder, _, file = rail.readings[0].path.rpartition("/")
        name = f"{rail.name} ({places[folder]})" if count[rail.name] > 1 else rail.name
        if name in names:
            name = f"{rail.name} ({places[folder]}/{file})"
        names.add(name)
        unique.append(rail.named(name))
    return tuple(unique)
