from __future__ import annotations

import errno
import gzip
import json
import os
from functools import partial
from pathlib import Path

import pytest
from limited_files import files_of_at_most
from make_run import FakeTarget, edit_json, make_run, write_json

from reports.metrics.of_run import compare
from reports.metrics.values import latencies_s
from reports.page.render import render
from reports.results.journal import append_journal
from reports.results.manifest import verify_manifest, write_manifest
from reports.results.read import ResultError, load_run, read_trace
from reports.results.write import (
    StorageError,
    create_run,
    target_folder,
    write_json_atomic,
)
from workloads.spec.messages import SCHEMA

small_run = partial(make_run, layers=(("early", 16, 56),))


def journal_of(run: Path) -> Path:
    return run / "targets" / "board-a" / "journal.jsonl"


def test_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    runs = {create_run(tmp_path / "new", {"seed": 1}) for _ in range(20)}
    assert len(runs) == 20
    for run in runs:
        header = json.loads((run / "run.json").read_text())
        assert header == {"seed": 1, "schema": SCHEMA, "run_id": run.name}
        assert load_run(run).run_id == run.name


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json_atomic(path, {"x": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_atomic(path, {"x": float("nan")})
    with files_of_at_most(100), pytest.raises(StorageError):
        write_json_atomic(path, {"x": "y" * 1000})
    assert json.loads(path.read_text()) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_full_disk_names_the_path_and_the_systems_words(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        append_journal(Path("/dev/full"), b'{"a":1}\n')
    assert caught.value.errno == errno.ENOSPC
    assert "/dev/full" in str(caught.value)
    assert "No space left" in str(caught.value)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        create_run(tmp_path / "file", {})


def test_the_manifest_notices_what_changed(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    write_manifest(run)
    assert verify_manifest(run) == ()
    names = [line.split("  ")[1] for line in (run / "MANIFEST.sha256").read_text().splitlines()]
    assert names == sorted(names)
    assert "targets/board-a/journal.jsonl" in names
    text = journal_of(run).read_text()
    journal_of(run).write_text(text.replace("0.0", "0.1", 1))
    (run / "targets" / "board-a" / "probe.json").unlink()
    (run / "extra").touch()
    assert verify_manifest(run) == (
        "extra: not in the manifest",
        "targets/board-a/journal.jsonl: changed",
        "targets/board-a/probe.json: missing",
    )


def test_what_has_not_come_whole_from_a_board_is_no_part_of_the_result(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    (run / "targets" / "board-a" / "power.part").write_bytes(b"1,c0,5")
    write_manifest(run)
    assert "power.part" not in (run / "MANIFEST.sha256").read_text()
    assert verify_manifest(run) == ()


def test_a_run_without_a_manifest_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="missing"):
        verify_manifest(small_run(tmp_path))


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = load_run(small_run(tmp_path, targets=[FakeTarget(power=True)]))
    (target,) = run.targets
    assert run.header.suite.name == "quick"
    assert [case.method for case in run.header.plan.cases] == [
        "exact",
        "gradient_filter",
        "gradient_filter",
    ]
    assert target.probe is not None
    assert target.probe.torch is not None
    assert target.probe.torch.version == "1.10.2"
    assert len(target.blocks) == target.session.blocks_planned == 3 + 2 + 18
    assert target.notes == ()
    trace = read_trace(target)
    assert trace is not None
    assert set(trace) == {"c0", "c1", "c2"}


@pytest.mark.parametrize("file", ["run.json", "targets/board-a/journal.jsonl"])
def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path, file: str) -> None:
    path = small_run(tmp_path)
    text = (path / file).read_text()
    (path / file).write_text(text.replace("gfbench/2", "gfbench/3"))
    if file == "run.json":
        with pytest.raises(ResultError, match=r"gfbench/3.*upgrade"):
            load_run(path)
    else:
        (target,) = load_run(path).targets
        assert "upgrade" in " ".join(target.notes)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema":"other/1","run_id":"x"}'])
def test_what_is_not_a_run_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ResultError, match="not a result folder"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ResultError, match=r"run\.json"):
        load_run(tmp_path)


def test_unknown_fields_are_ignored_and_broken_files_become_notes(tmp_path: Path) -> None:
    path = small_run(tmp_path, targets=[FakeTarget(power=True)])
    folder = path / "targets" / "board-a"
    edit_json(folder / "session.json", lambda session: session.update(later=[1]))
    (folder / "probe.json").write_text("{")
    write_json(folder / "power.json", {"rails": 3})
    (target,) = load_run(path).targets
    assert target.session.status == "ok"
    assert target.probe is None
    assert target.power is None
    assert len(target.notes) == 2


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", "x" * 101])
def test_a_target_name_never_leaves_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        target_folder(tmp_path, name)


def test_links_and_hidden_folders_are_not_targets(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    (path / "targets" / "evil").symlink_to("/etc")
    (path / "targets" / ".hidden").mkdir()
    run = load_run(path)
    assert [target.name for target in run.targets] == ["board-a"]
    assert len(run.notes) == 2


def test_a_target_that_left_nothing_is_noted(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    edit_json(path / "run.json", lambda header: header["targets"].update(lost={}))
    assert load_run(path).notes == ("target lost left no files",)


def test_a_cut_power_trace_is_read_up_to_the_cut(tmp_path: Path) -> None:
    path = small_run(tmp_path, targets=[FakeTarget(power=True)])
    trace = path / "targets" / "board-a" / "power.csv.gz"
    (target,) = load_run(path).targets
    whole = read_trace(target)
    content = gzip.decompress(trace.read_bytes())
    trace.write_bytes(gzip.compress(content + b"nonsense\n1,c0,nan\n", mtime=0))
    noisy = read_trace(target)
    trace.write_bytes(trace.read_bytes()[:-2000])
    cut = read_trace(target)
    assert whole is not None
    assert noisy is not None
    assert cut is not None
    assert len(whole["c0"][0]) == len(noisy["c0"][0])
    assert 0 < len(cut["c0"][0]) < len(whole["c0"][0])


def test_text_that_is_not_unicode_is_replaced(tmp_path: Path) -> None:
    argv = os.fsdecode(b"caf\xe9")
    run = create_run(tmp_path / "argv", {"argv": [argv], "targets": {}})
    assert load_run(run).header.argv == ("caf?",)
    path = small_run(tmp_path)
    lines = journal_of(path).read_text().splitlines()
    lines[0] = lines[0].replace('"name": "early"', '"name": "\\ud800"')
    lines[1] = lines[1].replace('"log_tail": ""', '"log_tail": "\\udc80"')
    journal_of(path).write_text("\n".join(lines) + "\n")
    (target,) = load_run(path).targets
    assert len(target.blocks) == 23
    assert target.blocks[0].case.layer.name == "?"
    assert target.blocks[1].log_tail == "?"
    render([load_run(path)]).encode()


def test_what_cannot_be_read_is_a_result_problem(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    journal_of(path).unlink()
    (path / "targets" / "board-a" / "session.json").unlink()
    (path / "targets" / "board-a" / "session.json").mkdir()
    with pytest.raises(ResultError, match=r"cannot read .*session\.json"):
        load_run(path)


def test_sentinels_and_verification_are_no_part_of_what_figures_are_made_of(
    tmp_path: Path,
) -> None:
    path = small_run(tmp_path)
    before = load_run(path)
    lines = [json.loads(line) for line in journal_of(path).read_text().splitlines()]
    timing = next(line for line in lines if line["kind"] == "timing")
    layer = {**timing["case"]["layer"], "name": "sentinel"}
    sentinel = {**timing, "kind": "sentinel", "case": {**timing["case"], "layer": layer}}
    batch = [{**line, "verification": True} for line in lines if line["kind"] == "timing"]
    with journal_of(path).open("a") as file:
        for order, line in enumerate((sentinel, *batch), start=1000):
            file.write(json.dumps({**line, "order": order}) + "\n")
    run = load_run(path)
    (target,) = run.targets
    assert target.blocks == before.targets[0].blocks
    assert compare(run) == compare(before)
    assert [block.case.layer.name for block in target.sentinels] == ["sentinel"]
    assert len(target.verification) == 18
    assert len(target.all_blocks) == 23 + 1 + 18
    verified = target.verification_run
    case = target.verification[0].case
    assert verified.blocks_of(case, "timing") == target.verification_run.blocks_of(case, "timing")
    assert latencies_s(verified, case, "step") == latencies_s(target, case, "step")
