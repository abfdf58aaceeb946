"""GitHub annotations: workflow commands, one a line, at most ten of each level. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.ci import words
from reports.gate.verdict import Gate, Verdict
from reports.text.wording import cut

LEVELS = {"FAIL": "error", "INFRA": "error", "INVALID": "warning", "INCONCLUSIVE": "warning"}
MAX_COMMANDS = 10  # of one level in one step; GitHub drops further ones silently
MAX_CHARACTERS = 1000


def to_annotations(gate: Gate) -> tuple[str, ...]:
    """Return one command for each verdict that is not a PASS, errors first."""
    return tuple(_commands(words.in_order(gate.verdicts)))


def _commands(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for level in dict.fromkeys(LEVELS.values()):
        own = [verdict for verdict in verdicts if LEVELS.get(verdict.status) == level]
        # If there are too many, the last command says how many are left out.
        shown = own if len(own) <= MAX_COMMANDS else own[: MAX_COMMANDS - 1]
        for verdict in shown:
            title = f"{verdict.status}: {words.subject(verdict)}"
            yield command(level, title, words.why(verdict))
        rest = len(own) - len(shown)
        if rest:
            yield command(level, f"gfbench: {rest} more", "all verdicts are in the job's summary")


def command(level: str, title: str, message: str) -> str:
    """Return ``::error title=...::...`` with both texts cut and escaped."""
    title, message = cut(title, MAX_CHARACTERS), cut(message, MAX_CHARACTERS)
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    clean = "".join(" " if _is_control(letter) else letter for letter in text)
    return clean.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _is_control(letter: str) -> bool:
    """Say whether the character could confuse a terminal or an encoder; line ends are escaped."""
    return letter not in "\r\n" and (
        letter < " "
        or "\x7f" <= letter <= "\x9f"
        or letter in "\u2028\u2029"
        or "\ud800" <= letter <= "\udfff"
    )
