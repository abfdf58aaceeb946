from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.offline
import pytest
import typer
from make_run import FakeTarget, edit_json, make_run, write_json

from harness import cli
from reports.charts import CHARTS, LAYERS, NETWORKS
from reports.gate.document import document
from reports.gate.judge import judge
from reports.gate.verdict import Gate
from reports.metrics.of_run import compare
from reports.page.assets import TEMPLATES, shared_files
from reports.page.commands import end_of_repeat, start_of_repeat
from reports.page.render import render
from reports.results.read import load_run

LATE_R4 = "late/gradient_filter-r4/torch/cpu/float32/b8"
HOSTILE = '<img src=x onerror="window.hacked=1">'


class Parsed(HTMLParser):
    """The text, the tags and the figures of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._raw = False
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._raw else data


def figures_of(html: str) -> dict[str, list[dict[str, Any]]]:
    found = re.search(r'<script type="application/json" id="figure-data">(.*?)</script>', html)
    assert found is not None
    figures: dict[str, list[dict[str, Any]]] = json.loads(found[1])
    return figures


def test_the_page_carries_everything_and_fetches_nothing(tmp_path: Path) -> None:
    html = render([load_run(make_run(tmp_path))])
    page = Parsed(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_pages_can_share_their_script_and_style(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path))
    html = render([run], assets="../../assets", home="../../index.html")
    page = Parsed(html)
    sources = [a["src"] for tag, a in page.tags if tag == "script" and "src" in a]
    sheets = [a["href"] for tag, a in page.tags if tag == "link"]
    assert {f"../../assets/{name}" for name in shared_files()} == {*sources, *sheets}
    assert ("a", {"href": "../../index.html"}) in page.tags
    assert len(html) < 200_000 < len(render([run]))
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert policy is not None
    assert "script-src 'self';" in policy


def test_a_page_says_what_rendered_it(tmp_path: Path) -> None:
    page = Parsed(render([load_run(make_run(tmp_path, layers=(("early", 16, 56),)))]))
    said = next(a["content"] for tag, a in page.tags if a.get("name") == "generator")
    assert said is not None
    assert re.fullmatch(r"gfbench \S+; renderer [0-9a-f]{12}; numpy .*; python .*; .+", said)


def test_the_same_folder_gives_the_same_page(tmp_path: Path) -> None:
    run = make_run(tmp_path, targets=[FakeTarget(power=True)])
    assert render([load_run(run)]) == render([load_run(run)])


def test_there_are_at_least_six_figures_and_every_kind_of_question(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path, targets=[FakeTarget(power=True), FakeTarget(name="b")]))
    figures = figures_of(render([run]))
    not_measured = {
        "verdicts-forest", "kernels", "cuda-peak", "floor", "roofline",
        "pareto", "energy", "energy-parts", "energy-rails", "profile",  # the windows are too short
    }  # fmt: skip
    known = [entry.id for entry in CHARTS if entry.section not in (NETWORKS, LAYERS)]
    assert not_measured < set(known)
    assert list(figures) == [name for name in known if name not in not_measured]
    assert len(figures["speedup"]) == 2
    assert len(figures["power"]) == 1


def test_the_figures_draw_the_rows_of_the_export(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path))
    (figure,) = figures_of(render([run]))["speedup"]
    traces = [trace for trace in figure["data"] if "rows" in trace["meta"]]
    drawn = sorted(x for trace in traces for x in trace["x"])
    rows = [row for row in compare(run) if row.metric == "speedup"]
    assert drawn == sorted(row.value for row in rows if row.value is not None)
    highs = sorted(
        x + more
        for trace in traces
        for x, more in zip(trace["x"], trace["error_x"]["array"], strict=True)
    )
    assert highs == pytest.approx(sorted(row.ci_high for row in rows if row.ci_high is not None))
    assert figure["layout"]["shapes"][0]["x0"] == 1


def test_one_sentence_says_it_all_with_intervals_and_fidelity(tmp_path: Path) -> None:
    text = Parsed(render([load_run(make_run(tmp_path))])).text
    span = r"\(95 %: \S+ to \S+\)"
    sentence = re.search(
        rf"With gradient filter r = 4 a training step runs \S+ as fast as exact {span}, its "
        rf"backward \S+ {span}, keeping 8\.0 % of the bytes that exact saves; its gradients have "
        r"a cosine of 0\.\d+ \(g_x\) and 0\.\d+ \(g_w\) with the exact ones, over 3 of 3 "
        r"workloads\.",
        text,
    )
    assert sentence is not None


def test_what_no_interval_decides_is_called_undecided(tmp_path: Path) -> None:
    path = make_run(tmp_path, rounds=3, layers=(("early", 16, 56),))
    text = Parsed(render([load_run(path)])).text
    assert "It is not decidable whether a training step is faster than exact" in text
    assert "≈ not decidable: 4" in text  # backward and step of two methods
    assert "▲ better than exact: 2" in text  # bytes are counted
    shown = text.lower()
    assert "regression" not in shown


def test_the_matrix_names_what_failed_and_what_was_not_planned(tmp_path: Path) -> None:
    target = FakeTarget(
        broken={LATE_R4: ("out_of_memory", "killed at 3 GiB")},
        skipped={"middle/gradient_filter-r4/torch/cpu/float32/b8": "would need 9 GiB"},
    )
    page = Parsed(render([load_run(make_run(tmp_path, targets=[target]))]))
    assert "! out of memory" in page.text
    assert "· skipped" in page.text
    titles = [a.get("title") for tag, a in page.tags if tag == "td"]
    assert titles.count("killed at 3 GiB") == 3  # backward, step and saved bytes
    assert titles.count("would need 9 GiB") >= 2


def test_what_went_wrong_is_told_with_reason_and_remedy(tmp_path: Path) -> None:
    targets = (
        FakeTarget(
            broken={LATE_R4: ("out_of_memory", "killed at 3 GiB")},
            skipped={"early/exact/torch/cpu/float32/b8": "would need 9 GiB"},
        ),
        FakeTarget(
            name="lost", status="infra", reason="host key changed", remedy="gfbench trust -t lost",
            stop_after=0,
        ),
    )  # fmt: skip
    text = Parsed(render([load_run(make_run(tmp_path, targets=targets))])).text
    for words in (
        "killed at 3 GiB", "a smaller batch", "would need 9 GiB", "host key changed",
        "gfbench trust -t lost",
    ):  # fmt: skip
        assert words in text
    assert "over 1 of 3 workloads" in text  # r = 4: late has failed, early has no baseline


def test_two_targets_on_one_machine_are_named_once(tmp_path: Path) -> None:
    targets = (
        FakeTarget(shares_machine_with=["board-b"]),
        FakeTarget(name="board-b", platform="linux-x86", shares_machine_with=["board-a"]),
    )
    page = Parsed(render([load_run(make_run(tmp_path, targets=targets))]))
    note = "board-a and board-b are one machine and were measured one after the other."
    assert page.text.count(note) == 1
    assert [a for t, a in page.tags if t == "tr" and a.get("class") == "differs"]


def test_the_command_repeats_the_run_with_its_seed(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    edit_json(
        path / "run.json",
        lambda header: header.update(argv=["/opt/x/bin/gfbench", "run", "-t", "a b"], seed=42),
    )
    assert "gfbench run -t 'a b' --seed 42" in Parsed(render([load_run(path)])).text


def test_hostile_text_is_only_ever_text(tmp_path: Path) -> None:
    path = make_run(
        tmp_path,
        targets=[FakeTarget(name=HOSTILE, hostname=HOSTILE, status="failed", reason=HOSTILE)],
        layers=((f"</script>{HOSTILE}", 16, 28),),
    )
    write_json(path / "targets" / "b" / "session.json", {"status": HOSTILE, "notes": [HOSTILE]})
    html = render([load_run(path)])
    page = Parsed(html)
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 4
    assert HOSTILE in page.text
    names = json.dumps(_drawn(figures_of(html)))
    assert "<img" not in names  # Plotly would take it for markup of its own
    assert "&lt;img" in names


def _drawn(value: Any) -> Any:
    """Leave out what the page's own script reads and Plotly never shows."""
    if isinstance(value, dict):
        return {key: _drawn(inner) for key, inner in value.items() if key not in ("meta", "name")}
    return [_drawn(inner) for inner in value] if isinstance(value, list) else value


def test_a_board_that_writes_too_much_does_not_swell_the_page(tmp_path: Path) -> None:
    plain = len(render([load_run(make_run(tmp_path / "a"))]))
    target = FakeTarget(broken={LATE_R4: ("failed", "x" * 1_000_000)})
    html = render([load_run(make_run(tmp_path / "b", targets=[target]))])
    assert len(html) < plain + 50_000
    assert "(1000000 characters)" in html


def test_a_report_of_five_hundred_cases_stays_below_five_megabytes(tmp_path: Path) -> None:
    layers = [
        (f"stage{n // 8}.block{n % 8}.conv", 16 + n % 7 * 8, 7 + n % 4 * 7) for n in range(168)
    ]
    run = load_run(make_run(tmp_path, layers=layers, targets=[FakeTarget(power=True)]))
    html = render([run])
    assert len(run.header.plan.cases) == 504
    assert "more lines are left out here" in html
    assert len(html.encode()) < 4_700_000


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    runs = [
        load_run(make_run(tmp_path, run_id="20261101-000000-aaaaaa")),
        load_run(make_run(tmp_path, run_id="20261102-000000-bbbbbb", seed=2)),
    ]
    html = render(runs)
    assert len(figures_of(html)["latency"]) == 2
    text = Parsed(html).text
    assert "board-a · 20261101-000000-aaaaaa" in text
    assert "How to repeat 20261102-000000-bbbbbb" in text


def test_a_run_that_measured_nothing_still_has_a_page(tmp_path: Path) -> None:
    lost = FakeTarget(status="infra", reason="no route to host", stop_after=0)
    html = render([load_run(make_run(tmp_path, targets=[lost]))])
    assert figures_of(html) == {}
    assert "no route to host" in Parsed(html).text
    (tmp_path / "empty").mkdir()
    write_json(tmp_path / "empty" / "run.json", {"schema": "gfbench/1", "run_id": "x"})
    assert "on 0 targets" in Parsed(render([load_run(tmp_path / "empty")])).text


def test_a_report_needs_a_run() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        render([])


def test_the_vendored_script_is_the_one_that_its_readme_names() -> None:
    vendor = TEMPLATES / "vendor"
    script = (vendor / "plotly-cartesian.min.js").read_bytes()
    readme = (vendor / "README.md").read_text()
    assert hashlib.sha256(script).hexdigest() in readme
    assert "MIT" in (vendor / "plotly-cartesian.LICENSE").read_text()
    version = re.search(rb"plotly\.js \(cartesian - minified\) v(\S+)", script[:500])
    assert version is not None
    assert version[1].decode() in readme
    assert version[1].split(b".")[0].decode() >= plotly.offline.get_plotlyjs_version().split(".")[0]
    assert len(script) < 1_600_000


def sentinel_lines(run: Path, moved: float) -> None:
    """Give every round of the first target a sentinel, the last one slower."""
    journal = run / "targets" / "board-a" / "journal.jsonl"
    blocks = [json.loads(line) for line in journal.read_text().splitlines()]
    timing = [block for block in blocks if block.get("kind") == "timing"]
    firsts = {block["round"]: block for block in reversed(timing)}
    lines = []
    for round_, block in firsts.items():
        time_s = 1e-3 * (1 + moved * (round_ == max(firsts)))
        step = {**block["timing"]["step"], "times_s": [time_s] * 12}
        case = {**block["case"], "layer": {**block["case"]["layer"], "name": "sentinel"}}
        lines.append(
            {**block, "kind": "sentinel", "case": case, "order": 10_000 + round_,
             "timing": {"step": step}}
        )  # fmt: skip
    with journal.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_the_sentinel_is_drawn_as_a_line_and_as_the_machines_noise(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    sentinel_lines(path, moved=0.1)
    figures = figures_of(render([load_run(path)]))
    (line,) = [t for t in figures["drift"][0]["data"] if t["name"] == "sentinel"]
    assert max(line["y"]) == pytest.approx(1.1)
    noise = figures["speedup"][0]["layout"]["shapes"][0]
    assert (noise["name"], noise["x1"]) == ("noise", pytest.approx(1.1))


def judged(tmp_path: Path, rounds: int = 8) -> tuple[Path, Gate]:
    path = make_run(tmp_path, rounds=rounds)
    gate = judge(
        load_run(path),
        base="method=gradient_filter,patch_size=2",
        new="method=gradient_filter,patch_size=4",
        metrics=("latency", "energy"),
        margin=0.03,
    )
    return path, gate


def test_the_verdicts_of_a_gate_are_shown_with_reason_and_remedy(tmp_path: Path) -> None:
    path, gate = judged(tmp_path)
    write_json(path / "gate.json", document(gate))
    html = render([load_run(path)])
    text = Parsed(html).text
    assert {verdict.status for verdict in gate.verdicts} == {"PASS", "INVALID"}
    assert "✓ PASS: 3" in text
    assert "⊘ INVALID: 3" in text
    invalid = next(verdict for verdict in gate.verdicts if verdict.status == "INVALID")
    assert text.count(invalid.reason) >= 3
    assert invalid.remedy in text
    (figure,) = figures_of(html)["verdicts-forest"]
    drawn = sorted(x for trace in figure["data"] for x in trace["x"])
    assert drawn == sorted(v.effect.ratio for v in gate.verdicts if v.effect is not None)
    strips = [shape for shape in figure["layout"]["shapes"] if shape["name"] == "margin"]
    assert {shape["x1"] for shape in strips} == {1.03}


def test_a_run_that_was_to_decide_is_judged_without_a_file(tmp_path: Path) -> None:
    path, gate = judged(tmp_path)
    asked = {"base": gate.base, "new": gate.new, "metrics": ["latency"], "margin": 0.03}
    edit_json(path / "run.json", lambda header: header.update(gate=asked))
    assert "✓ PASS: 3" in Parsed(render([load_run(path)])).text


@pytest.mark.parametrize("broken", ["{", '{"base": 1}', '{"base":"a","new":"b","verdicts":[{}]}'])
def test_a_broken_gate_is_a_note(tmp_path: Path, broken: str) -> None:
    path = make_run(tmp_path, layers=(("early", 16, 56),))
    (path / "gate.json").write_text(broken)
    assert "cannot be shown" in Parsed(render([load_run(path)])).text


def test_the_command_of_a_point_is_one_that_the_command_line_takes(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    argv = [
        "/x/gfbench", "run", "-t", "a", "--target=b", "--suite", "quick", "--kernel", "mine=k.c",
        "--energy", "--min-window", "0.5", "-o", "out", "--detach",
    ]  # fmt: skip
    edit_json(path / "run.json", lambda header: header.update(argv=argv, seed=7))
    run = load_run(path)
    row = next(row for row in compare(run) if row.patch_size == 2)
    start, end = start_of_repeat(run, "board-a"), end_of_repeat(run, row)
    assert start == (
        "gfbench run -t board-a --suite quick --rounds 6 --seed 7 --energy --min-window 0.5"
    )
    assert end == (
        "--workload early --method gradient_filter --patch-size 2 --kernel torch --batch 8 "
        "--device cpu --dtype float32"
    )
    assert end_of_repeat(run, replace(row, kernel="mine")).split()[7] == "mine=k.c"
    known = {option for command in run_options() for option in command}
    words = [word for word in f"{start} {end}".split() if word.startswith("-")]
    assert set(words) <= known


def run_options() -> list[list[str]]:
    command: Any = typer.main.get_command(cli.app)
    return [one.opts + one.secondary_opts for one in command.commands["run"].params]
