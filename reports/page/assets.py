"""The script and the style of a page: inside it, or in files that many pages share.

A shared file's name holds its content's hash, so that a browser may keep it for ever and pages
made by an older version keep theirs.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

TEMPLATES = Path(__file__).parents[1] / "templates"
PLOTLY = "vendor/plotly-cartesian.min.js"
SCRIPT = "report.js"
# Of js/, joined in this order.
SCRIPT_PARTS = (
    "numbers.js", "state.js", "tables.js", "figures.js", "copying.js", "why.js", "page.js",
)  # fmt: skip
STYLE = "report.css"
INLINE = "inline"


@dataclass(frozen=True, kw_only=True)
class Assets:
    """What a page's head and end need: the texts themselves, or where they are."""

    style: Markup
    plotly: Markup
    script: Markup
    policy: str
    base: str = ""

    @property
    def shared(self) -> bool:
        """Whether the page links to files instead of holding the texts."""
        return self.base != INLINE

    @property
    def links(self) -> tuple[str, str, str]:
        """The addresses of the style, the library and the script."""
        folder = f"{self.base.rstrip('/')}/" if self.base else ""
        style, plotly, script = (folder + _shared_name(name) for name in (STYLE, PLOTLY, SCRIPT))
        return style, plotly, script


def assets_at(base: str) -> Assets:
    """Return the assets of a page: ``inline``, or in a folder with a URL relative to the page."""
    return Assets(
        style=asset(STYLE),
        plotly=asset(PLOTLY),
        script=asset(SCRIPT),
        policy=_inline_policy() if base == INLINE else SHARED_POLICY,
        base=base,
    )


def shared_files() -> Mapping[str, str]:
    """Return the files that pages with shared assets link to: text by name."""
    return {_shared_name(name): str(asset(name)) for name in (STYLE, PLOTLY, SCRIPT)}


@cache
def asset(name: str) -> Markup:
    """Return the text of one of our own files, to be written as it is."""
    if name != SCRIPT:
        return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
    parts = ((TEMPLATES / "js" / part).read_text(encoding="utf-8") for part in SCRIPT_PARTS)
    return Markup('"use strict";\n(function () {\n' + "\n".join(parts) + "})();\n")


def _shared_name(name: str) -> str:
    path = Path(name)
    digest = hashlib.sha256(asset(name).encode()).hexdigest()[:12]
    return f"{path.stem}-{digest}{path.suffix}"


@cache
def _inline_policy() -> str:
    """Allow our two scripts by their hashes, styles and drawn images; no network at all."""
    hashes = [
        base64.b64encode(hashlib.sha256(asset(name).encode()).digest()).decode()
        for name in (PLOTLY, SCRIPT)
    ]
    scripts = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


# Scripts and styles from the page's own site (or disk) only, nothing inline, and no fetching.
SHARED_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'"
)
