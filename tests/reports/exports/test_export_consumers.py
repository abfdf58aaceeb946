"""Each format is read back by the program that it is for."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import pandas as pd
import pyperf
import pytest
import xmlschema
from make_run import FakeTarget, case_key, make_case, make_run
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from reports.exports import export
from reports.metrics.of_run import compare
from reports.metrics.rows import COLUMNS, Row
from reports.results.read import load_run
from reports.results.records import Run

DATA = Path(__file__).parents[2] / "data" / "ci"
EARLY = ("early", 16, 56)
BROKEN = case_key(make_case(EARLY, "gradient_filter", 4))
LEFT_OUT = case_key(make_case(EARLY, "gradient_filter", 2))
EXACT, FILTERED = "method=exact", "method=gradient_filter,patch_size=2"
STEP = "early/torch/cpu/float32/b8/step"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    hurt = FakeTarget(
        name="hurt",
        broken={BROKEN: ("failed", "the kernel\nfell | over")},
        skipped={LEFT_OUT: "does not fit"},
    )
    folder = tmp_path_factory.mktemp("runs")
    return load_run(make_run(folder, targets=[FakeTarget(power=True, window_s=11), hurt], rounds=8))


def text_of(run: Run, name: str, case: str = "") -> str:
    content = export(run, name, case)
    assert isinstance(content, str)
    return content


def files(run: Run, folder: Path, name: str, *cases: str) -> list[Path]:
    paths = [folder / f"{number}.json" for number in range(len(cases))]
    for path, case in zip(paths, cases, strict=True):
        path.write_text(text_of(run, name, f"target=board-a,{case}"))
    return paths


def python(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def row_of(run: Run, case: str, phase: str = "step", metric: str = "latency_s") -> Row:
    workload, method = case.split()
    return next(
        row
        for row in compare(run)
        if (row.target, row.workload, row.phase, row.metric) == ("board-a", workload, phase, metric)
        and f"{row.method}{row.patch_size or ''}" == method
    )


def test_pyperf_loads_every_block_as_a_run_with_its_warm_ups(run: Run) -> None:
    suite = pyperf.BenchmarkSuite.loads(text_of(run, "pyperf"))
    bench = suite.get_benchmark("board-a/early/exact/torch/cpu/float32/b8/step")
    assert bench.get_nvalue() == bench.get_nrun() == 8
    assert bench.median() == pytest.approx(row_of(run, "early exact").value)
    assert all(len(one.warmups) == 3 for one in bench.get_runs())
    metadata = bench.get_metadata()
    assert (metadata["cpu_model_name"], metadata["unit"]) == ("Cortex-A57", "second")
    memory = suite.get_benchmark("board-a/early/exact/torch/cpu/float32/b8/peak_rss")
    assert memory.get_unit() == "byte"
    assert memory.median() == row_of(run, "early exact", "", "peak_rss_bytes").value
    names = suite.get_benchmark_names()
    assert not any(name.startswith("hurt/early/gradient_filter") for name in names)


def test_pyperf_compares_two_cases(run: Run, tmp_path: Path) -> None:
    exact, filtered = files(run, tmp_path, "pyperf", EXACT, FILTERED)
    said = python("pyperf", "compare_to", exact, filtered)
    found = re.search(rf"{STEP}.*?: ([\d.]+)x faster", said, re.DOTALL)
    assert found, said
    values = [row_of(run, f"early {m}").value for m in ("exact", "gradient_filter2")]
    assert None not in values
    assert float(found[1]) == pytest.approx(values[0] / values[1], rel=0.03)  # type: ignore[operator]


def test_pytest_benchmark_compares_methods_within_a_group(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text_of(run, "pytest-benchmark"))
    said = python("pytest_benchmark", "compare", path, "--columns=median,iqr,rounds", "--sort=name")
    assert "benchmark 'board-a/early/step': 3 tests" in said
    assert "benchmark 'hurt/early/step': 1 test" in said
    shown = re.search(r"board-a/early/exact/\S+/step \S* +([\d.,]+)", said)
    assert shown, said
    value = row_of(run, "early exact").value
    assert value is not None
    assert float(shown[1].replace(",", "")) == pytest.approx(1e3 * value, rel=1e-3)


def test_pytest_benchmark_compares_two_cases_by_name(run: Run, tmp_path: Path) -> None:
    exact, filtered = files(run, tmp_path, "pytest-benchmark", EXACT, FILTERED)
    said = python("pytest_benchmark", "compare", exact, filtered, "--group-by=fullname")
    assert f"benchmark '{STEP}': 2 tests" in said


def test_prometheus_parses_the_exposition(run: Run) -> None:
    parsed = text_string_to_metric_families(text_of(run, "openmetrics"))  # type: ignore[no-untyped-call]
    families = {family.name: family for family in parsed}
    latency = families["gfbench_latency_seconds"]
    assert (latency.type, latency.unit) == ("gauge", "seconds")
    expected = [row for row in compare(run) if row.metric == "latency_s" and row.value is not None]
    assert [sample.value for sample in latency.samples] == [row.value for row in expected]
    assert latency.samples[0].labels["phase"] == "forward"
    assert families["gfbench_energy_joules"].samples[0].value > 0
    assert len(families["gfbench_latency_ci_low_seconds"].samples) == len(expected)
    missing = families["gfbench_missing"].samples
    assert {sample.labels["status"] for sample in missing} >= {"failed", "skipped"}
    assert len(missing) == sum(row.value is None for row in compare(run))


def test_jenkins_schema_takes_the_junit_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text(text_of(run, "junit"))
    schema = xmlschema.XMLSchema(str(DATA / "junit-10.xsd"))
    schema.validate(str(path))
    document = ElementTree.parse(path).getroot()
    hurt = document.findall("testsuite")[1]
    assert (hurt.get("tests"), hurt.get("failures"), hurt.get("skipped")) == ("9", "1", "1")
    outcomes = {case.get("name"): case for case in hurt.iter("testcase")}
    failure = outcomes[BROKEN].find("failure")
    assert failure is not None
    assert failure.get("message") == "failed: the kernel\nfell | over"
    skipped = outcomes[LEFT_OUT].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "skipped: does not fit"


def test_pandas_reads_the_parquet_file_with_types(run: Run) -> None:
    content = export(run, "parquet")
    assert isinstance(content, bytes)
    frame = pd.read_parquet(io.BytesIO(content))
    rows = compare(run)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == len(rows)
    assert [None if math.isnan(v) else v for v in frame["value"]] == [row.value for row in rows]
    assert str(frame["batch"].dtype) == "int64"
    assert frame["value"].isna().sum() == sum(row.value is None for row in rows) > 0
    assert not (frame["value"] == 0).any()


def test_google_benchmarks_comparison_finds_all_that_it_asks_of_a_repetition(run: Run) -> None:
    document = json.loads(text_of(run, "google-benchmark"))
    assert document["context"]["json_schema_version"] == 1
    entries = document["benchmarks"]
    name = "board-a/early/exact/torch/cpu/float32/b8/step"
    repetitions = [entry for entry in entries if entry["name"] == name]
    assert [entry["repetition_index"] for entry in repetitions] == list(range(8))
    for entry in repetitions:
        assert (entry["run_type"], entry["time_unit"]) == ("iteration", "ns")
        assert entry["real_time"] == entry["cpu_time"] > 0
        assert entry["iterations"] >= 12
    value = row_of(run, "early exact").value
    assert value is not None
    middle = median(entry["real_time"] for entry in repetitions)
    assert middle == pytest.approx(1e9 * value)
    aggregate = next(entry for entry in entries if entry["name"] == f"{name}_median")
    assert aggregate["run_type"] == "aggregate"
    assert aggregate["real_time"] == pytest.approx(middle)
    assert "not measured" in document["context"]["gfbench_note"]


def test_bencher_gets_measures_with_boundaries_and_none_for_what_is_missing(run: Run) -> None:
    document = json.loads(text_of(run, "bmf"))
    measure = document["board-a/early/exact/torch/cpu/float32/b8/step"]["latency"]
    row = row_of(run, "early exact")
    assert row.value is not None
    assert row.ci_low is not None
    assert measure["value"] == pytest.approx(1e9 * row.value)
    assert measure["lower_value"] == pytest.approx(1e9 * row.ci_low)
    assert measure["lower_value"] < measure["value"] < measure["upper_value"]
    whole = document["board-a/early/exact/torch/cpu/float32/b8"]
    assert whole["peak-rss-bytes"]["value"] > 0
    assert "hurt/early/gradient_filter-r4/torch/cpu/float32/b8/step" not in document
    for measures in document.values():
        for name, figures in measures.items():
            assert re.fullmatch("[a-z0-9-]{1,64}", name)
            assert {"value"} <= figures.keys() <= {"value", "lower_value", "upper_value"}
            assert all(type(figure) in (int, float) for figure in figures.values())


def test_the_github_action_gets_numbers_with_ranges_that_it_can_read(run: Run) -> None:
    smaller = json.loads(text_of(run, "github-benchmark"))
    bigger = json.loads(text_of(run, "github-benchmark-bigger"))
    for entry in (*smaller, *bigger):
        assert isinstance(entry["name"], str)
        assert isinstance(entry["value"], float)
        assert entry["unit"] in ("ms", "mJ", "MiB", "ratio")
        if "range" in entry:  # by the pattern of the action's own reader
            arm = re.match(r"(?P<prefix>(\+-|±)\s*)(?P<value>\d.+)", entry["range"])
            assert arm
            assert float(arm["value"]) > 0
    names = [entry["name"] for entry in (*smaller, *bigger)]
    assert len(names) == len(set(names))
    step = "board-a/early/exact/torch/cpu/float32/b8/step latency"
    entry = next(entry for entry in smaller if entry["name"] == step)
    value = row_of(run, "early exact").value
    assert value is not None
    assert entry["value"] == pytest.approx(1e3 * value)
    assert entry["extra"].startswith("95 %: ")
    assert any(entry["name"].endswith("/backward speedup") for entry in bigger)
    assert not any("latency" in entry["name"] for entry in bigger)


def test_markdown_has_a_row_per_case_and_says_what_is_missing_and_why(run: Run) -> None:
    text = text_of(run, "markdown")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 2 * 9
    headers = len(re.findall(r"(?<!\\)\|", rows[0]))
    assert all(len(re.findall(r"(?<!\\)\|", row)) == headers for row in rows)
    assert "failed: the kernel fell \\| over: hurt/early/gradient_filter-r4" in text
    broken = next(row for row in rows if "hurt/early/gradient_filter-r4" in row)
    assert broken.count("—") == 8
