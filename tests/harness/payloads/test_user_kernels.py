"""Anyone's kernel: packed with the payload, checked on the board, then timed or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import user_kernels_data as data
from gfbench_cli import Cli

from harness.errors import PlanError
from harness.payloads import payload
from harness.payloads.user_kernels import from_run, packed, parse
from harness.plan.plan import make_plan
from harness.plan.suites import Overrides, load_suite, suite_from_json
from reports.results.read import ResultError
from reports.results.records import KernelFacts
from workloads.spec.messages import to_json


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.py"
    path.write_text(data.GOOD)
    return path


def test_the_payloads_hash_covers_the_kernel(mine: Path) -> None:
    _, own = parse([f"mine={mine}"])
    packed_once = payload.pack(extra=packed(own))
    assert packed_once.sha256 != payload.pack().sha256
    mine.write_text(data.GOOD + "\n# changed\n")
    _, changed = parse([f"mine={mine}"])
    assert payload.pack(extra=packed(changed)).sha256 != packed_once.sha256
    assert payload.pack(extra=packed(())).sha256 == payload.pack().sha256


def test_a_kernel_is_described_by_its_file(mine: Path) -> None:
    names, (own, again) = parse(["torch", f"mine={mine}", "again=native"])
    assert names == ("torch", "mine", "again")
    assert (own.info.name, own.info.version, own.kind, own.of) == (
        "mine", "7", "python", "user_mine.py",
    )  # fmt: skip
    assert (again.info.name, again.kind, again.of) == ("again", "alias", "native")
    assert again.sha256 != own.sha256


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("torch={path}", "taken"),
        ("Mine={path}", "use a-z"),
        ("../x={path}", "use a-z"),
        ("mine=absent.py", "cannot be read"),
        ("mine=kernel.so", "give a .py or .c file"),
    ],
)
def test_what_cannot_be_a_kernel_is_refused(mine: Path, value: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        parse([value.format(path=mine)])


@pytest.mark.parametrize(
    ("source", "words"),
    [("def (", "is not valid Python"), ("VERSION = '1'\n", "it lacks available")],
)
def test_a_file_that_is_no_kernel_is_refused(mine: Path, source: str, words: str) -> None:
    mine.write_text(source)
    with pytest.raises(PlanError, match=words):
        parse([f"mine={mine}"])


def test_every_kernel_is_checked_once_before_it_is_timed(mine: Path) -> None:
    names, own = parse([f"mine={mine}", "again=torch"])
    overrides = Overrides(kernels=names, own_kernels=[kernel.info for kernel in own])
    suite = load_suite("quick", overrides)
    assert suite_from_json(json.loads(json.dumps(to_json(suite.__dict__)))) == suite
    plan = make_plan(suite, seed=1)
    checks = [block for block in plan.blocks if block.kind == "check"]
    assert [block.round for block in checks] == [0] * 12
    assert {block.case.kernel for block in checks} == {"mine", "again"}
    assert "exact" not in {block.case.method for block in checks}
    for check in checks:
        timed = [b.order for b in plan.blocks if b.kind != "check" and b.case == check.case]
        assert check.order < min(timed)


def test_a_changed_file_in_the_run_is_not_taken_for_the_measured_one(
    mine: Path, tmp_path: Path
) -> None:
    _, (own,) = parse([f"mine={mine}"])
    facts = KernelFacts(name="mine", kind=own.kind, of=own.of, source_sha256=own.sha256)
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / own.of).write_bytes(own.content or b"")
    assert [kernel.sha256 for kernel in from_run(tmp_path, [facts])] == [own.sha256]
    (tmp_path / "kernels" / own.of).write_text(data.wrong("NaN"))
    with pytest.raises(ResultError, match="has changed since it was measured"):
        from_run(tmp_path, [facts])
    with pytest.raises(ResultError, match="does not say"):
        from_run(tmp_path, [replace(facts, of="../../secret.py")])


def test_right_ones_are_timed_and_wrong_ones_refused_on_the_board(tmp_path: Path) -> None:
    gfbench = Cli(tmp_path)
    for name, source in (
        ("good.py", data.GOOD),
        ("bad.py", data.wrong("scaled by 1.01")),
        ("crash.py", data.GOOD.replace(data.RETURN, "    import os; os.abort()\n")),
    ):
        (tmp_path / name).write_text(source)
    options = [f"--kernel={name}={name}.py" for name in ("good", "bad", "crash")]
    done = gfbench.run(*options, "--kernel", "again=torch", "--kernel", "torch")
    assert done.code == 1
    (checked,) = done.blocks(kernel="good", kind="check")
    assert checked["status"] == "ok"
    assert max(checked["check"]["errors"].values()) < 1e-5
    for kernel in ("good", "again", "torch"):
        timed = done.blocks(kernel=kernel, kind="timing", method="gradient_filter", status="ok")
        assert len(timed) == 2
    for kernel, words in (("bad", "of g_x is 1.0e-02 at ("), ("crash", "signal 6")):
        blocks = done.blocks(kernel=kernel)
        assert {block["status"] for block in blocks} == {"failed"}
        assert all(words in block["reason"] for block in blocks)
        assert not any("timing" in block for block in blocks)
    rows = [row for row in gfbench.export(done.run) if row["kernel"] == "bad"]
    assert rows
    assert {(row["status"], row["value"]) for row in rows} == {("failed", "")}
    assert "1.0e-02" in done.page
    recorded = {kernel["name"]: kernel for kernel in done.header["kernels"]}
    assert recorded["good"]["version"] == "7"
    assert (done.run / "kernels" / "user_bad.py").read_text() == data.wrong("scaled by 1.01")
    again = gfbench("resume", str(done.run))
    assert again.returncode == 1, again.stderr
    assert "another payload" not in again.stderr
