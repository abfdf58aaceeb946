"""Numbers with units, and names, as people read them; the only place that scales units."""

from __future__ import annotations

import math
import re

from workloads.spec.messages import Case
from workloads.spec.methods import METHODS

NBSP = "\N{NO-BREAK SPACE}"
TIMES = "\N{MULTIPLICATION SIGN}"
PREFIXES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "J": ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
    "W": ((1.0, "W"), (1e-3, "mW")),
    "B": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
}
NOT_USABLE = "not a usable gradient"
KERNELS = {"torch-channels-last": "channels-last"}  # short labels; others have their own names
SYMBOLS = {"1": "", "degC": " °C", TIMES: TIMES}  # of units without prefixes; others: " unit"


def significant(value: float, digits: int = 3) -> str:
    """Return the number with significant digits; with an exponent only if very small or large."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "—"
    exponent = math.floor(math.log10(abs(value)))
    if not -4 <= exponent < 7:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - exponent)
    return f"{value:.{decimals}f}"


def quantity(value: float | None, unit: str) -> str:
    """Return the value with its unit; an em dash for None."""
    if value is None:
        return "—"
    scale, symbol = scale_of(value, unit)
    return f"{significant(value / scale)}{symbol}"


def interval(low: float | None, high: float | None, unit: str) -> str:
    """Return ``low to high unit``; empty without an interval."""
    if low is None or high is None:
        return ""
    scale, symbol = scale_of(max(abs(low), abs(high)), unit)
    return f"{significant(low / scale)} to {significant(high / scale)}{symbol}"


def scale_of(value: float, unit: str) -> tuple[float, str]:
    """Return the divisor and the symbol (with its space) for a value of this size."""
    steps = PREFIXES.get(unit)
    if steps is None:
        return 1.0, SYMBOLS.get(unit, f" {unit}")
    for scale, symbol in steps:
        if abs(value) >= scale:
            return scale, f" {symbol}"
    return steps[-1][0], f" {steps[-1][1]}"


def times(ratio: float | None) -> str:
    """Return a ratio with its multiplication sign."""
    return "—" if ratio is None else f"{significant(ratio)}{TIMES}"


def percent(ratio: float) -> str:
    """Return a ratio as a percentage."""
    return f"{significant(100 * ratio, 2 if ratio < 1 else 3)} %"


def is_usable(method: str) -> bool:
    """Say whether the method's gradient can be trained with; unknown methods are assumed to be."""
    return method not in METHODS or METHODS[method].usable


def has_exact_gradients(method: str) -> bool:
    """Say whether the method computes the gradients that exact computes."""
    return method in METHODS and METHODS[method].exact


def method_label(method: str, patch_size: int | None, kernel: str = "torch") -> str:
    """Return ``gradient filter r = 2``, with the kernel in brackets unless it is torch."""
    label = METHODS[method].label if method in METHODS else method.replace("_", " ")
    if not is_usable(method):
        label += f", {NOT_USABLE},"
    if patch_size is not None:
        label += f" r{NBSP}={NBSP}{patch_size}"
    return label if kernel == "torch" else f"{label} ({KERNELS.get(kernel, kernel)})"


def case_label(case: Case) -> str:
    """Return layer, method, device, number type and batch of a case in one line."""
    method = method_label(case.method, case.patch_size, case.kernel_label)
    return f"{case.workload.name} · {method} · {case.device} {case.dtype} batch {case.batch}"


def without_numbers(text: str) -> str:
    """Return the text with ``#`` in place of each number, to group messages of one kind."""
    return re.sub(r"\d[\d.,]*", "#", text)


def cut(text: str, length: int = 4000) -> str:
    """Return the text, shortened if it is longer: boards may write any amount."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)"


def joined(names: list[str]) -> str:
    """Return ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


MISSING = "-"


def printable(text: str) -> str:
    """Return the text with spaces for control characters, which a board may have written."""
    return "".join(character if character.isprintable() else " " for character in text)


def seconds(value: float | None) -> str:
    """Return a time with a unit for its size."""
    if value is None:
        return MISSING
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if value < 0.9995 * limit:  # values that round to 1000 take the next unit
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s"


def size(value: float | None) -> str:
    """Return a number of bytes with a unit for its size."""
    if value is None:
        return MISSING
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def duration(value_s: float) -> str:
    """Return a duration to wait for, in s, min or h."""
    if value_s < 90:
        return f"{value_s:.0f} s"
    if value_s < 5400:
        return f"{value_s / 60:.0f} min"
    return f"{value_s / 3600:.1f} h"


def joules(value: float | None) -> str:
    """Return an energy with a unit for its size."""
    if value is None:
        return MISSING
    return f"{value * 1e3:.3g} mJ" if abs(value) < 1 else f"{value:.3g} J"
