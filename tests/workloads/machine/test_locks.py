"""Locks between real processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workloads.machine import locks

HOLD = """
import sys, time
from workloads.machine.locks import Lock
lock = Lock(sys.argv[1])
assert lock.acquire()
lock.write_note({"pid": 7})
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a.lock")


def holder(path: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_keeps_another_process_out_and_death_frees_it(path: str) -> None:
    with holder(path) as other:
        lock = locks.Lock(path)
        assert locks.is_held(path)
        assert not lock.acquire()
        assert not lock.acquire(timeout_s=0.05)
        assert not lock.acquire(shared=True)
        assert lock.read_note() == {"pid": 7}
        other.kill()
        other.wait()
        assert not locks.is_held(path)
        assert lock.acquire(timeout_s=1.0)
        lock.close()


def test_who_waits_goes_on_when_the_holder_dies(path: str) -> None:
    with holder(path) as other:
        lock = locks.Lock(path)
        subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -9 {other.pid}"]).wait()
        begin = time.monotonic()
        lock.wait()
        assert time.monotonic() - begin < 10
        assert not locks.is_held(path)
        lock.close()


def test_a_released_lock_can_be_had_again(path: str) -> None:
    mine, other = locks.Lock(path), locks.Lock(path)
    assert mine.acquire()
    assert not other.acquire()
    mine.release()
    assert other.acquire()
    mine.close()
    other.close()


def test_two_who_ask_do_not_take_each_other_for_a_holder(path: str) -> None:
    asking = locks.Lock(path)
    assert asking.acquire(shared=True)
    assert not locks.is_held(path)
    asking.close()


def test_a_lock_that_is_not_there_is_not_held_and_not_made(path: str) -> None:
    assert not locks.is_held(path)
    assert not os.path.exists(path)


@pytest.mark.parametrize("note", [b"", b"{", b"[1]", b"\xff", b"[" * 4096])
def test_a_note_that_makes_no_sense_is_empty(path: str, note: bytes) -> None:
    Path(path).write_bytes(note)
    lock = locks.Lock(path)
    assert lock.read_note() == {}
    lock.close()


def test_a_shorter_note_leaves_nothing_of_the_longer_one(path: str) -> None:
    lock = locks.Lock(path)
    lock.write_note({"run_id": "x" * 100})
    lock.write_note({"pid": 1})
    assert lock.read_note() == {"pid": 1}
    lock.close()


def test_a_symbolic_link_is_not_followed(path: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    os.symlink(precious, path)
    with pytest.raises(OSError, match="symbolic"):
        locks.Lock(path)
    assert precious.read_text() == "keep"


def test_the_lease_can_be_taken_by_every_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lease = locks.Lease(locks.lease_path())
    assert stat.S_IMODE(os.stat(lease.path).st_mode) == 0o666
    lease.close()


def test_a_lease_that_is_removed_keeps_nobody_out_and_everybody_after_it(path: str) -> None:
    first, waiting = locks.Lease(path), locks.Lease(path)
    assert first.acquire()
    assert not waiting.acquire()
    first.remove()
    first.close()
    assert not os.path.exists(path)
    assert waiting.acquire()  # it had opened the file that is gone
    assert os.path.exists(path)
    late = locks.Lease(path)
    assert not late.acquire()
    assert locks.is_held(path)
    for lease in (waiting, late):
        lease.close()


def test_the_boot_id_is_the_kernels() -> None:
    boot_id = locks.boot_id()
    assert boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
