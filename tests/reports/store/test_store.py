from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from make_run import edit_json
from small_runs import small_run

from reports.metrics.of_run import compare
from reports.results.manifest import verify_manifest, write_manifest
from reports.results.read import ResultError, load_run
from reports.store import store
from reports.store import tables as store_summaries
from reports.store.cache import load
from reports.store.files import StoreError, StoreFiles, StoreRefused, check_path
from reports.text.masking import without_password


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def ids(url: str) -> list[str]:
    """The runs that a reader sees."""
    return sorted(run.run_id for run in load(url).summaries.runs)


def content(run: Path) -> dict[str, bytes]:
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file()
    }


def copy_of(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / run.name))


def test_what_was_pushed_comes_back_byte_for_byte(tmp_path: Path, url: str) -> None:
    run = small_run(tmp_path)
    pushed = store.push(run, url)
    assert not pushed.already
    back = store.pull(run.name, url, tmp_path / "back")
    assert content(back) == content(run)
    assert verify_manifest(back) == ()


def test_the_figures_of_a_store_are_those_of_the_export(tmp_path: Path, url: str) -> None:
    run = small_run(tmp_path)
    store.push(run, url)
    summaries = load(url).summaries
    exported = compare(load_run(run))
    columns = ["workload", "method", "patch_size", "phase", "metric", "value", "n", "status"]
    stored = summaries.rows.select(columns).to_pylist()
    assert stored == [{name: getattr(row, name) for name in columns} for row in exported]
    (facts,) = summaries.runs
    assert (facts.targets, facts.rows, facts.files) == (("board-a",), len(exported), 4)


def test_pushing_twice_changes_nothing(tmp_path: Path, url: str) -> None:
    run = small_run(tmp_path)
    store.push(run, url)
    before = content(tmp_path / "store")
    assert store.push(run, url).already
    assert content(tmp_path / "store") == before


def test_another_run_of_the_same_id_is_refused(tmp_path: Path, url: str) -> None:
    run = small_run(tmp_path)
    store.push(run, url)
    other = copy_of(run, tmp_path / "other")
    edit_json(other / "run.json", lambda header: header.update(seed=7))
    write_manifest(other)
    with pytest.raises(
        StoreRefused, match=r"a different run .*abc123: run\.json differs.*gfbench pull"
    ):
        store.push(other, url)
    back = store.pull(run.name, url, tmp_path / "back")
    assert content(back) == content(run)


def test_a_report_rendered_again_is_no_other_run(tmp_path: Path, url: str) -> None:
    run = small_run(tmp_path)
    store.push(run, url)
    (run / "report.html").write_text("rendered later")
    write_manifest(run)
    assert store.push(run, url).already
    assert ids(url) == [run.name]


def test_two_contents_of_one_run_pushed_at_once_are_both_kept_and_told(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(tmp_path)
    other = copy_of(run, tmp_path / "other")
    edit_json(other / "run.json", lambda header: header.update(seed=7))
    write_manifest(other)
    store.push(run, url)
    with monkeypatch.context() as blind:  # the other had looked before this one was there
        seen: list[int] = []
        look = store._identical
        blind.setattr(store, "_identical", lambda *a: look(*a) if seen else seen.append(1))
        with pytest.raises(StoreRefused, match="a different run"):
            store.push(other, url)
    loaded = load(url)
    assert [one.run_id for one in loaded.summaries.runs] == [run.name]
    assert set(loaded.summaries.rows["digest"].to_pylist()) == {loaded.summaries.runs[0].digest}
    assert "two versions" in loaded.notes[0]
    assert load(url).summaries.runs == loaded.summaries.runs


def test_what_its_manifest_does_not_vouch_for_is_not_pushed(tmp_path: Path, url: str) -> None:
    run = small_run(tmp_path)
    (run / "extra").touch()
    with pytest.raises(StoreRefused, match="extra: not in the manifest"):
        store.push(run, url)
    (run / "extra").unlink()
    (run / "MANIFEST.sha256").unlink()
    with pytest.raises(ResultError, match="did not end"):
        store.push(run, url)
    assert not (tmp_path / "store").exists()


def test_a_link_is_not_followed_into_the_store(tmp_path: Path, url: str) -> None:
    run = small_run(tmp_path)
    (run / "secrets").symlink_to("/etc/hostname")
    write_manifest(run)
    with pytest.raises(StoreRefused, match="link"):
        store.push(run, url)


def in_a_process_killed_at(step: int, run: Path, url: str) -> int:
    """Push in a process that is killed before its step-th write; return its exit code."""

    def push() -> None:
        writes = 0

        def counted(real: Callable[..., None]) -> Callable[..., None]:
            def write(self: StoreFiles, *arguments: object) -> None:
                nonlocal writes
                if writes == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                writes += 1
                real(self, *arguments)

            return write

        StoreFiles.upload = counted(StoreFiles.upload)  # type: ignore[method-assign]
        StoreFiles.write = counted(StoreFiles.write)  # type: ignore[method-assign]
        store.push(run, url)

    process = multiprocessing.get_context("fork").Process(target=push)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def test_a_push_that_is_killed_anywhere_leaves_nothing_to_see_and_can_be_repeated(
    tmp_path: Path, url: str
) -> None:
    steps = 6  # four files, the manifest, the figures
    for step in range(steps):
        run = small_run(tmp_path / "runs", step)
        assert in_a_process_killed_at(step, run, url) == -signal.SIGKILL
        assert run.name not in ids(url)
        if step < steps - 1:  # before the manifest
            with pytest.raises(StoreRefused, match="has no run"):
                store.pull(run.name, url, tmp_path / "back")
        store.push(run, url)
        assert run.name in ids(url)
    assert in_a_process_killed_at(steps, small_run(tmp_path / "runs", steps), url) == 0
    assert len(ids(url)) == steps + 1


def test_compaction_keeps_every_run_and_repeats_to_nothing(tmp_path: Path, url: str) -> None:
    names = [Path(store.push(small_run(tmp_path, n), url).place).parent.name for n in range(3)]
    before = load(url).summaries.rows.to_pylist()
    assert store.compact(url).runs == 3
    assert os.listdir(tmp_path / "store" / "summary") == []
    (packed,) = os.listdir(tmp_path / "store" / "compact")
    assert sorted(map(str, load(url).summaries.rows.to_pylist())) == sorted(map(str, before))
    store.compact(url)
    assert os.listdir(tmp_path / "store" / "compact") == [packed]
    store.push(small_run(tmp_path, 3), url)
    assert len(ids(url)) == 4
    store.compact(url)
    assert ids(url) == sorted([*names, "20261122-190003-abc123"])
    assert len(os.listdir(tmp_path / "store" / "compact")) == 1


def test_a_compaction_that_breaks_off_before_it_tidies_up_doubles_nothing(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        store.push(small_run(tmp_path, number), url)
    with monkeypatch.context() as broken:
        broken.setattr(StoreFiles, "delete", lambda *_: None)
        store.compact(url)
    rows = load(url).summaries.rows
    assert len(os.listdir(tmp_path / "store" / "summary")) == 2
    assert rows.num_rows == sum(run.rows for run in load(url).summaries.runs)
    (packed,) = os.listdir(tmp_path / "store" / "compact")
    assert store.compact(url).runs == 2
    assert os.listdir(tmp_path / "store" / "compact") == [packed]
    assert os.listdir(tmp_path / "store" / "summary") == []


def test_a_reader_starts_over_when_a_file_is_compacted_under_its_hands(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [small_run(tmp_path, number).name for number in range(2)]
    for name in names:
        store.push(tmp_path / name, url)
    begun: list[bool] = []
    reading = StoreFiles.read_many

    def meanwhile(self: StoreFiles, paths: list[str]) -> dict[str, bytes]:
        if paths and not begun:
            begun.append(True)
            assert store.compact(url).runs == 2
        return reading(self, paths)

    monkeypatch.setattr(StoreFiles, "read_many", meanwhile)
    assert ids(url) == names
    assert begun


def test_the_cache_fetches_only_what_is_new_and_forgets_what_is_gone(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    reading, chunks = StoreFiles.read_many, StoreFiles.chunks

    def many(self: StoreFiles, paths: list[str]) -> dict[str, bytes]:
        fetched.extend(paths)
        return reading(self, paths)

    monkeypatch.setattr(StoreFiles, "read_many", many)
    first, second = (store.push(small_run(tmp_path, n), url).run_id for n in range(2))
    assert ids(url) == [first, second]
    assert len(fetched) == 2
    assert ids(url) == [first, second]
    assert len(fetched) == 2
    store.push(small_run(tmp_path, 2), url)
    assert len(ids(url)) == 3
    assert len(fetched) == 3
    next((tmp_path / "store" / "summary").glob(f"{first}.*")).unlink()
    assert first not in ids(url)
    store.compact(url)
    assert len(ids(url)) == 2
    monkeypatch.setattr(StoreFiles, "chunks", lambda *_: pytest.fail("fetched again"))
    assert len(ids(url)) == 2
    monkeypatch.setattr(StoreFiles, "chunks", chunks)
    next((tmp_path / "store" / "compact").iterdir()).unlink()
    assert ids(url) == []


def test_a_home_that_cannot_be_written_costs_only_time(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    store.push(small_run(tmp_path), url)
    assert len(ids(url)) == 1
    store.compact(url)
    assert len(ids(url)) == 1


def manifest_with(line: str, tmp_path: Path, url: str) -> str:
    """Put a hostile run into the store, its manifest listing one more file; return its id."""
    run = small_run(tmp_path)
    with (run / "MANIFEST.sha256").open("a") as manifest:
        manifest.write(line + "\n")
    digest = store._digest((run / "MANIFEST.sha256").read_bytes())
    shutil.copytree(run, tmp_path / "store" / "runs" / run.name / digest)
    return run.name


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil", "a//b", "./a", "c:/evil", "x" * 300,
     "a\tb", "/".join("abcdefghijklmn"), "MANIFEST.sha256"],
)  # fmt: skip
def test_no_name_in_a_store_leads_out_of_the_folder(tmp_path: Path, url: str, name: str) -> None:
    run_id = manifest_with(f"{'0' * 64}  {name}", tmp_path, url)
    with pytest.raises(StoreRefused, match=r"cannot be a file|not a line of a manifest"):
        store.pull(run_id, url, tmp_path / "back")
    assert not (tmp_path / "evil").exists()
    assert not list(tmp_path.glob("back/*"))


@pytest.mark.parametrize("run_id", ["..", "../runs", "a/b", "", ".hidden", "x" * 101, "a\n"])
def test_what_is_no_run_id_is_refused(tmp_path: Path, url: str, run_id: str) -> None:
    with pytest.raises(StoreRefused, match="cannot be a run's id"):
        store.pull(run_id, url, tmp_path)


def test_a_file_changed_in_the_store_is_noticed_and_named(tmp_path: Path, url: str) -> None:
    run = small_run(tmp_path)
    place = Path(store.push(run, url).place.removeprefix("file://"))
    journal = place / "targets" / "board-a" / "journal.jsonl"
    journal.write_text(journal.read_text().replace("1", "2", 1))
    with pytest.raises(StoreRefused, match=r"journal\.jsonl differs"):
        store.pull(run.name, url, tmp_path / "back")
    assert os.listdir(tmp_path / "back") == []


def test_a_run_larger_than_any_is_not_fetched(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(tmp_path)
    store.push(run, url)
    monkeypatch.setattr(store, "MAX_RUN_BYTES", 10_000)
    with pytest.raises(StoreRefused, match="larger than"):
        store.pull(run.name, url, tmp_path / "back")
    assert os.listdir(tmp_path / "back") == []


def test_pulling_overwrites_nothing(tmp_path: Path, url: str) -> None:
    run = small_run(tmp_path)
    store.push(run, url)
    with pytest.raises(StoreRefused, match="already exists"):
        store.pull(run.name, url, tmp_path)


def test_garbage_among_the_summaries_is_left_out_and_told(tmp_path: Path, url: str) -> None:
    run = small_run(tmp_path)
    store.push(run, url)
    summary = tmp_path / "store" / "summary"
    (good,) = summary.iterdir()
    (summary / f"evil.{'0' * 32}.parquet").write_bytes(b"PAR1 nonsense PAR1")
    (summary / f"other.{'1' * 32}.parquet").write_bytes(good.read_bytes())
    (summary / "notes.txt").write_text("hello")
    (summary / f"..{'2' * 32}.parquet").touch()
    loaded = load(url)
    assert [one.run_id for one in loaded.summaries.runs] == [run.name]
    assert len(loaded.notes) == 2
    assert "not a summary" in " ".join(loaded.notes)
    assert "a different run from the one in its name" in " ".join(loaded.notes)


def test_summaries_of_other_versions_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    part = store_summaries.summaries_of(load_run(small_run(tmp_path)), digest="d" * 32)
    path = tmp_path / "older.parquet"
    path.write_bytes(store_summaries.to_parquet(part))
    table = pq.read_table(path)
    older = table.drop_columns(["boot_id", "suite"]).append_column("later", [["x"] * len(table)])
    facts = table.schema.metadata
    pq.write_table(older.replace_schema_metadata(facts), path)
    read = store_summaries.from_parquet(path, "older")
    assert read.rows.schema.equals(store_summaries.ROWS_SCHEMA)
    assert read.rows["value"].to_pylist() == part.rows["value"].to_pylist()
    assert set(read.rows["suite"].to_pylist()) == {None}
    newer = {**facts, b"gfbench.schema": b"gfbench/3"}
    pq.write_table(table.replace_schema_metadata(newer), path)
    with pytest.raises(ResultError, match="upgrade"):
        store_summaries.from_parquet(path, "newer")


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = small_run(tmp_path)
    with pytest.raises(StoreError, match="cannot write"):
        store.push(run, f"file://{tmp_path}/file/store")


@pytest.mark.parametrize("url", ["http://host/store", "nonsense://host/store"])
def test_what_cannot_be_a_store_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused, match=url):
        StoreFiles(url)


def test_a_password_in_a_url_is_not_shown() -> None:
    shown = without_password("sftp://me:hunter2@host/dir?token=abc")
    assert shown == "sftp://host/dir"


def test_an_error_does_not_repeat_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecretvalue")
    files = StoreFiles(f"file://{tmp_path}")

    def fail(*_: object, **__: object) -> None:
        raise OSError("denied for topsecretvalue at https://me:hunter2@host/")

    monkeypatch.setattr(files._fs, "ls", fail)
    with pytest.raises(StoreError, match="denied") as caught:
        files.files("summary")
    assert "topsecret" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_ordinary_names_of_files_are_taken() -> None:
    for name in ("run.json", "targets/nano 1/power.csv.gz", "kernels/mine.py", "targets/ü/x"):
        check_path(name)
