"""What a board sends is data: checked line by line before it enters the journal."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path

import pytest

from harness.board.probed import clock_off_s, read_probe
from harness.errors import CommandFailed
from harness.fleet.live_view import LiveView
from harness.fleet.machines import Machines
from harness.fleet.session import Request, Session
from harness.payloads.payload import Payload
from harness.plan.suites import load_suite
from harness.power.files import PowerFiles
from reports.results.read import POWER_MAP, POWER_TRACE, SESSION
from reports.results.write import target_folder
from targets.inventory import Target


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


@pytest.mark.parametrize(
    ("wall_s", "off_s"),
    [
        (100.0, 0.0),
        (160.0, 0.0),  # somewhere between question and answer, which took a minute
        (161.5, 1.5),
        (70.0, -30.0),
        (None, None),
        ("now", None),
    ],
)
def test_a_clock_is_off_by_what_the_time_of_question_and_answer_does_not_explain(
    wall_s: object, off_s: float | None
) -> None:
    assert clock_off_s(wall_s, 100.0, 160.0) == off_s


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


@pytest.mark.parametrize("value", [1e308, 10**400, [1]], ids=["1e308", "huge", "list"])
def test_a_probe_with_a_figure_that_cannot_be_names_the_field(value: object) -> None:
    with pytest.raises(CommandFailed, match=r"nano: .*cpu\.max_mhz: ") as caught:
        read_probe(Target(name="nano", host="h"), {"cpu": {"max_mhz": value}})
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("content", ["{", '{"blocks_planned": 1e308}', '{"notes": 3}'])
def test_a_broken_record_of_the_last_session_is_a_note_when_a_run_is_resumed(
    tmp_path: Path, content: str
) -> None:
    made = session(tmp_path)
    (made.folder / SESSION).write_text(content)
    assert made._last_session() == {}
    assert "session.json is broken" in made.outcome.notes[0]
