"""The lines that NVIDIA's tegrastats prints, from L4T 21 to 39, by tokens and in any order.

A line is a row of tokens: names, values, and values in brackets. What a token means follows from
its form, not from its name: on AGX Xavier `CPU [..]` is the list of cores, `CPU@35C` a temperature
and `CPU 311/311` a rail. Unknown tokens are ignored; nothing in a line makes the parser raise.

The second number of a rail is the mean since the tegrastats process started, not of a window.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from targets.platforms import total_of

OFF_C = -256.0  # the marker of a temperature sensor that is switched off

_TOKEN = re.compile(r"(?:[^\s\[\]()]|\[[^\[\]]*\]|\([^()]*\))+|[\[\]()]")
_GLUED = re.compile(r"(?<=[^\s@\[(])(?=[\[(])")  # 0/252kB(lfb 252kB), CPU[..]; not 0%@[305]
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RAIL_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_ENGINE_NAME = re.compile(
    r"(?:NVENC|NVDEC|NVJPG|NVDLA|PVA|VIC|OFA|APE|MSENC|AVP|VDE|SE|ISP|VI|GR3D)[0-9]*(?:_FREQ)?"
)
_DATE = re.compile(r"([0-9]{2})-([0-9]{2})-([0-9]{4})")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})")
_USED = re.compile(r"([0-9]{1,9})/([0-9]{1,9})([kM])B")
_LFB = re.compile(r"\(\s*lfb\s+([0-9]{1,9})x([0-9]{1,6})([kM])B\s*\)")
_CACHED = re.compile(r"\(\s*cached\s+([0-9]{1,9})MB\s*\)")
_CORES = re.compile(r"\[([^\[\]]*)\](?:@(-?[0-9]{1,6}))?")
_CORE = re.compile(r"([0-9]{1,3})%(?:@(-?[0-9]{1,6}))?")
_LOAD = re.compile(r"(?:([0-9]{1,3})%)?(?:@(?:(-?[0-9]{1,6})|\[([-0-9,\s]{1,200})\]))?")
_TEMPERATURE = re.compile(
    r"([A-Za-z][A-Za-z0-9_.-]*)@(-?[0-9]{1,4}(?:\.[0-9]{1,6})?)C(?:/-?[0-9]{1,4}(?:\.[0-9]{1,6})?C)?"
)
_RAIL_MW = re.compile(r"(-?[0-9]{1,9})mW/(-?[0-9]{1,9})mW(?:/(-?[0-9]{1,9})mW)?")
_RAIL_BARE = re.compile(r"(-?[0-9]{1,9})/(-?[0-9]{1,9})")
_NOT_RAILS = ("RAM", "SWAP", "IRAM")


@dataclass(frozen=True)
class Core:
    """One processor core that is on; the clock is None where the board does not show it."""

    load_percent: int
    clock_mhz: int | None


@dataclass(frozen=True)
class Load:
    """An engine that is on: its load, and the clock of each of its parts."""

    load_percent: int | None
    clocks_mhz: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One line. What the line does not show is None or empty; RAM can be cut off its front."""

    timestamp: datetime | None = None  # naive, the board's local time
    ram_mb: tuple[int, int] | None = None  # used, total
    lfb: tuple[int, int] | None = None  # largest free blocks: how many, of how many kB
    swap_mb: tuple[int, int, int] | None = None  # used, total, cached
    iram_kb: tuple[int, int] | None = None  # used, total
    cpus: tuple[Core | None, ...] = ()  # None: off
    emc: Load | None = None
    gr3d: Load | None = None
    temperatures_c: dict[str, float | None] = field(default_factory=dict)  # None: sensor off
    rails_mw: dict[str, tuple[int, ...]] = field(default_factory=dict)  # now, mean[, maximum]
    engines: dict[str, Load | None] = field(default_factory=dict)  # None: off


def parse_line(line: str | bytes) -> Sample | None:
    """Read one line; None if it is not a sample (a prompt, a date, an empty line, garbage).

    A last token that may have been cut off is dropped, never read as a smaller number; a blank or
    a newline after it shows that it is whole. The rails of L4T 32 and older, `NAME 119/119`, have
    no unit to end them; see `looks_cut`.
    """
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    whole = text[-1:].isspace()
    tokens = [match.group() for match in _TOKEN.finditer(_GLUED.sub(" ", text))]
    reader = _Reader(tokens, whole)
    reader.read()
    return reader.sample()


def total_power_mw(sample: Sample, platform: str) -> tuple[int | None, str, str | None]:
    """Return the board's or module's input power, the rule as text, and its scope.

    The power is None where the platform has no rule, or a rail of the rule is not in the line.
    """
    total = total_of(platform, sample.rails_mw)
    if total is None:
        return None, f"{platform} has no power sensor that tegrastats reads", None
    absent = [rail for rail in total.rails if rail not in sample.rails_mw]
    if absent:
        return None, f"{total.rule}; missing from the line: {', '.join(absent)}", total.scope
    return sum(sample.rails_mw[rail][0] for rail in total.rails), total.rule, total.scope


class _Reader:
    """Walks over the tokens of one line; the first of two equal names counts."""

    def __init__(self, tokens: list[str], whole: bool) -> None:
        self.tokens = tokens
        self.whole = whole
        self.at = 0
        self.fields: dict[str, object] = {}
        self.temperatures: dict[str, float | None] = {}
        self.rails: dict[str, tuple[int, ...]] = {}
        self.engines: dict[str, Load | None] = {}
        self.maxima = False  # L4T 39 prints a maximum with every temperature and rail

    def read(self) -> None:
        readers: tuple[Callable[[str, str], int], ...] = (
            self.timestamp,
            self.memory,
            self.cores,
            self.temperature,
            self.rail,
            self.mts,
            self.load,
        )
        while self.at < len(self.tokens):
            name, value = self.peek(0), self.peek(1)
            self.at += next((used for read in readers if (used := read(name, value))), 1)

    def peek(self, ahead: int) -> str:
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else ""

    def maybe_cut(self, ahead: int) -> bool:
        """Return whether the token is the last one and nothing shows that it is whole."""
        return not self.whole and self.at + ahead == len(self.tokens) - 1

    def sample(self) -> Sample | None:
        known = any(key != "timestamp" for key in self.fields)
        if not (known or self.temperatures or self.rails or self.engines):
            return None
        return Sample(
            temperatures_c=self.temperatures,
            rails_mw=self.rails,
            engines=self.engines,
            **self.fields,  # type: ignore[arg-type]
        )

    # Each reader returns how many tokens it has understood: 0 leaves them to the next reader.

    def timestamp(self, name: str, value: str) -> int:
        date, time = _DATE.fullmatch(name), _TIME.fullmatch(value)
        if not date or not time:
            return 0
        month, day, year = map(int, date.groups())
        hour, minute, second = map(int, time.groups())
        try:
            stamp = datetime(year, month, day, hour, minute, second)
        except ValueError:
            return 0
        self.fields.setdefault("timestamp", stamp)
        return 2

    def memory(self, name: str, value: str) -> int:
        used = _USED.fullmatch(value)
        if name not in _NOT_RAILS or not used:
            return 0
        pair, unit = (int(used[1]), int(used[2])), used[3]
        if name == "IRAM" and unit == "k":
            self.fields.setdefault("iram_kb", pair)
        elif name == "RAM" and unit == "M":
            self.fields.setdefault("ram_mb", pair)
            lfb = _LFB.fullmatch(self.peek(2))
            if lfb:
                block_kb = int(lfb[2]) * (1024 if lfb[3] == "M" else 1)
                self.fields.setdefault("lfb", (int(lfb[1]), block_kb))
        elif name == "SWAP" and unit == "M":
            cached = _CACHED.fullmatch(self.peek(2))
            if cached:
                self.fields.setdefault("swap_mb", (*pair, int(cached[1])))
        return 2

    def cores(self, name: str, value: str) -> int:
        listed = _CORES.fullmatch(value)
        if name.upper() != "CPU" or not listed or (listed[2] and self.maybe_cut(1)):
            return 0
        cores: list[Core | None] = []
        for item in listed[1].split(","):
            core = _CORE.fullmatch("".join(item.split()))
            if core:
                cores.append(Core(int(core[1]), _clock(core[2] or listed[2])))
            elif item.strip().lower() == "off":
                cores.append(None)
            else:
                return 2  # one core that cannot be read would shift the others
        self.fields.setdefault("cpus", tuple(cores))
        return 2

    def temperature(self, name: str, value: str) -> int:
        match = _TEMPERATURE.fullmatch(name)
        if not match:
            return 0
        now_c = float(match[2])
        self.maxima |= "/" in name
        self.temperatures.setdefault(match[1], None if now_c == OFF_C else now_c)
        return 1

    def rail(self, name: str, value: str) -> int:
        if name in _NOT_RAILS or not _NAME.fullmatch(name):
            return 0
        match = _RAIL_MW.fullmatch(value)
        if match is None and _RAIL_NAME.fullmatch(name):
            match = _RAIL_BARE.fullmatch(value)
        if match is None:
            return 0
        rail = tuple(int(number) for number in match.groups() if number is not None)
        self.maxima |= len(rail) == 3
        cut = len(rail) == 2 and self.maybe_cut(1) and self.looks_cut(rail, value)
        if not cut and name != "NC":  # not connected
            self.rails.setdefault(name, rail)
        return 2

    def looks_cut(self, rail: tuple[int, ...], value: str) -> bool:
        """Return whether a last rail has probably lost its maximum, or digits of its mean.

        Without a unit only the size can show it: a mean of a fifth of the instant or less has more
        likely lost a digit than seen a tenfold rise in the last rail, which is never the input.
        """
        instant, mean = rail
        return self.maxima or (
            not value.endswith("W") and (5 * mean < instant or mean > 0 == instant)
        )

    def mts(self, name: str, value: str) -> int:
        """Read `MTS fg 0% bg 0%`: the loads of the Denver cores' own firmware."""
        if name != "MTS":
            return 0
        used = 1
        while self.peek(used) in ("fg", "bg"):
            load = _load(self.peek(used + 1))
            if load and not self.maybe_cut(used + 1):
                self.engines.setdefault(f"MTS {self.peek(used)}", load)
            used += 2
        return used

    def load(self, name: str, value: str) -> int:
        if not _RAIL_NAME.fullmatch(name) or name in _NOT_RAILS:
            return 0
        load = _load(value) or self.bare_clock(name, value)
        if load is None and value != "off":
            return 0
        if load is not None and not value.endswith("]") and self.maybe_cut(1):
            return 2
        if name in ("EMC_FREQ", "EMC"):
            self.fields.setdefault("emc", load)
        elif name in ("GR3D_FREQ", "GR3D"):
            self.fields.setdefault("gr3d", load)
        else:
            self.engines.setdefault(name, load)
        return 2

    def bare_clock(self, name: str, value: str) -> Load | None:
        """Read `APE 150`; only of known engines, for `Jan 26` has the same form."""
        if _ENGINE_NAME.fullmatch(name) and re.fullmatch("[0-9]{1,6}", value):
            return Load(None, (int(value),))
        return None


def _clock(text: str | None) -> int | None:
    return None if text is None or int(text) < 0 else int(text)  # -1: not known


def _load(text: str) -> Load | None:
    match = _LOAD.fullmatch(text) if text else None
    if not match:
        return None
    percent = int(match[1]) if match[1] else None
    clocks = tuple(_clocks(match[2] or match[3] or ""))
    return Load(percent, clocks)


def _clocks(text: str) -> Iterator[int]:
    for item in text.split(","):
        clock = item.strip()  # of all that \s admits; int() alone refuses some control characters
        if re.fullmatch("[0-9]{1,6}", clock):
            yield int(clock)
