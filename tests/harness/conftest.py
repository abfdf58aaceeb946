"""A home for the controller and a board behind a real sshd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sshd import ClientHome, Sshd, running_sshd

from targets.inventory import Target


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClientHome:
    home = ClientHome(tmp_path / "home")
    home.use(monkeypatch)
    return home


@pytest.fixture
def board(home: ClientHome, tmp_path: Path) -> Iterator[Sshd]:
    """A board that is reachable and not yet trusted."""
    with running_sshd(tmp_path / "board", home) as server:
        yield server


@pytest.fixture
def nano(board: Sshd) -> Target:
    """The board's entry of the inventory."""
    return Target(name="nano", host=board.host, port=board.port, user=board.user)
