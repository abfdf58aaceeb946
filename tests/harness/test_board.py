"""What a board sends is data: checked line by line before it enters the journal."""

from __future__ import annotations

import gzip
from dataclasses import asdict
from pathlib import Path

import pytest
from telemetry_data import manifest

from harness.board import journal_line
from harness.power_files import PowerFiles
from reports import results
from targets.inventory import Target
from targets.power_plans import plan_power
from workloads.messages import dump, to_json


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
    plan = plan_power("jetson-nano", {"files": manifest("sysfs-ina3221x-nano-iio-COMPOSED.tsv")})
    results.write_json_atomic(tmp_path / results.POWER_MAP, to_json(asdict(plan)))
    trace = tmp_path / results.POWER_TRACE
    if earlier is not None:
        trace.write_bytes(gzip.compress(earlier))
    PowerFiles(Target(name="local"), None, tmp_path).keep(now)
    assert gzip.decompress(trace.read_bytes()) == whole
