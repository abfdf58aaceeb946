"""File names and colours for names that come from files and boards. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from reports.charts.style import (
    EXACT_COLOUR,
    EXACT_COLOURS,
    KNOWN,
    PALETTE,
    Colours,
)
from reports.metrics.subjects import Method
from workloads.spec.methods import BASELINE

MAX_SLUG = 48
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)|index")


def slug(name: str) -> str:
    """Return a file name for any text: the text itself if it is harmless, else one with its hash.

    Different texts have different names, even if the file system ignores case.
    """
    plain = re.fullmatch(r"[a-z0-9][a-z0-9._-]*[a-z0-9]|[a-z0-9]", name)
    if plain and len(name) <= MAX_SLUG and not RESERVED.match(name) and not _hashed(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    cleaned = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:MAX_SLUG].strip("-")
    return f"{cleaned}-{digest}" if cleaned else digest


def _hashed(name: str) -> bool:
    """Say whether a name looks like a name with a hash, which could be that of another text."""
    return re.search(r"(^|-)[0-9a-f]{10}$", name) is not None


def colours_of(methods: Iterable[Method]) -> Colours:
    """Return a colour per method, the same on every page unless two would share one."""
    colours: Colours = {}
    # The plain kernel of a known method first: others may have to take the next colour.
    order = sorted(set(methods), key=lambda m: (m[:2] not in KNOWN, m[2] != "torch", str(m)))
    for method in order:
        if method[0] == BASELINE:
            kernel = method[2].partition("@")[0]  # without a revision
            colours[method] = EXACT_COLOURS.get(kernel, EXACT_COLOUR)
            continue
        start = KNOWN.get(method[:2], int(hashlib.sha256(repr(method).encode()).hexdigest(), 16))
        choices = [PALETTE[(start + step) % len(PALETTE)] for step in range(len(PALETTE))]
        free = [colour for colour in choices if colour not in colours.values()]
        colours[method] = (free or choices)[0]
    return colours


def target_colour(target: str) -> str:
    """Return the target's colour, the same on every page."""
    return PALETTE[int(hashlib.sha256(target.encode("utf-8", "replace")).hexdigest(), 16) % 8]
