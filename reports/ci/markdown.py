"""The gate in Markdown: the summary of a job, or a comment that is updated in place. Pure.

GitHub rejects summaries above 1 MiB and comments above 65,535 characters without a clear error.
Both therefore have a budget of bytes (a text never has more characters than bytes): whole rows are
left out from the end, and a line says how many and where to find them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reports.ci import words
from reports.gate.verdict import Gate, Verdict
from reports.gate.words import change_words, margin_words
from reports.stats.intervals import Effect
from reports.text.markdown import escape, folded, row_of, table
from reports.text.wording import case_label, cut

SUMMARY_BYTES = 1_000_000
COMMENT_BYTES = 65_000
MAX_CHARACTERS = 400  # of a text in a cell
MAX_UNFOLDED_PASSES = 30  # more passes than this are folded away
GLYPHS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔", "INVALID": "⚠️", "INFRA": "🔌"}
HEADERS = ("verdict", "target", "case", "metric", "change", "margin", "rounds", "cause")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'*+,;=%-]+")


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A part of the page, folded behind its title if it has one; only ``rows`` may be left out."""

    title: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    def lines(self, kept: int, link: str) -> list[str]:
        """Return the part with its first ``kept`` rows and a note on the others."""
        left = len(self.rows) - kept
        body: list[str] = []
        if kept or not self.rows:
            body += self.head
        body += self.rows[:kept]
        if left:
            where = f": [the whole run]({link})" if link else ", see the run's own report"
            body += ["", f"*{left} of {len(self.rows)} rows are left out here{where}.*"]
        return folded(self.title, body) if self.title else [*body, ""]


def step_summary(gate: Gate, *, link: str = "", limit: int = SUMMARY_BYTES) -> str:
    """Return the page of ``$GITHUB_STEP_SUMMARY``, at most ``limit`` bytes."""
    return _fitted(_parts(gate), limit, safe_link(link))


def comment(gate: Gate, *, link: str = "", key: str = "gate", limit: int = COMMENT_BYTES) -> str:
    """Return a comment for a pull request, at most ``limit`` bytes.

    Its first line is ``marker(key)``, by which the next run finds and replaces it.
    """
    first = f"{marker(key)}\n"
    return first + _fitted(_parts(gate), limit - len(first), safe_link(link))


def marker(key: str) -> str:
    """Return the hidden first line that identifies the comment of one gate."""
    return f"<!-- gfbench: {re.sub(r'[^A-Za-z0-9._]+', '-', key)[:80]} -->"


def safe_link(link: str) -> str:
    """Return the address if it is a plain http(s) URL, else an empty text."""
    return link if _URL.fullmatch(link) else ""


def _fitted(parts: Sequence[_Part], limit: int, link: str) -> str:
    """Return the page with as many rows as fit into ``limit`` bytes, by bisection."""
    fits, total = 0, sum(len(part.rows) for part in parts)
    while fits < total:
        middle = (fits + total + 1) // 2
        if len(_page(parts, middle, link).encode()) <= limit:
            fits = middle
        else:
            total = middle - 1
    return _page(parts, fits, link)


def _page(parts: Sequence[_Part], rows: int, link: str) -> str:
    lines: list[str] = []
    for part in parts:
        kept = min(rows, len(part.rows))
        rows -= kept
        lines += part.lines(kept, link)
    if link:
        lines.append(f"[Run and artifacts]({link})")
    return "\n".join(lines).rstrip() + "\n"


def _parts(gate: Gate) -> list[_Part]:
    ordered = words.in_order(gate.verdicts)
    folded_passes = [verdict for verdict in ordered if verdict.status == "PASS"]
    if len(folded_passes) <= MAX_UNFOLDED_PASSES:
        folded_passes = []
    shown = ordered
    if folded_passes:
        shown = tuple(verdict for verdict in ordered if verdict.status != "PASS")
    explained = [verdict for verdict in ordered if verdict.status != "PASS" or verdict.flags]
    parts = [
        _Part(head=tuple(_head(gate))),
        _table([_row(verdict) for verdict in shown]),
        _Part(
            title=f"Why, and what to do ({len(explained)})",
            rows=tuple(f"- {_why(verdict)}" for verdict in explained),
        ),
        _Part(title="Means over workloads and boards", head=_MEANS, rows=tuple(_means(gate))),
        _Part(
            title=f"Differences beyond chance, whatever the margin ({len(gate.changed)})",
            rows=tuple(f"- {_changed(verdict)}" for verdict in gate.changed),
        ),
        _table([_row(verdict) for verdict in folded_passes], f"{len(folded_passes)} PASS"),
    ]
    return [parts[0], *(part for part in parts[1:] if part.rows)]


def _head(gate: Gate) -> list[str]:
    status = gate.status
    count = ", ".join(f"{number} {name}" for name, number in words.counts(gate).items())
    lines = [
        f"## {GLYPHS[status]} gfbench: {status}",
        "",
        f"**{_text(gate.new)}** against **{_text(gate.base)}**, run {_text(gate.run_id)}: "
        f"{count or 'nothing was judged'}. Changes are new against base with their 97.5 % "
        "intervals; + is slower, or more energy or memory.",
        "",
    ]
    for note in gate.notes[:10]:
        lines += [f"> {_text(note)}", ""]
    return lines


def _table(rows: Sequence[str], title: str = "") -> _Part:
    return _Part(title=title, head=("", *table(HEADERS, ())), rows=tuple(rows))


def _row(verdict: Verdict) -> str:
    return row_of(
        (
            f"{GLYPHS[verdict.status]} {verdict.status}",
            _text(verdict.target),
            _text(case_label(verdict.new)),
            _text(verdict.question),
            change_words(verdict.effect),
            _text(margin_words(verdict.margin)),
            str(verdict.rounds) if verdict.rounds else "—",
            _text(verdict.cause) or "—",
        )
    )


def _why(verdict: Verdict) -> str:
    return f"{verdict.status} **{_text(words.subject(verdict))}**: {_text(words.why(verdict))}"


def _changed(verdict: Verdict) -> str:
    return f"{_text(words.subject(verdict))}: {change_words(verdict.effect)}"


_MEANS = ("", *table(("of", "metric", "mean change, 95 % interval"), ()))


def _means(gate: Gate) -> list[str]:
    """Return a row for each mean over several workloads or boards."""
    rows = []
    for (target, metric, phase), effect in gate.summary.items():
        if effect.n > 1:
            of = f"{_text(target)}, {effect.n} workloads"
            rows.append((of, _text(f"{metric} {phase}"), change_words(effect)))
    for (metric, phase), pooled in gate.fleet.items():
        effect = Effect(
            ratio=pooled.ratio, ci_low=pooled.ci_low, ci_high=pooled.ci_high, n=pooled.boards
        )
        of = f"{pooled.boards} boards, I² {pooled.i_squared:.0%}"
        rows.append((of, _text(f"{metric} {phase}"), change_words(effect)))
    return [row_of(cells) for cells in rows]


def _text(text: str) -> str:
    return escape(cut(text, MAX_CHARACTERS))
