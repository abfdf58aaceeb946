"""A new source of runs is one class with the methods of ``Runs``; every site can show its runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from synthetic_site import Plot, summary_rows

from reports.site import build
from reports.site.run_data import facts_of, pack
from reports.site.sources import FolderRuns


class PackedRuns:
    """Runs whose summaries are in memory, without folders of their own."""

    def __init__(self, summaries: dict[str, dict[str, Any]]) -> None:
        self.notes = ["read from memory"]
        self._summaries = summaries

    @property
    def digests(self) -> Collection[str]:
        return self._summaries.keys()

    def folder(self, digest: str) -> Path | None:
        return None

    def summaries(self, wanted: Collection[str]) -> Iterator[dict[str, Any]]:
        for digest in wanted:
            yield self._summaries[digest]


def test_a_site_shows_the_runs_of_a_new_source_beside_those_of_folders(tmp_path: Path) -> None:
    summaries = {}
    run_ids = []
    for number in range(3):
        run_id, rows = summary_rows(Plot(runs=3, targets=1), number)
        digest = f"{number:032x}"
        summaries[digest] = pack(rows, run=facts_of(rows, run_id=run_id, digest=digest))
        run_ids.append(run_id)
    (tmp_path / "results").mkdir()
    folders = FolderRuns([tmp_path / "results"], cache=None)
    site = tmp_path / "site"
    built = build.build(site, [folders, PackedRuns(summaries)], build.Options())
    assert built.runs == built.new == 3
    assert built.notes == ["read from memory"]
    listed = (site / "runs" / "index.html").read_text()
    assert all(run_id in listed for run_id in run_ids)
