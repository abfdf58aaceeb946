"""What charts are drawn from. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.charts.style import Colours
from reports.gate.recorded import Gates
from reports.metrics.headlines import Headline
from reports.metrics.rows import Row
from reports.metrics.subjects import Method, Subject, label_of


@dataclass(frozen=True, kw_only=True)
class Context:
    """All that was measured, and what the rest of the page says of it."""

    subjects: tuple[Subject, ...]  # those with at least one figure
    colours: Colours
    headlines: Mapping[str, Sequence[Headline]]  # by the subject's label
    gates: Gates

    def rows(self, metric: str) -> list[Row]:
        """Return all rows of a metric."""
        return [row for subject in self.subjects for row in subject.rows if row.metric == metric]

    def headlines_of(self, subject: Subject) -> Sequence[Headline]:
        """Return what the summary says of a subject, method by method."""
        return self.headlines.get(subject.label, ())


def method_of_headline(headline: Headline) -> Method:
    """Return the method of a headline, as ``method_of`` does of a row."""
    return headline.method, headline.patch_size, headline.kernel


def headline_label(headline: Headline) -> str:
    """Return the method of a headline in words."""
    return label_of(method_of_headline(headline))
