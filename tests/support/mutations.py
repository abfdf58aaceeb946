"""Mutated lines of what boards and meters print, and every parser that reads such lines.

    GFBENCH_FUZZ_LINES=100000 pytest tests/test_mutated_lines.py

A parser's check reads one text, asserts what holds of anything it makes of it, and returns whether
there was something to read: so a fuzz that reads nothing is seen.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from telemetry_data import FOLDER, lines, manifest, text

from harness.power.log import HEADER, make_trace, rail_map_of
from harness.power.meter_columns import FormatError
from harness.power.meter_rows import read_rows
from reports.results.read import parse_trace
from reports.results.records import MachineState
from reports.results.throttle import throttled
from targets.findings import findings
from targets.platforms import PLATFORMS
from targets.power_plans import plan_power
from targets.sensors.hwmon import ina_rails
from targets.sensors.jetson_state import power_mode
from targets.sensors.rails import power_now_w
from targets.sensors.rapl import rapl_rails
from targets.sensors.throttle import throttle_evidence
from targets.sensors.vcgencmd import get_throttled, pmic_read_adc
from targets.sources import SOURCES
from targets.tegrastats import Sample, parse_line, total_power_mw

FIELD = FOLDER.parent / "field"
MAX_BYTES = 4000
BRACKETS = (b"[", b"]", b"(", b")", b"%@", b"/", b"-", b"9" * 30)
BLANKS = (b"\x1c", b"\x1f", b"\x85", b"\xc2\xa0", b"\xe2\x80\x83", b"\t", b"\x0b", b"\0")


@dataclass(frozen=True, kw_only=True)
class Parser:
    """One reader of lines, with lines as they are to begin with."""

    base: Sequence[bytes]
    check: Callable[[bytes], bool]
    readable: float  # the share of mutated lines in which there is still something to read
    every: int = 1  # one line in so many; what plans a whole machine for each takes its time


def mutated(line: bytes, other: bytes, rng: random.Random) -> bytes:
    """Change a line as a torn pipe, a bad terminal or a cosmic ray would."""
    data = bytearray(line)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0:
                del data[at:]
            case 1:
                del data[:at]
            case 2:
                data[at : at + rng.randint(1, 12)] = b""
            case 3:
                data[at:at] = bytes(rng.choices(range(256), k=rng.randint(1, 6)))
            case 4:
                data[at:at] = rng.choice(BRACKETS)
            case 5:
                data[at:at] = rng.choice(BLANKS)
            case 6:
                data[at:] = other[rng.randrange(len(other) + 1) :]
            case _:
                data[at:at] = data[: rng.randrange(len(data) + 1)]
        del data[MAX_BYTES:]
    return bytes(data)


def well_formed(sample: Sample | None) -> bool:
    """Return whether a sample of tegrastats has what every sample has."""
    if sample is None:
        return True
    rails = all(len(rail) in (2, 3) for rail in sample.rails_mw.values())
    return rails and sample != Sample() and "NC" not in sample.rails_mw


def _tegrastats(line: bytes) -> bool:
    sample = parse_line(line)
    assert well_formed(sample)
    if sample is None:
        return False
    power_mw, rule, _ = total_power_mw(sample, "jetson-agx-orin")
    assert rule
    assert power_mw is None or sample.rails_mw
    return True


def _nvpmodel(said: bytes) -> bool:
    mode = power_mode(_text(said))
    if mode is not None:
        assert mode.name
        assert "\n" not in mode.name
    return mode is not None


def _vcgencmd(said: bytes) -> bool:
    reply = _text(said)
    flags = get_throttled(reply)
    evidence = throttled(
        MachineState(get_throttled="throttled=0x0"), MachineState(get_throttled=reply)
    )
    assert evidence is None or evidence.startswith("throttled during the block")
    return flags is not None


def _pmic(said: bytes) -> bool:
    reply = pmic_read_adc(_text(said))
    power_w = reply.total_w
    assert power_w is None or math.isfinite(power_w)
    assert SOURCES["vcgencmd"].readings is not None
    for _, value in SOURCES["vcgencmd"].readings(_text(said)):
        assert math.isfinite(float(value))
    return bool(reply.volts or reply.amperes)


def _command(line: bytes) -> bool:
    assert SOURCES["command"].readings is not None
    readings = tuple(SOURCES["command"].readings(_text(line)))
    assert all(math.isfinite(float(value)) for _, value in readings)
    return bool(readings)


_METER = [f"{t / 2},{3.2 + t % 5 / 10:.2f}" for t in range(8)]


def _meter_csv(line: bytes) -> bool:
    """Read a file in which the line stands once as the header and once as a row."""
    read = 0
    for place in (0, 4):
        table = ["time_s,watts", *_METER]
        table[place] = _text(line)
        try:
            rows = read_rows(table, 100)
        except FormatError:
            continue
        assert all(math.isfinite(t_s) and math.isfinite(watts) for t_s, watts in rows.readings)
        read += len(rows.readings) + rows.skipped
    return read > 0


def _log(row: bytes) -> bool:
    """Read a log with the row in it, of a program that prints and of sensor files."""
    read = True
    for rail_map, last in _LOGS:
        made = make_trace(HEADER + row + b"\n2.0," + last + b",7.5\n", rail_map)
        assert made.trace.startswith(HEADER)
        trace = parse_trace(_text(made.trace).splitlines()[1:])
        for times_s, values in trace.values():
            assert np.isfinite(times_s).all()
            assert np.isfinite(values).all()
        read &= "c0" in trace and trace["c0"][1][-1] == 7.5
    return read


def _sensor_files(row: bytes) -> bool:
    """Read a board's files of which one line of the manifest has changed."""
    path, _, content = _text(row).partition("\t")
    files = {**_ORIN_FILES, path: content}
    rails = [*ina_rails(files), *rapl_rails(files)[0]]
    assert len({rail.name for rail in ina_rails(files)}) == len(ina_rails(files))
    assert all(value >= 0 or value < 0 for value in throttle_evidence(files).values())
    assert all(rail.power_w is None or math.isfinite(rail.power_w) for rail in rails)
    return bool(rails)


def _whole_probe(row: bytes) -> bool:
    """Plan the power of a machine and judge it, with one line of its manifest changed."""
    path, _, content = _text(row).partition("\t")
    read = False
    for platform_id, files in _MACHINES.items():
        read |= _judged(platform_id, {"files": {**files, path: content}})
    return read


def _program_output(said: bytes) -> bool:
    """Plan the power of boards whose programs say this, and judge it."""
    outputs = dict.fromkeys(_COMMANDS, _text(said))
    programs = {command.partition(" ")[0]: "/usr/bin/x" for command in _COMMANDS}
    probe = {"programs": programs, "outputs": outputs}
    pi = _judged("raspberry-pi-5", probe)
    nano = _judged("jetson-nano", probe)
    return pi or nano


def _judged(platform_id: str, probe: Mapping[str, Any]) -> bool:
    plan = plan_power(platform_id, probe)
    assert plan.total or any(item.what == "power" and item.remedy for item in plan.missing)
    for rail in plan.rails:
        power_w = power_now_w(plan, rail, probe.get("files", {}))
        assert power_w is None or math.isfinite(power_w)
    assert all(finding.remedy for finding in findings(platform_id, probe, plan))
    return bool(plan.total)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")  # as the board and the controller read everything


def _manifests(*names: str) -> dict[str, str]:
    return {path: content for name in names for path, content in manifest(name).items()}


def _rows(files: Mapping[str, str]) -> list[bytes]:
    return [f"{path}\t{content}".encode() for path, content in files.items()]


def _field(case: str, *names: str) -> list[bytes]:
    return [(FIELD / case / name).read_bytes() for name in names]


_COMMANDS = ("vcgencmd pmic_read_adc", "vcgencmd get_throttled", "nvpmodel -q", "tegrastats")
_ORIN_FILES = _manifests("sysfs-ina3221-orin-nano-throttle.tsv")
_LOGS = (
    (rail_map_of(plan_power("linux-arm", {}, "command", "meter")), b"command"),
    (rail_map_of(plan_power("jetson-orin-nano", {"files": _ORIN_FILES})), b"c0"),
)
_H2_FILES = manifest("../field/H2-two-ina219-in-series/sysroot.tsv")
_MACHINES = {"linux-x86": manifest("rapl-amd-zen.tsv"), "raspberry-pi-4": _H2_FILES}
_TEGRASTATS = [line for path in sorted(FOLDER.glob("*.log")) for line in lines(path.name)[:12]]
_PMIC = [text("vcgencmd-pi5-pmic-read-adc-idle.txt").encode()]
_PMIC += _field("P1-pi5-pmic-zero-rails", "pmic_read_adc.txt")
_NVPMODEL = _field("J1-nvpmodel-variants", "a.txt", "b.txt", "c.txt")
_NVPMODEL.append(text("state-nano-nvpmodel-nonroot.txt").encode())
_WORDS = _field("P2-vcgencmd-vchi-failed", "said.txt")
_WORDS += _field("P4-vcgencmd-says-error-with-0", "said.txt")
_METER_LINES = [b"time,watts", b"Time (s);Power [mW]", b"timestamp_ms\tvoltage\tcurrent_ma"]
_METER_LINES += [b"1.5,3.25", b"2026-11-22T19:00:02Z,3.25", b"1,5;3,25", b'"1.5","3.25"', b"2,nan"]
_LOG_ROWS = [b"1.0,command,7.5 W", b'1.5,command,"7,5"', b"1.5,command,!ended by itself"]
_LOG_ROWS += [b"1.5,c0,5000", b"1.5,c1,!EIO"]

PARSERS = {
    "tegrastats": Parser(base=_TEGRASTATS, check=_tegrastats, readable=0.5),
    "nvpmodel": Parser(base=_NVPMODEL, check=_nvpmodel, readable=0.2),
    "vcgencmd": Parser(
        base=[b"throttled=0x50005\n", *_WORDS],
        check=_vcgencmd,
        readable=0.02,
    ),
    "pmic": Parser(base=_PMIC, check=_pmic, readable=0.5),
    "meter command": Parser(
        base=[b"3.25", b"3,25", b"12.5 W", b"1.2e1w", b"nan"], check=_command, readable=0.1
    ),
    "meter csv": Parser(base=_METER_LINES, check=_meter_csv, readable=0.5),
    "power log": Parser(base=_LOG_ROWS, check=_log, readable=0.9),
    "sensor files": Parser(base=_rows(_ORIN_FILES), check=_sensor_files, readable=0.9),
    "plan of a probe": Parser(
        base=[row for files in _MACHINES.values() for row in _rows(files)],
        check=_whole_probe,
        readable=0.9,
        every=5,
    ),
    "plan of a program": Parser(
        base=[*_PMIC, *_NVPMODEL, *_WORDS, *_TEGRASTATS[:40]],
        check=_program_output,
        readable=0.02,
        every=5,
    ),
}
assert set(_MACHINES) <= set(PLATFORMS)
