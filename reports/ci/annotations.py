"""GitHub annotations: workflow commands on lines of their own, at most ten of a level. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.ci import words
from reports.gate.verdict import Gate, Verdict
from reports.text.wording import cut

LEVELS = {"FAIL": "error", "INFRA": "error", "INVALID": "warning", "INCONCLUSIVE": "warning"}
MOST = 10  # of one level in one step; GitHub drops the others without a word
MOST_TEXT = 1000  # characters


def to_annotations(gate: Gate) -> tuple[str, ...]:
    """Return one command per verdict that is no PASS, the gravest first."""
    return tuple(_commands(words.in_order(gate.verdicts)))


def _commands(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for level in dict.fromkeys(LEVELS.values()):
        own = [verdict for verdict in verdicts if LEVELS.get(verdict.status) == level]
        # The last place of a full level is for a count of the others.
        shown = own if len(own) <= MOST else own[: MOST - 1]
        for verdict in shown:
            title = f"{verdict.status}: {words.subject(verdict)}"
            yield command(level, title, words.why(verdict))
        if len(own) > len(shown):
            rest = len(own) - len(shown)
            yield command(level, f"gfbench: {rest} more", "all verdicts are in the job's summary")


def command(level: str, title: str, message: str) -> str:
    """Return ``::error title=...::...``, whatever the texts hold."""
    return f"::{level} title={_property(cut(title, MOST_TEXT))}::{_data(cut(message, MOST_TEXT))}"


def _data(text: str) -> str:
    clean = "".join(" " if _is_control(letter) else letter for letter in text)
    return clean.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _is_control(letter: str) -> bool:
    """Tell what a terminal or an encoder would trip over; line ends are escaped instead."""
    return letter not in "\r\n" and (
        letter < " "
        or "\x7f" <= letter <= "\x9f"
        or letter in "\u2028\u2029"
        or "\ud800" <= letter <= "\udfff"
    )
