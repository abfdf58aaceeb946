"""A child that may hang or die, watched by real clocks and real signals."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workloads.machine.watched import Ended, Late, Send, Watched


@contextmanager
def watched(work: Callable[[Send], None]) -> Iterator[Watched]:
    child = Watched(work)
    try:
        yield child
    finally:
        child.end()


def soon() -> float:
    return time.monotonic() + 20


def test_values_come_in_their_order_and_then_the_end() -> None:
    def work(send: Send) -> None:
        for value in ({"a": None}, "ä", 3):
            send(value)

    with watched(work) as child:
        child.start()
        assert [child.next(soon()) for _ in range(3)] == [{"a": None}, "ä", 3]
        with pytest.raises(Ended) as ended:
            child.next(soon())
    assert ended.value.wait_status == 0


def test_it_waits_until_it_is_started(tmp_path: Path) -> None:
    def work(send: Send) -> None:
        send((tmp_path / "ready").exists())

    with watched(work) as child:
        with pytest.raises(Late):
            child.next(time.monotonic() + 0.1)
        (tmp_path / "ready").touch()
        child.start()
        assert child.next(soon()) is True


def test_one_that_is_never_started_ends() -> None:
    with watched(lambda send: send(1)):
        pass


def test_a_signal_is_told() -> None:
    def work(send: Send) -> None:
        send("before")
        faulthandler.disable()  # pytest's
        os.kill(os.getpid(), signal.SIGILL)

    with watched(work) as child:
        child.start()
        assert child.next(soon()) == "before"
        with pytest.raises(Ended) as ended:
            child.next(soon())
    assert os.WTERMSIG(ended.value.wait_status) == signal.SIGILL


def test_an_exception_is_exit_status_1(capfd: pytest.CaptureFixture[str]) -> None:
    def work(send: Send) -> None:
        raise ValueError("no")

    with watched(work) as child:
        child.start()
        with pytest.raises(Ended) as ended:
            child.next(soon())
    assert os.WEXITSTATUS(ended.value.wait_status) == 1
    assert "ValueError: no" in capfd.readouterr().err


def test_one_that_is_late_is_ended_with_what_it_has_started() -> None:
    def work(send: Send) -> None:
        program = subprocess.Popen(["sleep", "600"])
        send(program.pid)
        program.wait()

    with watched(work) as child:
        child.start()
        program = child.next(soon())
        with pytest.raises(Late):
            child.next(time.monotonic() + 0.05)
    deadline = soon()
    while _lives(program):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
