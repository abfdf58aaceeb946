"""Targets that are one machine take turns; others do not wait."""

from __future__ import annotations

import threading

from harness.fleet.machines import Machines

DEADLINE_S = 10.0


class Visit(threading.Thread):
    """Holds a machine until it is told to go."""

    def __init__(self, machines: Machines, boot_id: str | None, target: str) -> None:
        super().__init__(daemon=True)
        self.inside, self.leave, self.stop = (threading.Event() for _ in range(3))
        self._turn = machines.one_at_a_time(boot_id, target, self.stop)
        self.start()

    def run(self) -> None:
        with self._turn:
            self.inside.set()
            self.leave.wait(DEADLINE_S)


def test_two_targets_of_one_machine_take_turns() -> None:
    machines = Machines()
    first = Visit(machines, "same", "a")
    assert first.inside.wait(DEADLINE_S)
    second = Visit(machines, "same", "b")
    assert not second.inside.wait(0.3)
    first.leave.set()
    assert second.inside.wait(DEADLINE_S)
    second.leave.set()


def test_two_machines_do_not_wait_for_each_other() -> None:
    machines = Machines()
    visits = [Visit(machines, boot_id, boot_id) for boot_id in ("one", "two")]
    assert all(visit.inside.wait(DEADLINE_S) for visit in visits)
    for visit in visits:
        visit.leave.set()


def test_machines_that_do_not_say_who_they_are_are_taken_for_different_ones() -> None:
    machines = Machines()
    visits = [Visit(machines, None, name) for name in ("a", "b")]
    assert all(visit.inside.wait(DEADLINE_S) for visit in visits)
    for visit in visits:
        visit.leave.set()
    assert machines.sharing("a") == []


def test_who_waits_is_let_go_by_a_stop() -> None:
    machines = Machines()
    first = Visit(machines, "same", "a")
    assert first.inside.wait(DEADLINE_S)
    second = Visit(machines, "same", "b")
    second.leave.set()
    second.stop.set()
    second.join(DEADLINE_S)
    assert not second.is_alive()
    third = Visit(machines, "same", "c")  # the stopped one has not freed what it never held
    assert not third.inside.wait(0.3)
    first.leave.set()
    assert third.inside.wait(DEADLINE_S)
    third.leave.set()


def test_sharing_names_the_other_targets_of_the_machine() -> None:
    machines = Machines()
    for boot_id, name in (("x", "a"), ("y", "b"), ("x", "c")):
        with machines.one_at_a_time(boot_id, name, threading.Event()):
            pass
    assert machines.sharing("a") == ["c"]
    assert machines.sharing("c") == ["a"]
    assert machines.sharing("b") == []
    assert machines.sharing("never seen") == []


def test_an_error_frees_the_machine() -> None:
    machines = Machines()
    stop = threading.Event()
    try:
        with machines.one_at_a_time("x", "a", stop):
            raise RuntimeError
    except RuntimeError:
        pass
    visit = Visit(machines, "x", "b")
    assert visit.inside.wait(DEADLINE_S)
    visit.leave.set()
