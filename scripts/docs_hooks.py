"""What MkDocs calls: pages and passages that are written from the code rather than beside it.

`<!-- platform: jetson-nano -->` in a page becomes what gfbench knows of that family.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from docs_schema import schema_page  # noqa: E402

from targets.platforms import PLATFORMS  # noqa: E402

_PLATFORM = re.compile(r"<!-- platform: ([a-z0-9-]+) -->")


def on_files(files: Files, config: Any) -> Files:
    """Add the page of the result schema."""
    files.append(File.generated(config, "schema.md", content=schema_page()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what gfbench knows of the platforms that a page names."""
    return _PLATFORM.sub(lambda match: "\n".join(_platform(match[1])), markdown)


def _platform(name: str) -> Iterator[str]:
    platform = PLATFORMS[name]
    yield f"Platform id: `{name}`.\n"
    for total in platform.totals:
        yield f"- Total power ({total.scope}): {total.rule}."
    yield f"- Where there is nothing to read: *{platform.no_sensor}*."
    if platform.grant:
        command, _, note = platform.grant.partition("  (")
        yield f"- If the files are closed to you{f' ({note}' if note else ''}:\n"
        yield f"        {command}\n"
    yield "\nSteady clocks, by hand or as `setup` and `restore` of the inventory:\n"
    yield "| what | command |\n|---|---|"
    yield from (f"| {advice.what} | `{_cell(advice.command)}` |" for advice in platform.setup)
    yield "\nWhat counts as evidence of throttling:\n"
    yield "| where | meaning |\n|---|---|"
    yield from (
        f"| `{_cell(found.where)}` | {_cell(found.meaning)} |" for found in platform.evidence
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
