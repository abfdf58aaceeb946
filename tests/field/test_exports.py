"""Cases E2 and E3: exports are strict JSON also without intervals, and no name is there twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_run import FakeTarget, edit_json, make_run

from reports.exports import export
from reports.results.read import load_run
from reports.results.records import Run

JSON_FORMATS = (
    "json",
    "bmf",
    "github-benchmark",
    "github-benchmark-bigger",
    "pytest-benchmark",
    "pyperf",
    "google-benchmark",
)


def refuse(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("format_name", JSON_FORMATS)
def test_e2_an_export_of_too_few_rounds_for_an_interval_is_strict_json(
    tmp_path: Path, format_name: str, rounds: int
) -> None:
    run = load_run(make_run(tmp_path, rounds=rounds, targets=[FakeTarget(power=True)]))
    assert json.loads(export(run, format_name), parse_constant=refuse)


def with_an_a_a_pair(path: Path) -> None:
    """Have every filtered case measured by kernel ``again`` too, another name of ``torch``."""
    for journal in path.glob("targets/*/journal.jsonl"):
        blocks = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
        for block in list(blocks):
            if block.get("case", {}).get("method") == "gradient_filter":
                case = {**block["case"], "kernel": "again"}
                blocks.append({**block, "case": case, "order": block["order"] + 1000})
        journal.write_text("".join(json.dumps(b) + "\n" for b in blocks), encoding="utf-8")

    def plan(header: Any) -> None:
        cases = header["plan"]["cases"]
        cases += [{**c, "kernel": "again"} for c in cases if c["method"] == "gradient_filter"]

    edit_json(path / "run.json", plan)


def bmf(document: Any) -> list[str]:
    return [f"{name} {measure}" for name, measures in document for measure, _ in measures]


def benchmarks(document: Any) -> list[str]:
    (entries,) = (value for name, value in document if name == "benchmarks")
    return [dict(entry)["name"] for entry in entries]


def google(document: Any) -> list[str]:
    (entries,) = (value for name, value in document if name == "benchmarks")
    keys = ("name", "run_type", "repetition_index", "aggregate_name")
    return [" ".join(str(dict(entry).get(key)) for key in keys) for entry in entries]


def pyperf(document: Any) -> list[str]:
    (entries,) = (value for name, value in document if name == "benchmarks")
    return [dict(dict(entry)["metadata"])["name"] for entry in entries]


def listed(document: Any) -> list[str]:
    return [dict(entry)["name"] for entry in document]


NAMES: dict[str, Callable[[Any], list[str]]] = {
    "bmf": bmf,
    "github-benchmark": listed,
    "github-benchmark-bigger": listed,
    "pytest-benchmark": benchmarks,
    "pyperf": pyperf,
    "google-benchmark": google,
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two targets, each with an A/A pair of kernels."""
    path = make_run(
        tmp_path_factory.mktemp("runs"),
        targets=[FakeTarget(), FakeTarget(name="board-b")],
        rounds=2,
    )
    with_an_a_a_pair(path)
    return load_run(path)


@pytest.mark.parametrize("case", ["", "method=gradient_filter,patch_size=2", "kernel=again"])
@pytest.mark.parametrize("format_name", NAMES)
def test_e3_every_name_is_there_once(pairs: Run, format_name: str, case: str) -> None:
    # As pairs, or a name that is there twice in an object would be lost while reading.
    document = json.loads(export(pairs, format_name, case), object_pairs_hook=list)
    names = NAMES[format_name](document)
    assert len(names) > 3
    assert [name for name, count in Counter(names).items() if count > 1] == []
