"""What a board sends is data: checked line by line before it enters the journal."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path

import pytest

from harness.board.board import journal_line
from harness.fleet.live_view import LiveView
from harness.fleet.machines import Machines
from harness.fleet.session import Request, Session
from harness.payloads.payload import Payload
from harness.plan.suites import load_suite
from harness.power.files import PowerFiles
from reports.results.read import POWER_MAP, POWER_TRACE
from reports.results.write import target_folder
from targets.inventory import Target
from workloads.spec.messages import dump


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
    assert journal_line({"line": line}) == (line, {"order": 1, "text": "ä\n\x1e\u2028\r"})


def session(folder: Path) -> Session:
    payload = Payload(name="p", data=b"", sha256="0")
    suite = load_suite("quick")
    request = Request(run=folder, run_id="r", suite=suite, seed=1, payload=payload, inventory=None)
    from rich.console import Console

    view = LiveView(["local"], Console(stderr=True))
    made = Session(
        Target(name="local"), request, machines=Machines(), watch=view, stop=threading.Event()
    )
    target_folder(folder, "local")
    return made


HEADER = b"t_s,sensor,raw\n"


@pytest.mark.parametrize(
    ("earlier", "now", "whole"),
    [
        (None, HEADER + b"1,c0,5\n", HEADER + b"1,c0,5\n"),
        (HEADER + b"1,c0,5\n2,c", HEADER + b"1,c0,5\n2,c0,6\n", HEADER + b"1,c0,5\n2,c0,6\n"),
        (HEADER + b"1,c0,5\n2,c", HEADER + b"3,c0,7\n", HEADER + b"1,c0,5\n3,c0,7\n"),
        (HEADER + b"1,c0,5\n", HEADER, HEADER + b"1,c0,5\n"),
    ],
    ids=["first", "grown", "lost by the board", "nothing new"],
)
def test_a_trace_that_is_here_is_never_lost(
    tmp_path: Path, earlier: bytes | None, now: bytes, whole: bytes
) -> None:
    rail_map = {"channels": [{"id": "c0", "path": "/sys/x", "unit": "mW"}], "rails": []}
    (tmp_path / POWER_MAP).write_text(json.dumps(rail_map))
    trace = tmp_path / POWER_TRACE
    if earlier is not None:
        trace.write_bytes(gzip.compress(earlier))
    PowerFiles(Target(name="local"), None, tmp_path).keep(now)
    assert gzip.decompress(trace.read_bytes()) == whole
