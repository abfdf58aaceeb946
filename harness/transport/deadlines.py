"""Hard deadlines for calls that may block for ever.

A call runs in a daemon thread of its own, so that neither its caller nor the interpreter's exit
waits for it longer than it should. Whoever gives up must make the call return, by closing what it
waits on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")


class DeadlineExceeded(Exception):
    """The call has not returned in time; it still runs."""


def background(action: Callable[[], T]) -> Future[T]:
    """Start the action in a daemon thread and return its future."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(action())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True, name="gfbench-call").start()
    return future


def within(deadline_s: float, action: Callable[[], T]) -> T:
    """Return what the action returns, or raise what it raises.

    Raises:
        DeadlineExceeded: The action has not returned within `deadline_s`.
    """
    future = background(action)
    if not wait([future], timeout=max(0.0, deadline_s)).done:
        raise DeadlineExceeded
    return future.result()
