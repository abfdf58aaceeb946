"""The command line as a user meets it: output, exit codes, one clear message, nothing lost."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from harness.cli import app, main
from reports.results.manifest import verify_manifest

MAIN = "from harness.cli import main; main()"
SUITE = """
description: tiny layers for tests
workloads:
  - {name: tiny, in_channels: 4, out_channels: 4, height: 8, width: 8}
patch_sizes: [2]
rounds: 2
isolation: fork
min_window_s: 0.01
exact_kernels: [torch]
"""
INVENTORY = """
targets:
  nano:
    host: 192.0.2.1
    user: me
    tags: [cuda]
"""


@dataclass
class Lab:
    """A folder with a home, a temporary folder (hence a lease) and a tiny suite of its own."""

    folder: Path

    def environment(self) -> dict[str, str]:
        own = {"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp")}
        return {**os.environ, **own, "COLUMNS": "60"}

    def start(self, *arguments: str, code: str = MAIN) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def gfbench(self, *arguments: str, code: str = MAIN) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, code=code)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command in this process, which is quicker; for what starts nothing."""
        written, err = io.BytesIO(), io.StringIO()
        out = io.TextIOWrapper(written, "utf-8", newline="\n")  # exports write bytes
        before = sys.argv, signal.getsignal(signal.SIGTERM), Path.cwd()
        sys.argv = ["gfbench", *arguments]
        os.chdir(self.folder)
        try:
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
                main()
        finally:
            sys.argv = before[0]
            signal.signal(signal.SIGTERM, before[1])
            os.chdir(before[2])
        assert "Traceback" not in err.getvalue()
        code = ended.value.code
        assert isinstance(code, int)
        out.flush()
        text = written.getvalue().decode()
        return subprocess.CompletedProcess(arguments, code, text, err.getvalue())

    def refused(self, *arguments: str) -> str:
        """Run a command that is to be refused and return its one message."""
        done = self.here(*arguments)
        assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
        assert done.stdout == ""
        messages = [line for line in done.stderr.splitlines() if line.startswith("gfbench: ")]
        assert len(messages) == 1, done.stderr
        return done.stderr


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "tiny.yaml").write_text(SUITE)
    return Lab(tmp_path)


def journal(run: Path) -> list[dict[str, Any]]:
    path = run / "targets" / "local" / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def only_run(directory: Path) -> Path:
    (run,) = directory.iterdir()
    return run


def wait_for_blocks(directory: Path, count: int, *, timeout_s: float = 60.0) -> Path:
    """Wait until a run has this many blocks and return its folder."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        runs = list(directory.iterdir()) if directory.exists() else []
        if runs and len(journal(runs[0])) >= count:
            return runs[0]
        time.sleep(0.02)
    raise AssertionError(f"there are no {count} blocks after {timeout_s} s")


# What there is


def test_the_script_beside_the_interpreter_is_this_command(lab: Lab) -> None:
    script = Path(sys.executable).parent / "gfbench"
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+\.\d+\S*\n", done.stdout)


def test_help_names_every_command_and_each_has_an_example(lab: Lab) -> None:
    text = lab.here("--help").stdout
    names = ("init", "list", "schema", "trust", "doctor", "run", "resume", "report", "export")
    for name in names:
        assert name in text
        done = CliRunner().invoke(app, [name, "--help"])
        assert done.exit_code == 0
        assert f"Example: gfbench {name}" in done.output


def test_init_writes_an_inventory_that_can_be_read_and_never_overwrites(lab: Lab) -> None:
    done = lab.here("init")
    assert (done.returncode, done.stdout) == (0, "inventory.yaml\n")
    assert yaml.safe_load((lab.folder / "inventory.yaml").read_text())["targets"]
    assert lab.here("list").returncode == 0
    before = (lab.folder / "inventory.yaml").read_text()
    assert "already exists" in lab.refused("init")
    assert (lab.folder / "inventory.yaml").read_text() == before


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("targets", "local"),
        ("suites", "quick"),
        ("workloads", "quick-64ch-56x56"),
        ("methods", "gradient_filter_published"),
        ("kernels", "torch"),
        ("platforms", "jetson-nano"),
    ],
)
def test_list_is_a_table_for_scripts_when_piped_and_json_on_request(
    lab: Lab, what: str, wanted: str
) -> None:
    rows = list(csv.DictReader(io.StringIO(lab.here("list", what).stdout), delimiter="\t"))
    as_json = json.loads(lab.here("list", what, "--json").stdout)
    assert wanted in [row["name"] for row in rows]
    assert [row["name"] for row in rows] == [row["name"] for row in as_json]


def test_the_inventorys_targets_are_listed(lab: Lab) -> None:
    (lab.folder / "inventory.yaml").write_text(INVENTORY)
    (row,) = (row for row in json.loads(lab.here("list", "--json").stdout) if row["tags"])
    assert (row["name"], row["host"], row["tags"]) == ("nano", "192.0.2.1", "cuda")


def test_schema_is_a_json_schema_of_the_inventory(lab: Lab) -> None:
    schema = json.loads(lab.here("schema").stdout)
    assert "targets" in schema["properties"]


def test_a_dry_run_shows_the_plan_and_measures_nothing(lab: Lab) -> None:
    done = lab.here("run", "-t", "local", "--suite", "quick", "--dry-run", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert "9 cases, 6 rounds, 156 blocks, seed 3" in done.stdout
    assert "quick-64ch-56x56/gradient_filter-r4/torch/cpu/float32/b4" in done.stdout
    assert not (lab.folder / "results").exists()


def test_a_closed_pipe_is_no_error(lab: Lab) -> None:
    process = lab.start("list", "workloads")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == ""


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "-t", "nosuch"], "nosuch"),
        (["run", "-t", "@nogroup"], "nogroup"),
        (["run"], "no target is given"),
        (
            ["run", "-t", "local", "--suite", "nosuch"],
            "choose from mobile-layers, networks, networks-quick, paper-latency",
        ),
        (["run", "-t", "local", "--workload", "nosuch"], "there is no workload 'nosuch'"),
        (["run", "-t", "local", "--method", "nosuch"], "choose from exact, gradient_filter"),
        (["run", "-t", "local", "--kernel", "nosuch"], "there is no kernel 'nosuch'"),
        (["run", "-t", "local", "--patch-size", "0"], "--patch-size is 0 — it must be at least 1"),
        (["run", "-t", "local", "--rounds", "-1"], "--rounds is -1 — it must be at least 1"),
        (["run", "-t", "local", "--batch", "0"], "--batch is 0"),
        (["run", "-t", "local", "--min-window", "0"], "--min-window is 0 s"),
        (["run", "-t", "local", "--dtype", "int8"], "there is no dtype 'int8'"),
        (["run", "-t", "local", "--rounds", "many"], "'--rounds'"),
        (["run", "-t", "local", "--nosuch"], "--nosuch"),
        (["run", "-t", "local", "-i", "nosuch.yaml"], "nosuch.yaml"),
        (["nosuch"], "nosuch"),
        (["list", "nosuch"], "nosuch"),
        (["resume", "nosuch"], "nosuch does not hold a run"),
        (["report", "nosuch"], "nosuch"),
        (["export", "nosuch"], "nosuch"),
        (["export", "nosuch", "--format", "xls"], "xls"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2_with_one_clear_message(
    lab: Lab, arguments: list[str], words: str
) -> None:
    assert words in lab.refused(*arguments)
    assert not (lab.folder / "results").exists()


def test_a_broken_inventory_is_refused_with_file_and_line(lab: Lab) -> None:
    (lab.folder / "inventory.yaml").write_text("targets:\n  nano:\n    host: [1\n")
    assert "inventory.yaml:4: not YAML" in lab.refused("run", "-t", "nano")
    (lab.folder / "inventory.yaml").write_text(INVENTORY + "    prot: 22\n")
    message = lab.refused("list")
    assert "inventory.yaml:7: targets.nano.prot: unknown key" in message
    assert "port" in message


def test_a_broken_suite_is_refused_with_file_and_line(lab: Lab) -> None:
    (lab.folder / "tiny.yaml").write_text(SUITE + "ruonds: 3\n")
    assert "tiny.yaml:10: ruonds:" in lab.refused("run", "-t", "local", "--suite", "tiny.yaml")


def test_an_output_folder_that_cannot_be_written_is_refused(lab: Lab) -> None:
    (lab.folder / "file").write_text("")
    arguments = ["run", "-t", "local", "--suite", "tiny.yaml", "-o", "file/results"]
    assert "cannot write file/results" in lab.refused(*arguments)


def test_a_bug_is_exit_70_with_a_log_file(lab: Lab) -> None:
    code = f"import harness.commands.run as m; m.make_plan = None; {MAIN}"
    done = lab.gfbench("run", "-t", "local", "--dry-run", code=code)
    assert done.returncode == 70
    assert "this is a bug: TypeError" in done.stderr
    log = Path(re.search(r"the log is (\S+)", done.stderr).group(1))  # type: ignore[union-attr]
    assert log.parent == lab.folder / "tmp"
    assert "Traceback" in log.read_text()
    assert "--dry-run" in log.read_text()


def test_neither_a_bugs_message_nor_its_log_has_a_secret(lab: Lab) -> None:
    code = (
        "import harness.commands.run as m\n"
        "def fail(*_, **__): raise RuntimeError('broke at file://me:hunter2hunter2@localhost/x')\n"
        f"m.make_plan = fail; {MAIN}"
    )
    url = "file://me:hunter2hunter2@localhost/x"
    done = lab.gfbench("run", "-t", "local", "--dry-run", "--store", url, code=code)
    assert done.returncode == 70
    (log,) = (lab.folder / "tmp").glob("gfbench-bug-*.log")
    for text in (done.stderr, log.read_text(encoding="utf-8")):
        assert "file://***@localhost/x" in text
        assert "hunter2" not in text


def test_a_bug_in_one_target_is_exit_70_and_leaves_its_traceback(lab: Lab) -> None:
    code = f"import harness.fleet.job as s; s.make_plan = None; {MAIN}"
    done = lab.gfbench("run", "-t", "local", "--suite", "tiny.yaml", "-o", "out", code=code)
    assert done.returncode == 70
    assert "a bug" in done.stderr
    session = json.loads((only_run(lab.folder / "out") / "targets/local/session.json").read_text())
    assert session["status"] == "failed"
    assert "Traceback" in session["notes"][-1]


# A run


RUN = ("run", "-t", "local", "--suite", "tiny.yaml", "-o", "out")


def test_a_run_ends_with_its_report_and_the_table_does_not_depend_on_columns(lab: Lab) -> None:
    done = lab.gfbench(*RUN)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    report = lab.folder / lines[-1]
    run = only_run(lab.folder / "out")
    assert report == run / "report.html"
    assert report.read_text().startswith("<!")
    assert "tiny, batch 1, cpu" in lines
    (exact,) = (line for line in lines if line.startswith("  exact"))
    assert exact.split()[1:3] == ["baseline", "baseline"]
    assert "gradient_filter r2" in done.stdout
    assert "memory" in lines[1]  # a column that 60 columns have no room for
    assert "\x1b" not in done.stdout + done.stderr
    assert len(journal(run)) == 13  # two rounds, each with its sentinel, and a check
    assert verify_manifest(run) == ()


def test_a_finished_run_can_be_exported_reported_and_resumed(lab: Lab) -> None:
    assert lab.gfbench(*RUN, "--rounds", "1").returncode == 0
    run = only_run(lab.folder / "out")
    name = str(run.relative_to(lab.folder))
    rows = list(csv.DictReader(io.StringIO(lab.here("export", name).stdout)))
    as_json = json.loads(lab.here("export", name, "--format", "json").stdout)
    assert len(rows) == len(as_json) > 5
    assert lab.here("export", name, "-o", "figures.csv").stdout == "figures.csv\n"
    assert lab.here("report", name).stdout == f"{name}/report.html\n"
    assert verify_manifest(run) == ()
    before = (run / "targets/local/journal.jsonl").read_bytes()
    resumed = lab.gfbench("resume", name)
    assert resumed.returncode == 0, resumed.stderr
    assert (run / "targets/local/journal.jsonl").read_bytes() == before
    assert list((lab.folder / "home/.cache/gfbench/jobs").iterdir()) == []


def test_a_case_that_cannot_be_is_skipped_with_its_reason_and_exit_0(lab: Lab) -> None:
    more = "  - {name: odd, in_channels: 4, out_channels: 4, height: 8, width: 8, groups: 2}\n"
    text = SUITE.replace("patch_sizes", more + "methods: [gradient_filter_published]\npatch_sizes")
    (lab.folder / "tiny.yaml").write_text(text)
    done = lab.gfbench(*RUN, "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert "skipped odd/gradient_filter_published-r2" in done.stderr
    assert "groups" in done.stderr


def test_a_case_that_fails_is_exit_1_and_the_rest_is_saved(lab: Lab) -> None:
    # The kernel is said to do float16, which it refuses on the board.
    code = (
        "import workloads.spec.kernels as c; k = c.KERNELS['torch'];"
        "c.KERNELS['torch'] = k._replace(dtypes=('float32', 'float16')); " + MAIN
    )
    arguments = (*RUN, "--rounds", "1", "--dtype", "float32", "--dtype", "float16")
    done = lab.gfbench(*arguments, code=code)
    assert done.returncode == 1, done.stderr
    assert "blocks failed" in done.stderr
    statuses = {
        (record["case"]["dtype"], record["status"])
        for record in journal(only_run(lab.folder / "out"))
        if record["case"]["method"] == "gradient_filter" and record["kind"] == "timing"
    }
    assert statuses == {("float32", "ok"), ("float16", "failed")}


def test_a_machine_that_measures_for_another_run_is_exit_4_and_resumable(lab: Lab) -> None:
    first = lab.start(*RUN[:-1], "first", "--min-window", "20")
    try:
        wait_for_lease(lab)
        done = lab.gfbench(*RUN)
        assert done.returncode == 4
        assert "the machine is busy with run " in done.stderr
        assert "gfbench resume" in done.stderr
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    run = only_run(lab.folder / "out")
    assert lab.gfbench("resume", str(run)).returncode == 0
    assert len(journal(run)) == 13  # two rounds, each with its sentinel, and a check


def wait_for_lease(lab: Lab) -> None:
    from workloads.machine.locks import LEASE_NAME, is_held

    deadline = time.monotonic() + 60
    while not is_held(str(lab.folder / "tmp" / LEASE_NAME)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_blocks_and_resume_completes_it(
    lab: Lab, number: signal.Signals
) -> None:
    process = lab.start(*RUN, "--rounds", "4")
    run = wait_for_blocks(lab.folder / "out", 3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.count("interrupted") >= 1
    assert f"gfbench resume {run.relative_to(lab.folder)}" in err
    assert out.splitlines()[-1] == f"{run.relative_to(lab.folder)}/report.html"
    finished = [record for record in journal(run) if record["status"] == "ok"]
    assert 3 <= len(finished) < 25
    assert json.loads((run / "targets/local/session.json").read_text())["status"] == "interrupted"

    resumed = lab.gfbench("resume", str(run.relative_to(lab.folder)))
    assert resumed.returncode == 0, resumed.stderr
    after = [record for record in journal(run) if record["status"] == "ok"]
    assert after[: len(finished)] == finished
    orders = [record["order"] for record in after]
    assert sorted(orders) == list(range(25))
    assert json.loads((run / "targets/local/session.json").read_text())["status"] == "ok"
    assert verify_manifest(run) == ()


def test_a_run_whose_controller_is_killed_goes_on_and_is_collected(lab: Lab) -> None:
    process = lab.start(*RUN)
    run = wait_for_blocks(lab.folder / "out", 2)
    process.kill()
    process.communicate()
    resumed = lab.gfbench("resume", str(run))
    assert resumed.returncode == 0, resumed.stderr
    assert [record["order"] for record in journal(run)] == list(range(13))


def test_killed_between_the_plan_and_the_first_block_a_run_can_be_resumed(lab: Lab) -> None:
    process = lab.start(*RUN)
    deadline = time.monotonic() + 60
    while not list(lab.folder.glob("out/*/targets/local/job.json")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate()
    run = only_run(lab.folder / "out")
    assert lab.gfbench("resume", str(run)).returncode == 0
    assert len(journal(run)) == 13  # two rounds, each with its sentinel, and a check


# A full disk


@pytest.fixture
def small_disk(lab: Lab) -> Iterator[Path]:
    """A file system of 96 KiB: the plan fits, the whole journal does not."""
    folder = lab.folder / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, timeout=20)
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if done.returncode != 0:
        pytest.skip(f"a file system of its own needs root: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=20)


def test_a_full_disk_is_exit_4_and_keeps_the_blocks_that_fitted(lab: Lab, small_disk: Path) -> None:
    done = lab.gfbench(*RUN[:-1], str(small_disk), "--rounds", "6")
    assert done.returncode == 4, done.stderr
    assert "No space left on device" in done.stderr
    kept = journal(only_run(small_disk))
    assert kept
    assert [record["order"] for record in kept] == list(range(len(kept)))
    assert {record["status"] for record in kept} == {"ok"}
    wait_for_free_lease(lab)


def wait_for_free_lease(lab: Lab) -> None:
    """The runner has been ended too: nothing measures into the void."""
    from workloads.machine.locks import LEASE_NAME, is_held

    deadline = time.monotonic() + 10
    while is_held(str(lab.folder / "tmp" / LEASE_NAME)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
