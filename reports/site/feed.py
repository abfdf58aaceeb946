"""Outputs for other programs: the Atom feed, and badges as SVG and for shields.io. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from reports.site.archive import RunFacts
from reports.site.names import slug
from reports.site.run_data import dumped
from reports.site.views import Event, change_words, figure_name, history_href
from reports.text.wording import times

MAX_ENTRIES = 60
MAX_LISTED = 12
COLOURS = {"good": "#1d6b43", "neutral": "#59616b", "bad": "#a3262f"}
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
WIDTH_PX = 6.6  # of one character of the badge's font, on average


def atom(events: Sequence[Event], runs: Sequence[RunFacts], base_url: str) -> str:
    """Return the feed of regressions, newest first, without changes that are only watched."""
    worse = [event for event in events if event.worse][:MAX_ENTRIES]
    newest = max((runs[event.run].started_at for event in worse), default="1970-01-01T00:00:00Z")
    base = base_url.rstrip("/")
    self_link = f'  <link rel="self" href={quoteattr(base + "/feed.xml")}/>\n' if base else ""
    link = f"  <link href={quoteattr(base + '/index.html')}/>\n" if base else ""
    entries = "".join(_entry(event, runs, base) for event in worse)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"  <title>gfbench: regressions</title>\n  <id>{_urn(base or 'gfbench')}</id>\n"
        f"  <updated>{_xml(newest)}</updated>\n{self_link}{link}"
        f"  <author><name>gfbench</name></author>\n{entries}</feed>\n"
    )


def _entry(event: Event, runs: Sequence[RunFacts], base: str) -> str:
    run = runs[event.run]
    worst = event.worse[0]
    title = f"{event.target}: {figure_name(worst.series)} {change_words(worst)}"
    if len(event.worse) > 1:
        title += f", and {len(event.worse) - 1} more figures"
    href = history_href(event.target, worst.series.workload)
    listed = "".join(
        f"<li>{escape(figure_name(change.series))}: {escape(change_words(change))}"
        f"{' — the kernel changed here' if change.kernel_changed else ''}</li>"
        for change in event.worse[:MAX_LISTED]
    )
    content = f"<p>Since run {escape(run.run_id)}:</p><ul>{listed}</ul>"
    link = f"{base}/{href}" if base else href
    return (
        f"  <entry>\n    <title>{_xml(title)}</title>\n"
        f"    <id>{_urn(f'{base} {event.target} {run.run_id}')}</id>\n"
        f"    <updated>{_xml(run.started_at)}</updated>\n"
        f"    <link href={quoteattr(link)}/>\n"
        f'    <content type="html">{_xml(content)}</content>\n  </entry>\n'
    )


def _urn(text: str) -> str:
    """Return an id that only depends on the text: a UUID made from its hash."""
    h = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"urn:uuid:{h[:8]}-{h[8:12]}-8{h[13:16]}-8{h[17:20]}-{h[20:32]}"


def _xml(text: str) -> str:
    return escape(_clean(text))


def _clean(text: str) -> str:
    """Replace characters that XML does not allow."""
    return NOT_XML.sub("\ufffd", text)


def badge(label: str, message: str, kind: str) -> tuple[str, str]:
    """Return a badge as SVG and as the JSON of a shields.io endpoint; ``kind`` is its colour's."""
    colour = COLOURS[kind]
    label, message = (text if len(text) <= 60 else f"{text[:59]}…" for text in (label, message))
    left, right = (round(WIDTH_PX * len(text) + 12) for text in (label, message))
    words = _clean(f"{label}: {message}")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f"aria-label={quoteattr(words)}><title>{_xml(words)}</title>"
        f'<rect width="{left + right}" height="20" rx="3" fill="#2b3036"/>'
        f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1 -3 3h-{right - 3}z" '
        f'fill="{colour}"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" '
        f'font-size="11"><text x="{left / 2:g}" y="14">{_xml(label)}</text>'
        f'<text x="{left + right / 2:g}" y="14">{_xml(message)}</text></g></svg>\n'
    )
    shields = {"schemaVersion": 1, "label": label, "message": message, "color": colour.lstrip("#")}
    return svg, dumped(shields) + "\n"


def badge_name(target: str, label: str) -> str:
    """Return a badge's file name without its ending."""
    return f"{slug(target)}--{slug(label)}"


def speedup_message(step: float | None, cosine: float | None) -> tuple[str, str]:
    """Return text and kind of a badge: the speedup, never without the gradient's fidelity."""
    if step is None:
        return "not measured", "neutral"
    fidelity = f", cosine {cosine:.2f}" if cosine is not None else ", fidelity not measured"
    return f"{times(step)}{fidelity}", "good" if step > 1 else "neutral"
