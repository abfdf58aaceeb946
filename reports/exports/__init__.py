"""Export of a run for other programs: a format is one module and one line in FORMATS. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reports.exports import (
    bencher,
    github_benchmark,
    google_benchmark,
    junit,
    markdown,
    openmetrics,
    parquet,
    plain,
    pyperf_suite,
    pytest_benchmark,
)
from reports.exports.source import ExportError, ExportSource, source_of
from reports.results.records import Run

__all__ = ["FORMATS", "ExportError", "Format", "export"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format: the function that writes it (``binary``: as bytes), and what reads it."""

    write: Callable[[ExportSource], str | bytes]
    reader: str
    binary: bool = False


FORMATS: dict[str, Format] = {
    "csv": Format(write=plain.to_csv, reader="spreadsheets; every row and column"),
    "json": Format(write=plain.to_json, reader="scripts; the CSV's rows"),
    "parquet": Format(write=parquet.to_parquet, reader="pandas, DuckDB, Spark", binary=True),
    "markdown": Format(write=markdown.to_markdown, reader="people, in a README or an issue"),
    "bmf": Format(write=bencher.to_bmf, reader="bencher, its JSON adapter"),
    "github-benchmark": Format(
        write=github_benchmark.smaller_is_better,
        reader="github-action-benchmark, tool customSmallerIsBetter",
    ),
    "github-benchmark-bigger": Format(
        write=github_benchmark.bigger_is_better,
        reader="github-action-benchmark, tool customBiggerIsBetter",
    ),
    "pytest-benchmark": Format(
        write=pytest_benchmark.to_pytest_benchmark, reader="pytest-benchmark compare"
    ),
    "pyperf": Format(write=pyperf_suite.to_pyperf, reader="pyperf compare_to, stats, hist"),
    "google-benchmark": Format(
        write=google_benchmark.to_google_benchmark, reader="Google Benchmark's compare.py"
    ),
    "openmetrics": Format(
        write=openmetrics.to_openmetrics, reader="Prometheus and compatible programs"
    ),
    "junit": Format(write=junit.to_junit, reader="CI systems: what was measured and what failed"),
}


def export(run: Run, format_name: str, case: str = "") -> str | bytes:
    """Return the run in one of FORMATS, or only the cases of a selector (``method=exact,batch=8``).

    Raises:
        ValueError: the format is unknown; the message names the choices.
        ExportError: there is nothing to export, or a library is not installed.
    """
    if format_name not in FORMATS:
        raise ValueError(f"unknown format {format_name!r}; choose from {', '.join(FORMATS)}")
    content = FORMATS[format_name].write(source_of(run, case))
    if isinstance(content, bytes):
        return content
    return content.encode("utf-8", "replace").decode()  # a board may write lone surrogates
