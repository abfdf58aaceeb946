from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, running_s3
from small_runs import small_run

from reports.results.manifest import verify_manifest
from reports.store import store
from reports.store.cache import load
from reports.store.files import StoreError, StoreRefused

URL = f"s3://{BUCKET}/gfbench"
PUSH = """
import sys
from pathlib import Path
from reports.store import store
for run in sys.argv[2:]:
    store.push(Path(run), sys.argv[1])
"""
COMPACT = """
import sys, time
from reports.store import store
while True:
    store.compact(sys.argv[1])
    time.sleep(0.05)
"""


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with running_s3() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield


def process(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, URL, *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def ids() -> set[str]:
    return {run.run_id for run in load(URL).summaries.runs}


@pytest.mark.usefixtures("s3")
def test_two_controllers_and_a_compaction_at_once_lose_nothing(tmp_path: Path) -> None:
    runs = [small_run(tmp_path / "runs", number) for number in range(9)]
    halves = [list(map(str, runs[:6])), list(map(str, runs[3:]))]  # three are pushed by both
    pushers = [process(PUSH, *half) for half in halves]
    tidying = process(COMPACT)
    try:
        seen: set[str] = set()
        while any(pusher.poll() is None for pusher in pushers):
            now = ids()
            assert seen <= now, "a run that was there is gone"
            seen = now
        assert [pusher.wait() for pusher in pushers] == [0, 0], [p.communicate() for p in pushers]
        assert tidying.poll() is None, tidying.communicate()
    finally:
        tidying.terminate()
        tidying.communicate()
    assert ids() == {run.name for run in runs}
    rows = load(URL).summaries.rows
    assert rows.num_rows == sum(run.rows for run in load(URL).summaries.runs)
    for run in runs:
        back = store.pull(run.name, URL, tmp_path / "back")
        assert verify_manifest(back) == ()
        assert (back / "MANIFEST.sha256").read_bytes() == (run / "MANIFEST.sha256").read_bytes()


@pytest.mark.usefixtures("s3")
def test_what_s3_refuses_is_told_in_words_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(tmp_path)
    with pytest.raises(StoreError, match="nowhere") as caught:
        store.push(run, "s3://nowhere/gfbench")
    assert "not-a-secret" not in str(caught.value)
    with pytest.raises(StoreRefused, match="has no run"):
        store.pull(run.name, URL, tmp_path / "back")
    assert load(URL).summaries.runs == ()
