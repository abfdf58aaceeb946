"""The gate as a Markdown page: a job's summary, or a comment that is updated in place. Pure.

GitHub refuses a summary above 1 MiB and a comment above 65,535 characters, and says little about
it. So each has a budget of bytes (never fewer than characters): rows are left out whole, from the
end, with a line that says how many and where all are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reports.ci import words
from reports.gate_text import change_words
from reports.gate_words import margin_words
from reports.markdown_text import escape, folded, row_of, table
from reports.stats import Effect
from reports.verdict import Gate, Verdict
from reports.wording import case_label, cut

SUMMARY_BYTES = 1_000_000
COMMENT_BYTES = 65_000
MOST_TEXT = 400  # characters of a reason
FEW = 30  # passes, that are shown beside what is not one
GLYPHS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔", "INVALID": "⚠️", "INFRA": "🔌"}
HEADERS = ("verdict", "target", "case", "metric", "change", "margin", "rounds", "cause")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'*+,;=%-]+")


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Some of a page, behind a title that opens it if it has one; only ``rows`` may be cut."""

    title: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    def lines(self, kept: int, link: str) -> list[str]:
        """Return the part with its first rows, and a word on those left out."""
        left = len(self.rows) - kept
        body = [*(self.head if kept or not self.rows else ()), *self.rows[:kept]]
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
    """Return the hidden line that tells one gate's comment from all others."""
    return f"<!-- gfbench: {re.sub(r'[^A-Za-z0-9._]+', '-', key)[:80]} -->"


def safe_link(link: str) -> str:
    """Return the address if it is a plain one of the web, else nothing."""
    return link if _URL.fullmatch(link) else ""


def _fitted(parts: Sequence[_Part], limit: int, link: str) -> str:
    """Return the page with as many rows as fit, those of the first parts first."""
    few, many = 0, sum(len(part.rows) for part in parts)
    while few < many:
        middle = (few + many + 1) // 2
        if len(_page(parts, middle, link).encode()) <= limit:
            few = middle
        else:
            many = middle - 1
    return _page(parts, few, link)


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
    passes = [verdict for verdict in ordered if verdict.status == "PASS"]
    folds = len(passes) > FEW
    shown = [verdict for verdict in ordered if not folds or verdict.status != "PASS"]
    said = [verdict for verdict in ordered if verdict.status != "PASS" or verdict.flags]
    parts = [
        _Part(head=tuple(_head(gate))),
        _table([_row(verdict) for verdict in shown]),
        _Part(
            title=f"Why, and what to do ({len(said)})",
            rows=tuple(f"- {_why(verdict)}" for verdict in said),
        ),
        _Part(title="Means over workloads and boards", head=_MEANS, rows=tuple(_means(gate))),
        _Part(
            title=f"Differences beyond chance, whatever the margin ({len(gate.changed)})",
            rows=tuple(f"- {_changed(verdict)}" for verdict in gate.changed),
        ),
        _table([_row(verdict) for verdict in passes] if folds else [], f"{len(passes)} PASS"),
    ]
    return [part for number, part in enumerate(parts) if number == 0 or part.rows]


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
            _text(words.what(verdict)),
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
    """Return the means that are over more than one thing."""
    rows = [
        (f"{_text(target)}, {effect.n} workloads", _text(f"{metric} {phase}"), change_words(effect))
        for (target, metric, phase), effect in gate.summary.items()
        if effect.n > 1
    ]
    for (metric, phase), pooled in gate.fleet.items():
        effect = Effect(
            ratio=pooled.ratio, ci_low=pooled.ci_low, ci_high=pooled.ci_high, n=pooled.boards
        )
        of = f"{pooled.boards} boards, I² {pooled.i_squared:.0%}"
        rows.append((of, _text(f"{metric} {phase}"), change_words(effect)))
    return [row_of(cells) for cells in rows]


def _text(text: str) -> str:
    return escape(cut(text, MOST_TEXT))
