"""Real runs of the packed payload: what ends up in the journal, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from packed_payload import LARGE, JobOnBoard, PackedPayload, block, wait_until

import workloads
from harness.payloads import payload as payloads
from workloads.machine import locks
from workloads.spec.layers import SENTINEL_SEED, SENTINEL_WINDOW_S, sentinel_case
from workloads.spec.messages import RECORD_SEPARATOR, SCHEMA, Block, unframe


@pytest.fixture
def payload(tmp_path: Path) -> PackedPayload:
    return PackedPayload(tmp_path / "board")


def quick_then_long(payload: PackedPayload, isolation: str) -> JobOnBoard:
    """Return a started job that is in its second block, which would take ten minutes."""
    blocks = [block(0, kind="memory"), block(1), block(2, kind="memory")]
    job = payload.job("long", blocks, isolation=isolation, min_window_s=600.0)
    assert job.launch()["state"] == "started"
    wait_until(lambda: len(job.journal()) == 1)
    job.block_pid()
    return job


def shorten(job: JobOnBoard) -> None:
    """Give the job windows that end soon."""
    path = job.folder / "job.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "min_window_s": 0.01}))


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_a_job_of_every_kind_ends_up_whole_in_the_journal(
    payload: PackedPayload, isolation: str
) -> None:
    kinds = ("timing", "memory", "fidelity")
    blocks = [block(order, kind=kind) for order, kind in enumerate(kinds)]
    journal, end = payload.job("job", blocks, isolation=isolation).run()
    assert end["complete"] is True
    assert [record["order"] for record in journal] == [0, 1, 2]
    for record, kind in zip(journal, kinds, strict=True):
        assert (record["status"], record["reason"]) == ("ok", None)
        assert (record["type"], record["schema"]) == ("block", SCHEMA)
        assert record["kind"] == kind
        assert set(kinds) & set(record) == {kind}
        assert record["isolation"] == isolation
        assert record["case_key"] == "tiny/gradient_filter-r2/torch/cpu/float32/b1"
        assert record["threads"] == 1
        begin, finish = record["window_s"]
        assert record["state_before"]["t_s"] <= begin < finish <= record["state_after"]["t_s"]
    assert len({record["pid"] for record in journal}) == 3


def test_windows_lie_inside_their_block_one_after_the_other(payload: PackedPayload) -> None:
    (record,), _ = payload.job("job", [block(0)]).run()
    phases = ("forward", "backward", "step")
    marks = [mark for phase in phases for mark in record["timing"][phase]["window_s"]]
    assert marks == sorted(marks)
    assert record["window_s"][0] < marks[0] < marks[-1] < record["window_s"][1]
    for phase in phases:
        part = record["timing"][phase]
        begin, end = part["window_s"]
        assert end - begin >= 0.01
        assert len(part["starts_s"]) == len(part["times_s"])
        assert (part["loops"], part["sets"], part["changes_s"]) == (1, 1, [])
        assert 0 < sum(part["times_s"]) < end - begin
        assert part["warmup_s"]
    assert record["allocator"] == {"trim_threshold": "never", "mmap_max": 0}


def test_a_case_that_fails_is_a_line_with_its_reason_and_the_others_go_on(
    payload: PackedPayload,
) -> None:
    blocks = [block(0), block(1, kernel="no-such-kernel"), block(2)]
    journal, end = payload.job("job", blocks).run()
    assert [record["status"] for record in journal] == ["ok", "failed", "ok"]
    assert "no-such-kernel" in journal[1]["reason"]
    assert "Traceback" in journal[1]["traceback"]
    assert end["complete"] is True


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_a_block_that_does_not_end_is_a_timeout_and_the_others_go_on(
    payload: PackedPayload, isolation: str
) -> None:
    slow = block(0, layer=LARGE, batch=64)
    job = payload.job("job", [slow, block(1, kind="memory")], isolation=isolation)
    path = job.folder / "job.json"
    limit_s = 4.0 if isolation == "spawn" else 1.5  # a spawned block imports torch
    path.write_text(json.dumps({**json.loads(path.read_text()), "block_timeout_s": limit_s}))
    journal, end = job.run()
    assert [record["status"] for record in journal] == ["timeout", "ok"]
    assert journal[0]["reason"] == f"the block did not end within {limit_s:g} s"
    assert end["complete"] is True


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_a_block_killed_by_the_kernel_is_out_of_memory_with_the_estimate(
    payload: PackedPayload, isolation: str
) -> None:
    job = quick_then_long(payload, isolation)
    os.kill(job.block_pid(), signal.SIGKILL)
    journal, end = job.follow()
    assert [record["status"] for record in journal] == ["ok", "out_of_memory", "ok"]
    assert journal[1]["reason"].startswith("killed for lack of memory; the case needs about 0.")
    assert end["complete"] is True


def test_a_block_that_another_signal_ends_has_failed(payload: PackedPayload) -> None:
    job = quick_then_long(payload, "fork")
    os.kill(job.block_pid(), signal.SIGSEGV)
    journal, _ = job.follow()
    assert journal[1]["status"] == "failed"
    assert "signal 11" in journal[1]["reason"]


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_a_stopped_run_goes_on_and_finishes_with_no_block_twice(
    payload: PackedPayload, isolation: str
) -> None:
    job = quick_then_long(payload, isolation)
    measuring = job.block_pid()
    assert job.stop()
    assert not Path(f"/proc/{measuring}").exists()
    assert [record["status"] for record in job.journal()] == ["ok", "interrupted"]
    assert job.follow()[1]["complete"] is False
    shorten(job)
    journal, end = job.run()
    assert end["complete"] is True
    done = [record["order"] for record in journal if record["status"] != "interrupted"]
    assert done == [0, 1, 2]


def test_a_complete_job_that_is_run_again_does_nothing(payload: PackedPayload) -> None:
    job = payload.job("job", [block(0, kind="memory")])
    job.run()
    before = (job.folder / "journal.jsonl").read_bytes()
    journal, end = job.run()
    assert end["complete"] is True
    assert len(journal) == 1
    assert (job.folder / "journal.jsonl").read_bytes() == before


def test_two_runners_of_one_job_are_one(payload: PackedPayload) -> None:
    job = quick_then_long(payload, "fork")
    assert job.launch()["state"] == "running"
    assert job.stop()


def test_a_machine_that_is_measuring_is_busy_for_another_run(payload: PackedPayload) -> None:
    first = quick_then_long(payload, "fork")
    second = payload.job("second", [block(0, kind="memory")])
    answer = second.launch()
    assert answer["state"] == "busy"
    assert answer["holder"]["run_id"] == "run-long"
    assert answer["holder"]["pid"] == first.runner_pid()
    assert first.stop()
    assert second.run()[1]["complete"] is True


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_when_the_runner_is_killed_its_block_dies_and_the_follower_ends(
    payload: PackedPayload, isolation: str
) -> None:
    job = quick_then_long(payload, isolation)
    follower = subprocess.Popen(
        payload.command("follow", job.folder, 0),
        stdout=subprocess.PIPE,
        env=payload.environment(),
    )
    measuring = job.block_pid()
    os.kill(job.runner_pid(), signal.SIGKILL)
    out, _ = follower.communicate(timeout=30)
    end = unframe(out.splitlines()[-1])
    assert end is not None
    assert (end["type"], end["complete"]) == ("end", False)
    wait_until(lambda: not alive(measuring), timeout_s=10)
    assert not locks.is_held(str(payload.folder / "tmp" / locks.LEASE_NAME))
    shorten(job)
    journal, end = job.run()
    assert end["complete"] is True
    assert [record["order"] for record in journal] == [0, 1, 2]


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie that nobody has reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize("cut", [b'{"type":"block","order":1,"sta', b"\0" * 300])
def test_a_journal_with_a_cut_last_line_is_continued_properly(
    payload: PackedPayload, cut: bytes
) -> None:
    job = payload.job("job", [block(order, kind="memory") for order in range(3)])
    path = job.folder / "journal.jsonl"
    first = b'{"type":"block","order":0,"status":"ok"}\n'
    path.write_bytes(first + cut)
    journal, end = job.run()
    assert end["complete"] is True
    assert [record["order"] for record in journal] == [0, 1, 2]
    assert path.read_bytes().startswith(first + cut + b"\n")


def test_a_follower_goes_on_from_its_offset(payload: PackedPayload) -> None:
    job = payload.job("job", [block(order, kind="memory") for order in range(3)])
    job.run()
    lines = payload.records("follow", job.folder, 0)
    rest, _ = job.follow(lines[0]["offset"])
    assert [record["order"] for record in rest] == [1, 2]
    assert lines[2]["offset"] == (job.folder / "journal.jsonl").stat().st_size


def test_a_follower_sleeps_while_a_window_is_measured(payload: PackedPayload) -> None:
    job = quick_then_long(payload, "fork")
    follower = subprocess.Popen(
        payload.command("follow", job.folder, 0), stdout=subprocess.PIPE, env=payload.environment()
    )
    assert follower.stdout is not None
    first = unframe(follower.stdout.readline())
    assert first is not None
    wait_until(lambda: process_state(follower.pid) == "S", timeout_s=10)
    time.sleep(0.3)  # the runner has entered the window by now
    before = processor_ticks(follower.pid)
    time.sleep(0.5)
    assert processor_ticks(follower.pid) == before
    assert job.stop()
    out, _ = follower.communicate(timeout=30)
    assert b'"end"' in out


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def processor_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


NOISE = """
import os, sys
print("a print")
sys.stdout.write("no newline")
os.write(1, b"from C, no newline either")
sys.stderr.write("to stderr\\n")
"""


def noisy(tmp_path: Path) -> PackedPayload:
    """Return a payload on a board whose Python prints at its start, and in C at its end."""
    site = tmp_path / "site"
    site.mkdir()
    at_exit = 'import atexit\natexit.register(lambda: os.system("echo from a child"))\n'
    (site / "sitecustomize.py").write_text(NOISE + at_exit)
    return PackedPayload(tmp_path / "board", env={"PYTHONPATH": str(site)})


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_stray_prints_do_not_corrupt_the_protocol(tmp_path: Path, isolation: str) -> None:
    payload = noisy(tmp_path)
    (probe,) = payload.records("probe")
    assert probe["type"] == "probe"
    blocks = [block(0, kind="memory"), block(1, kind="memory")]
    journal, end = payload.job("job", blocks, isolation=isolation).run()
    assert end["complete"] is True
    assert [record["status"] for record in journal] == ["ok", "ok"]
    if isolation == "spawn":
        assert "from C" in journal[0]["log_tail"]


def test_what_a_command_prints_itself_goes_to_standard_error(tmp_path: Path) -> None:
    done = noisy(tmp_path).call("probe")
    assert done.stdout.count(RECORD_SEPARATOR.encode()) == 1
    after = done.stdout.partition(RECORD_SEPARATOR.encode())[2]
    assert after.count(b"\n") == 1
    assert after.endswith(b"}\n")
    assert b"from a child" in done.stderr
    assert b"a print" in done.stdout.partition(RECORD_SEPARATOR.encode())[0] + done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["run"], ["follow", "x"], ["block", "x"], ["probe", "a", "b"]]
)
def test_wrong_usage_is_status_64_with_the_commands(
    payload: PackedPayload, arguments: list[str]
) -> None:
    done = payload.call(*arguments)
    assert done.returncode == 64
    assert b"probe [SYSROOT]" in done.stderr
    assert done.stdout == b""


def test_a_job_that_is_not_there_fails_with_the_log(payload: PackedPayload) -> None:
    folder = payload.folder / "empty"
    folder.mkdir()
    (answer,) = payload.records("run", folder)
    assert answer["state"] == "failed"
    assert "job.json" in answer["log"]


def test_power_is_sampled_beside_the_blocks_and_ends_with_them(payload: PackedPayload) -> None:
    sensor = payload.folder / "power1_input"
    sensor.write_text("4200000\n")
    channels = [{"id": "c0", "path": str(sensor), "unit": "uW"}]
    sensor_spec = {"id": "files", "kind": "files", "interval_s": 0.01, "channels": channels}
    power: dict[str, Any] = {"sensors": [sensor_spec]}
    job = payload.job("job", [block(0, kind="memory"), block(1)], power=power)
    journal, _ = job.run()
    header, *rows = (job.folder / "power.csv").read_text().splitlines()
    assert header == "t_s,sensor,raw"
    times = [float(row.split(",")[0]) for row in rows]
    assert {row.split(",", 1)[1] for row in rows} == {"c0,4200000"}
    begin, end = journal[1]["window_s"]
    assert sum(begin <= t_s <= end for t_s in times) > 3


def files_sensor(path: Path, interval_s: float = 0.01) -> dict[str, Any]:
    channels = [{"id": "c0", "path": str(path), "unit": "uW"}]
    spec = {"id": "files", "kind": "files", "interval_s": interval_s, "channels": channels}
    return {"sensors": [spec]}


def sampled_between(job: JobOnBoard, window: list[float]) -> int:
    rows = (job.folder / "power.csv").read_text().splitlines()[1:]
    return sum(window[0] <= float(row.split(",")[0]) <= window[1] for row in rows)


def test_idle_power_is_watched_before_and_after_the_blocks(payload: PackedPayload) -> None:
    sensor = payload.folder / "power1_input"
    sensor.write_text("4200000\n")
    job = payload.job("job", [block(0)], power=files_sensor(sensor), idle_s=0.3)
    journal, end = job.run()
    assert [record["type"] for record in journal] == ["idle", "block", "idle"]
    before, measured, after = journal
    assert (before["place"], after["place"]) == ("before", "after")
    assert before["window_s"][1] <= measured["window_s"][0]
    assert measured["window_s"][1] <= after["window_s"][0]
    for record in (before, after):
        assert record["window_s"][1] - record["window_s"][0] >= 0.3
        assert sampled_between(job, record["window_s"]) >= 5
        assert record["state"]["load_1m"] >= 0
    assert end["complete"] is True


def test_a_job_whose_blocks_are_done_is_not_watched_again(payload: PackedPayload) -> None:
    job = payload.job("job", [block(0)], idle_s=0.1)
    assert len(job.run()[0]) == 3
    assert len(job.run()[0]) == 3


def test_a_runner_that_watches_the_idle_machine_stops_when_told(payload: PackedPayload) -> None:
    job = payload.job("job", [block(0)], idle_s=60.0)
    job.launch()
    begin = time.monotonic()
    assert job.stop()
    assert time.monotonic() - begin < 5
    assert job.journal() == []


def test_a_block_can_be_measured_without_the_sampler(payload: PackedPayload) -> None:
    sensor = payload.folder / "power1_input"
    sensor.write_text("4200000\n")
    blocks = [
        block(0),
        block(1)._replace(sampling=0.0),
        block(2)._replace(sampling=10.0),
        block(3),
    ]
    job = payload.job("job", blocks, power=files_sensor(sensor), min_window_s=0.15)
    journal, _ = job.run()
    on, off, sparse, again = (sampled_between(job, record["window_s"]) for record in journal)
    assert off == 0
    assert 0 < sparse < on / 3
    assert again > 3 * sparse
    assert [record["sampling"] for record in journal] == [1.0, 0.0, 10.0, 1.0]
    assert journal[1]["sampler_cpu_s"] is None
    assert 0 <= journal[0]["sampler_cpu_s"] < 0.2


def test_pauses_lie_between_the_timed_samples(payload: PackedPayload) -> None:
    job = payload.job("job", [block(0, layer=LARGE)], pauses=True, min_window_s=0.5)
    ((record,), _) = job.run()
    for phase in record["timing"].values():
        ends = [
            start + time_s * phase["loops"]
            for start, time_s in zip(phase["starts_s"], phase["times_s"], strict=True)
        ]
        assert phase["starts_s"][0] > phase["window_s"][0]
        assert ends[-1] == pytest.approx(phase["window_s"][1])
        gaps = [after - end for after, end in zip(phase["starts_s"][1:], ends, strict=False)]
        assert all(gap > 0 for gap in gaps)


def test_for_joules_iterations_alone_fill_the_window_and_changes_are_watched(
    payload: PackedPayload,
) -> None:
    job = payload.job("job", [block(0)], min_window_s=0.2, energy=True)
    (record,), _ = job.run()
    for phase in record["timing"].values():
        assert sum(phase["times_s"]) >= 0.2
        marks = [mark for burst in phase["changes_s"] for mark in burst]
        assert marks == sorted(marks)
        assert phase["window_s"][0] < marks[0] < marks[-1] < phase["window_s"][1]
        assert all(0.05 <= end - begin < 1.0 for begin, end in phase["changes_s"])


def test_what_a_block_writes_beside_its_result_is_not_taken_for_it(payload: PackedPayload) -> None:
    (record,), _ = payload.job("job", [block(0)]).run()
    assert {"spans", "verified", "ended_s", "cpu_s"} < set(record)
    assert record["verified"]["step"]["iterations"] == 2
    assert record["verified"]["step"]["error"] < 1e-5
    assert not (payload.folder / "job" / "block.json").exists()


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_a_sentinel_is_a_short_window_of_step_of_its_fixed_case(
    payload: PackedPayload, isolation: str
) -> None:
    sentinel = Block(0, 0, 0, "sentinel", sentinel_case("cpu"), SENTINEL_SEED)
    job = payload.job("job", [sentinel], isolation=isolation, min_window_s=60.0)
    (record,), _ = job.run()
    assert record["status"] == "ok"
    assert record["case_key"] == "sentinel/exact/torch/cpu/float32/b1"
    assert set(record["timing"]) == {"step"}
    begin, end = record["timing"]["step"]["window_s"]
    assert SENTINEL_WINDOW_S <= end - begin < 20 * SENTINEL_WINDOW_S
    assert record["state_before"]["boot_id"] == record["state_after"]["boot_id"] is not None


def other_payload(payload: PackedPayload, folder: Path, old: str, new: str) -> str:
    """Put a payload beside ours in which the module ``block`` has been changed."""
    shutil.copytree(Path(workloads.__file__).parent, folder)
    path = folder / "measure" / "block.py"
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new))
    other = payloads.pack(folder)
    (payload.folder / other.name).write_bytes(other.data)
    return other.name


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_a_block_of_another_revision_is_measured_by_its_own_payload(
    payload: PackedPayload, tmp_path: Path, isolation: str
) -> None:
    marked = ('record.update(status="ok"', 'record.update(planted=True, status="ok"')
    names = {"new": other_payload(payload, tmp_path / "w", *marked), "base": payload.path.name}
    blocks = [block(0, revision="new"), block(1, revision="base"), block(2)]
    blocks += [block(3, revision="new")]
    journal, end = payload.job("pairs", blocks, isolation=isolation, payloads=names).run()
    assert end["complete"] is True
    assert [(r["status"], r["isolation"], r.get("planted")) for r in journal] == [
        ("ok", isolation, True),
        ("ok", isolation, None),
        ("ok", isolation, None),
        ("ok", isolation, True),
    ]
    assert len({record["pid"] for record in journal}) == 4
    assert journal[0]["case_key"] == "tiny/gradient_filter-r2/torch@new/cpu/float32/b1"
    assert journal[0]["case"]["kernel"] == "torch"


def test_a_revision_that_cannot_be_imported_fails_with_its_words(
    payload: PackedPayload, tmp_path: Path
) -> None:
    broken = other_payload(payload, tmp_path / "w", "import gc\n", "import gc_of_another_time\n")
    names = {"new": broken, "base": payload.path.name}
    blocks = [block(0, revision="new"), block(1, revision="base")]
    journal, end = payload.job("pairs", blocks, payloads=names).run()
    assert end["complete"] is True
    assert [record["status"] for record in journal] == ["failed", "ok"]
    assert "gc_of_another_time" in journal[0]["log_tail"]


def test_a_forked_block_of_another_revision_ends_with_its_deadline_and_with_the_job(
    payload: PackedPayload, tmp_path: Path
) -> None:
    start = "    try:\n        load()"
    slow = (start, start + "; import time; time.sleep(600)")
    names = {"new": other_payload(payload, tmp_path / "w", *slow), "base": payload.path.name}
    blocks = [block(0, revision="new"), block(1, revision="base"), block(2, revision="new")]
    job = payload.job("pairs", blocks, payloads=names, block_timeout_s=3.0)
    assert job.launch()["state"] == "started"
    wait_until(lambda: len(job.journal()) == 2)
    assert [record["status"] for record in job.journal()] == ["timeout", "ok"]
    runner = job.runner_pid()
    children = Path(f"/proc/{runner}/task/{runner}/children").read_text().split()
    assert len(children) == 2  # a parent for each payload
    assert job.stop()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert job.journal()[-1]["status"] == "interrupted"
