from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
from gate_runs import LAYER, NATIVE, TORCH, FakeBoard, make_gate_run
from markdown_it import MarkdownIt

from harness.commands.gate import Outputs, job_link, write_outputs
from reports.ci import markdown as pages
from reports.ci.annotations import command, to_annotations
from reports.ci.junit import OUTCOMES, to_junit
from reports.gate.judge import judge
from reports.gate.verdict import STATUSES, Gate, Margin, Verdict
from reports.results.records import Rule
from reports.stats.intervals import Effect

SCHEMA = Path(__file__).parents[2] / "data" / "ci" / "junit-10.xsd"
HOSTILE = (
    "x|y `z` **b** <img src=x onerror=alert(1)> </details> ]]> & \"q\" 'p' %0A @everyone #12 "
    "https://evil.example [a](b)\n::add-mask::a\r\n::error::b\x00\x1b[2J\x85\u2028\ufffe\ud800"
)


def verdict(status: str = "PASS", number: int = 0, **more: object) -> Verdict:
    layer = LAYER._replace(name=f"layer{number}")
    plain = Verdict(
        target="board",
        base=TORCH._replace(workload=layer),
        new=NATIVE._replace(workload=layer),
        metric="latency",
        phase="backward",
        status=status,
        margin=Margin(fraction=0.03),
        effect=Effect(ratio=1.1, ci_low=1.08, ci_high=1.12, n=8),
        rounds=8,
        reason="" if status == "PASS" else f"reason of {status}",
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def gate(*verdicts: Verdict, **more: object) -> Gate:
    rule = Rule(base="kernel=torch", new="kernel=native")
    plain = Gate(run_id="run", rule=rule, verdicts=verdicts)
    return replace(plain, **more)  # type: ignore[arg-type]


def hostile() -> Gate:
    layer = LAYER._replace(name=HOSTILE)
    bad = [
        verdict(
            status,
            target=HOSTILE,
            base=TORCH._replace(workload=layer),
            new=NATIVE._replace(workload=layer, kernel=HOSTILE),
            cause=HOSTILE,
            reason=HOSTILE,
            remedy=HOSTILE,
            flags=(HOSTILE,),
        )
        for status in STATUSES
    ]
    summary = {(HOSTILE, "latency", HOSTILE): Effect(ratio=1.0, ci_low=None, ci_high=None, n=5)}
    return gate(*bad, run_id=HOSTILE, rule=Rule(base=HOSTILE, new=HOSTILE), notes=(HOSTILE,),
                changed=tuple(bad), summary=summary)  # fmt: skip


def many(status: str, verdicts: int, length: int = 300) -> Gate:
    return gate(*(verdict(status, n, reason="r" * length) for n in range(verdicts)))


def rows_of(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith("| ") and "board" in line]


def html(page: str) -> str:
    return str(MarkdownIt("commonmark").enable("table").render(page))


def test_failures_stand_first_and_the_largest_of_them_on_top() -> None:
    small = Effect(ratio=1.05, ci_low=1.04, ci_high=1.06, n=8)
    page = pages.step_summary(
        gate(verdict("PASS"), verdict("INFRA", effect=None), verdict("FAIL", 1, effect=small),
             verdict("FAIL", 2), verdict("INCONCLUSIVE"), exit_code=4)
    )  # fmt: skip
    assert page.startswith("## 🔌 gfbench: INFRA\n")
    found = [re.findall(r"FAIL|INFRA|INCONCLUSIVE|PASS", row)[0] for row in rows_of(page)]
    assert found == ["FAIL", "FAIL", "INFRA", "INCONCLUSIVE", "PASS"]
    assert "layer2" in rows_of(page)[0]
    assert "+5.0 % [+4.0 %, +6.0 %]" in rows_of(page)[1]
    assert "2 FAIL, 1 INFRA, 1 INCONCLUSIVE, 1 PASS" in page


def test_a_real_gate_says_why_and_what_to_do() -> None:
    slow = FakeBoard(effects={TORCH: 0.0, NATIVE: 0.1}, verification=8)
    lost = FakeBoard(name="lost", status=lambda case, round_: ("failed", "no | space"))
    found = judge(make_gate_run(slow, lost), base="kernel=torch", new="kernel=native")
    page = pages.step_summary(found)
    assert found.exit_code == 1 or found.exit_code == 4
    assert "cause: code" in page
    assert "verified by an independent batch: +" in page
    assert "no \\| space" in page
    assert page.count("<details>") == page.count("</details>") > 0


@pytest.mark.parametrize("status", STATUSES)
def test_500_cases_in_three_metrics_and_two_phases_stay_inside_githubs_limits(
    status: str,
) -> None:
    found = many(status, 3000)
    page = pages.step_summary(found, link="https://ci.example/run/1")
    assert len(page.encode()) <= 1_000_000
    note = pages.comment(found, link="https://ci.example/run/1")
    assert len(note) < 65_535
    for text, least in ((page, 2500), (note, 250)):
        rows = rows_of(text)
        assert len(rows) >= least
        assert all(row.endswith(" |") and row.count("|") == 9 for row in rows)
        assert text.count("<details>") == text.count("</details>")
        whole = len(rows) == 3000 and status == "PASS"
        assert whole or "left out here: [the whole run](https://ci.example/run/1)" in text
        assert text.endswith("[Run and artifacts](https://ci.example/run/1)\n")
    left = re.search(r"(\d+) of 3000 rows", note)
    assert left
    assert int(left[1]) == 3000 - len(rows_of(note))


def test_what_fits_is_left_whole() -> None:
    page = pages.comment(many("FAIL", 100))
    assert len(rows_of(page)) == 100
    assert page.count("- FAIL") == 100
    assert "left out" not in page


def test_many_passes_are_folded_and_few_are_not() -> None:
    few, full = pages.step_summary(many("PASS", 30)), pages.step_summary(many("PASS", 31))
    assert "<details>" not in few
    assert "<summary>31 PASS</summary>" in full
    assert len(rows_of(few)) == 30
    assert len(rows_of(full)) == 31


def test_a_comment_has_a_marker_by_which_it_is_found_again() -> None:
    one, other = (pages.comment(gate(verdict(status)), key="nano --> <x>") for status in
                  ("PASS", "FAIL"))  # fmt: skip
    assert one.splitlines()[0] == other.splitlines()[0] == "<!-- gfbench: nano-x- -->"
    assert pages.marker("a") != pages.marker("b")


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://x/) [b](c", "https://x\n", ""])
def test_a_link_that_is_none_is_left_out(link: str) -> None:
    assert "](" not in pages.step_summary(gate(verdict()), link=link)


def test_hostile_names_stay_text_in_the_page() -> None:
    page = pages.step_summary(hostile())
    assert page == page.encode("utf-8", "replace").decode()
    rendered = html(page)
    tags = Counter(re.findall(r"<(/?[a-zA-Z][a-zA-Z0-9]*)", rendered))
    assert set(tags) <= {
        f"{end}{tag}"
        for end in ("", "/")
        for tag in ("h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "details",
                    "summary", "ul", "li", "blockquote", "em")
    }  # fmt: skip
    assert tags["details"] == tags["/details"] == 3
    assert rendered.count("<tr>") == 2 + len(STATUSES) + 1  # heads, verdicts, a mean
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (4, 9)
               for line in page.splitlines() if line.startswith("|"))  # fmt: skip
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", page)
    assert not re.search(r"@e|#1|://", page)  # nobody is called, nothing linked
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_annotations_are_ten_of_a_level_and_the_last_says_how_many_more() -> None:
    found = to_annotations(gate(*(verdict("FAIL", n) for n in range(12)), verdict("INVALID"),
                             *(verdict("PASS", n) for n in range(5))))  # fmt: skip
    errors = [line for line in found if line.startswith("::error ")]
    assert len(errors) == 10
    assert "3 more" in errors[-1]
    assert [line.split(" ")[0] for line in found[10:]] == ["::warning"]
    assert len(to_annotations(gate(*(verdict("INFRA", n) for n in range(10))))) == 10
    assert to_annotations(gate(verdict("PASS"))) == ()


def test_a_hostile_annotation_is_one_command_that_github_reads_back_unchanged() -> None:
    for line in to_annotations(hostile()):
        assert len(line.splitlines()) == 1
        assert re.fullmatch(r"::(error|warning) title=[^:,]*::.*", line)
    line = command("error", "a: b, c%\n", "50 %\r\n::x")
    title, _, message = line.removeprefix("::error title=").partition("::")
    for code, letter in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        title, message = title.replace(code, letter), message.replace(code, letter)
    assert (title, message) == ("a: b, c%\n", "50 %\r\n::x")


def test_junit_has_a_testcase_per_verdict_that_a_strict_schema_takes(tmp_path: Path) -> None:
    found = gate(*(verdict(status, n) for n, status in enumerate(STATUSES)),
                 verdict("FAIL", 9, target="other", cause="code", remedy="look"))  # fmt: skip
    path = tmp_path / "junit.xml"
    path.write_text(to_junit(found))
    xmlschema.XMLSchema(str(SCHEMA)).validate(str(path))
    suites = ElementTree.parse(path).getroot().findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["board", "other"]
    counts = [suites[0].get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["5", "1", "1", "2"]
    for status, case in zip(STATUSES, suites[0].findall("testcase"), strict=True):
        outcomes = [child.tag for child in case if child.tag != "system-out"]
        assert outcomes == ([] if status == "PASS" else [OUTCOMES[status]])
    failure = suites[1].find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "FAIL: reason of FAIL; cause: code → look"
    assert "change: +10.0 % [+8.0 %, +12.0 %]" in (failure.text or "")


def test_junit_of_a_hostile_board_is_still_xml(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text(to_junit(hostile()))
    xmlschema.XMLSchema(str(SCHEMA)).validate(str(path))
    name = ElementTree.parse(path).getroot()[0].get("name")
    assert name is not None
    assert name.startswith("x|y `z` **b** <img src=x")
    assert "]]>" in name


def test_files_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    names = ("junit", "summary", "comment", "verdict")
    paths = {name: tmp_path / name for name in names}
    write_outputs(hostile(), Outputs(**paths), {})  # type: ignore[arg-type]
    assert ElementTree.parse(paths["junit"]).getroot().tag == "testsuites"
    assert paths["summary"].read_text().startswith("## 🔌 gfbench: INFRA")
    assert paths["comment"].read_text().startswith("<!-- gfbench: gate -->\n## ")
    document = json.loads(paths["verdict"].read_text())
    assert [one["status"] for one in document["verdicts"]] == list(STATUSES)


def test_in_actions_the_summary_is_appended_and_annotations_are_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# Before\n")
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_SERVER_URL": "https://git.example",
        "GITHUB_REPOSITORY": "a/b",
        "GITHUB_RUN_ID": "7",
    }
    write_outputs(gate(verdict("FAIL")), Outputs(), environ)
    text = summary.read_text()
    assert text.startswith("# Before\n## ❌ gfbench: FAIL\n")
    assert "(https://git.example/a/b/actions/runs/7)" in text
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("::error title=FAIL%3A board%3A layer0")
    summary.write_text("x" * 999_000)
    write_outputs(many("FAIL", 3000), Outputs(annotations=False), environ)
    assert len(summary.read_bytes()) < 2**20
    assert capsys.readouterr().err == ""


def test_outside_actions_nothing_is_written_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    write_outputs(gate(verdict("FAIL")), Outputs(), {"GITHUB_STEP_SUMMARY": str(summary)})
    assert not summary.exists()
    write_outputs(gate(verdict("FAIL")), Outputs(annotations=True), {})
    assert capsys.readouterr().err.count("::error") == 1
    assert job_link({"CI_JOB_URL": "https://lab.example/1"}) == "https://lab.example/1"
