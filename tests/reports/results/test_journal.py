"""A target's journal: what a board sends, what a crash leaves, which record of an order counts."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from limited_files import files_of_at_most
from make_run import make_run

from reports.results import journal as journals
from reports.results.journal import (
    JournalLine,
    append_journal,
    journal_line,
    read_journal,
    trim_journal,
)
from reports.results.read import load_run
from reports.results.write import StorageError
from workloads.runner import jobs
from workloads.spec.messages import dump

small_run = partial(make_run, layers=(("early", 16, 56),))


def journal_of(run: Path) -> Path:
    return run / "targets" / "board-a" / "journal.jsonl"


def test_a_line_that_cannot_be_written_whole_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append_journal(path, b'{"order":0}\n')
    with files_of_at_most(100), pytest.raises(StorageError):
        append_journal(path, b"x" * 1000 + b"\n")
    assert path.read_bytes() == b'{"order":0}\n'


def test_lines_after_a_cut_line_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"a":1}\n{"b"')
    append_journal(path, b'{"c":3}')
    append_journal(path, b'{"d":4}\n')
    append_journal(path, b"")
    assert path.read_bytes() == b'{"a":1}\n{"b"\n{"c":3}\n{"d":4}\n'


def test_a_cut_last_line_and_garbage_become_notes(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    journal = journal_of(path)
    whole = journal.read_bytes()
    garbage = b'not json\n[1]\n{"type":"block"}\n{"type":"mark"}\n\xff\xfe\n'
    journal.write_bytes(garbage + whole[: len(whole) - 20])
    (target,) = load_run(path).targets
    assert len(target.blocks) == 22
    assert "cut" in target.notes[0]
    assert target.notes[1].startswith("4 line(s)")


def test_a_block_with_what_is_not_a_number_is_invalid(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    line = json.loads(journal_of(path).read_text().splitlines()[-1])
    assert line["kind"] == "timing"
    for bad in ("NaN", "Infinity", "1e999"):
        text = json.dumps(line).replace(str(line["timing"]["step"]["times_s"][0]), bad, 1)
        journal_of(path).write_text(text + "\n")
        (target,) = load_run(path).targets
        (block,) = target.blocks
        assert block.status == "invalid"
        assert block.reason.startswith("its record is broken: timing.step.times_s.0: ")


def test_an_overlong_line_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_run(tmp_path)
    whole = journal_of(path).read_bytes()
    longest = max(len(line) for line in whole.splitlines())
    monkeypatch.setattr(journals, "MAX_LINE_BYTES", longest + 10)
    journal_of(path).write_bytes(b"x" * (5 * longest) + b"\n" + whole)
    (target,) = load_run(path).targets
    assert len(target.blocks) == 23
    assert len(target.notes) == 1


def test_the_last_good_block_of_an_order_wins(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    lines = [json.loads(line) for line in journal_of(path).read_text().splitlines()]
    failed = {**lines[0], "status": "failed"}
    again = [{**lines[0], "pid": 1}, {**lines[0], "pid": 2}, failed]
    journal_of(path).write_text("".join(json.dumps(b) + "\n" for b in [failed, *lines, *again]))
    (target,) = load_run(path).targets
    assert len(target.blocks) == 23
    assert (target.blocks[0].status, target.blocks[0].pid) == ("ok", 2)


def test_the_board_measures_again_what_does_not_count_yet(tmp_path: Path) -> None:
    path = journal_of(small_run(tmp_path))
    line = json.loads(path.read_text().splitlines()[0])
    path.unlink()
    for order, status in ((0, "interrupted"), (1, "interrupted"), (1, "ok"), (2, "failed")):
        jobs.append_journal(str(path), {**line, "order": order, "status": status})
    assert jobs.finished_orders(str(path)) == {1, 2}
    counted = {block.order: block.status for block in read_journal(path).blocks}
    assert counted == {0: "interrupted", 1: "ok", 2: "failed"}


def test_what_a_crash_left_after_the_last_whole_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert trim_journal(path) == b""
    path.write_bytes(b'{"a":1}\n{"b":2}\n{"c"')
    assert trim_journal(path) == path.read_bytes() == b'{"a":1}\n{"b":2}\n'


@pytest.mark.parametrize(
    "line",
    [
        None,
        5,
        "",
        '{"order": 1}',
        '{"order": 1}\n\n',
        '{"order": 1}\n{"order": 2}\n',
        '{"order":\n1}\n',
        '{"order":\r1}\n',
        '{"order":\t1}\n',
        '{"order": NaN}\n',
        "[1]\n",
        "null\n",
        '{"order": 1\n',
        "[" * 100_000 + "\n",
        '\x1e{"order": 1}\n',
    ],
)
def test_a_line_that_would_break_the_journal_is_not_kept(line: object) -> None:
    assert journal_line({"line": line}) is None


def test_a_record_is_kept_as_it_was_sent() -> None:
    line = dump({"order": 1, "text": "ä\n\x1e\u2028\r"}) + "\n"
    content = {"order": 1, "text": "ä\n\x1e\u2028\r"}
    assert journal_line({"line": line}) == JournalLine(text=line, content=content)
