"""The wire format: what goes in comes out, and what is no record is not taken for one."""

from __future__ import annotations

import json

import pytest

from workloads.spec.messages import (
    SCHEMA,
    Block,
    Case,
    Job,
    Layer,
    block_from_json,
    case_from_json,
    dump,
    frame,
    job_from_json,
    loads,
    to_json,
    unframe,
)

LAYER = Layer("l", 4, 6, 9, 7, (1, 7), (2, 1), (0, 3), (1, 2), 2, False)
CASE = Case(LAYER, "gradient_filter", 2, "torch", "cpu", "float64", 3)
BLOCK = Block(5, 1, 2, "timing", CASE, 99)
JOB = Job(SCHEMA, "run", "nano", (BLOCK,), 0.5, "spawn", 4, 60.0, "/", {"channels": []})


def test_cases_blocks_and_jobs_survive_the_trip() -> None:
    assert case_from_json(json.loads(dump(CASE))) == CASE
    assert block_from_json(json.loads(dump(BLOCK))) == BLOCK
    assert job_from_json(json.loads(dump(to_json(JOB)))) == JOB
    assert hash(job_from_json(json.loads(dump(JOB))).blocks) == hash(JOB.blocks)


def test_unknown_fields_are_ignored_and_absent_ones_take_their_defaults() -> None:
    data = to_json(CASE)
    data["new"] = 1
    data["layer"]["colour"] = "blue"
    del data["layer"]["groups"]
    assert case_from_json(data) == CASE._replace(workload=LAYER._replace(groups=1))


def test_a_key_tells_every_part_of_a_case() -> None:
    assert CASE.key == "l/gradient_filter-r2/torch/cpu/float64/b3"
    assert CASE._replace(method="exact", patch_size=None).key == "l/exact/torch/cpu/float64/b3"


def test_a_record_comes_out_of_its_frame() -> None:
    record = {"type": "x", "text": "ä\n\x1e\u2028", "list": [1, 2.5, None, True]}
    framed = frame(record)
    assert framed.isascii()
    assert framed.count(b"\n") == 1
    assert unframe(framed) == record


def test_what_is_not_finite_becomes_null() -> None:
    nan, inf = float("nan"), float("inf")
    assert json.loads(dump({"a": nan, "b": (1.0, -inf), "c": [{"d": inf}]})) == {
        "a": None,
        "b": [1.0, None],
        "c": [{"d": None}],
    }


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"Welcome to Ubuntu\n",
        b'{"type": "probe"}\n',
        b'\x1e{"type": "pro',
        b"\x1e\n",
        b"\x1e[1, 2]\n",
        b"\x1enull\n",
        b'\x1e{"a": NaN}\n',
        b'\x1e{"a": -Infinity}\n',
        b'\x1e{"a": 1} and more\n',
        b"\x1e" + b"[" * 200_000 + b"\n",
        b'\x1e{"a":' * 5 + b"\n",
        b"\x1e" + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n",
        b"\xff\xfe\x1e\xff\n",
    ],
    ids=lambda line: repr(line[:24]),
)
def test_what_is_no_record_is_none(line: bytes) -> None:
    assert unframe(line) is None


def test_a_print_without_newline_before_a_record_does_no_harm() -> None:
    assert unframe(b"Last login: Monday " + frame({"type": "probe"})) == {"type": "probe"}
    assert unframe(b"junk \x1e{ junk " + frame({"type": "probe"})) == {"type": "probe"}


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_json_lacks_are_refused(constant: str) -> None:
    with pytest.raises(ValueError, match="is not valid JSON"):
        loads(f'{{"a": {constant}}}')
