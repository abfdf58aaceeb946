"""JUnit XML, the subset that every CI system reads: suites of testcases with their outcomes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree

# Characters that XML 1.0 does not allow, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One testcase; its outcome is passed, failure, error or skipped.

    ``kind`` is the type of a failure or an error.
    """

    suite: str
    group: str
    name: str
    outcome: str = "passed"
    message: str = ""
    kind: str = ""
    details: str = ""
    time_s: float | None = None


def to_junit_xml(checks: Sequence[Check], *, name: str, started: datetime | None = None) -> str:
    """Return a document with a testsuite for each ``Check.suite``, in order of appearance."""
    counts = _counts(checks)
    del counts["skipped"]  # the common schema only has it for a testsuite
    root = ElementTree.Element("testsuites", {"name": _clean(name), **counts})
    for suite in dict.fromkeys(check.suite for check in checks):
        own = [check for check in checks if check.suite == suite]
        element = ElementTree.SubElement(root, "testsuite", {"name": _clean(suite), **_counts(own)})
        if started is not None:
            element.set("timestamp", f"{started:%Y-%m-%dT%H:%M:%S}")
        for check in own:
            _add(element, check)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, "unicode")}\n'


def _counts(checks: Sequence[Check]) -> dict[str, str]:
    def count(outcome: str) -> str:
        return str(sum(check.outcome == outcome for check in checks))

    counts = {
        "tests": str(len(checks)),
        "failures": count("failure"),
        "errors": count("error"),
        "skipped": count("skipped"),
    }
    times_s = [check.time_s for check in checks if check.time_s is not None]
    if times_s:
        counts["time"] = f"{sum(times_s):.3f}"
    return counts


def _add(suite: ElementTree.Element, check: Check) -> None:
    element = ElementTree.SubElement(
        suite, "testcase", classname=_clean(check.group), name=_clean(check.name)
    )
    if check.time_s is not None:
        element.set("time", f"{check.time_s:.3f}")
    if check.outcome == "passed":
        if check.details:
            ElementTree.SubElement(element, "system-out").text = _clean(check.details)
        return
    outcome = ElementTree.SubElement(element, check.outcome, message=_clean(check.message))
    if check.outcome != "skipped":
        outcome.set("type", _clean(check.kind or check.outcome))
    outcome.text = _clean(check.details) or None


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
