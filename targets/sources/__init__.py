"""One module a source of power, and the table of them.

A source shows power that no sensor file does. A platform names those to try where its files
give no total (``Platform.programs``); the inventory names the others with ``power:``.
"""

from __future__ import annotations

from collections.abc import Mapping

from targets.sources.base import Source
from targets.sources.jtop import JTOP
from targets.sources.meters import COMMAND, CSV
from targets.sources.pmic import PMIC
from targets.sources.pynvml import PYNVML
from targets.sources.pyrapl import PYRAPL
from targets.sources.tegrastats import TEGRASTATS

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        TEGRASTATS,
        PMIC,
        JTOP,
        PYRAPL,
        PYNVML,
        COMMAND,
        CSV,
    )
}


def packages() -> tuple[str, ...]:
    """Return the sources that are packages of a board's Python, which its probe has to ask."""
    return tuple(source.name for source in SOURCES.values() if source.package)
