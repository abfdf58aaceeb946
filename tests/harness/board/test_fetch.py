"""A board's power trace comes home over lines that are cut, slow or gone; nothing of it is lost."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cutting_proxy import Line, cutting_proxy
from sshd import ClientHome, Sshd, running_sshd
from tiny_suite import tiny_suite

from harness.board.board import Board, Digest
from harness.board.fetch import Limits, fetch_file
from harness.board.patience import Patience
from harness.errors import CommandFailed, Unreachable
from harness.payloads.payload import Payload
from harness.transport.base import open_transport
from reports.results.read import load_run, read_trace
from targets.inventory import Target

SIZE = 1_500_000
SMALL = Limits(piece_bytes=256 << 10, least_piece_bytes=16 << 10, piece_deadline_s=20.0)
SUITE = tiny_suite()
# gfbench, on a day when more than ten bytes are too many.
NARROW = (
    "import harness.board.fetch as f; f.LIMITS = f.Limits(most_bytes=10); "
    "from harness.cli import main; main()"
)
MAIN = "from harness.cli import main; main()"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientHome]:
    home = ClientHome(tmp_path_factory.mktemp("client") / "home")
    with pytest.MonkeyPatch.context() as patch:
        home.use(patch)
        yield home


@pytest.fixture(scope="module")
def server(home: ClientHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("server") / "board", home) as server:
        home.trust(server)
        yield server


@pytest.fixture
def line(server: Sshd, home: ClientHome) -> Iterator[Line]:
    with cutting_proxy(server.port) as line:
        with home.known_hosts.open("a") as known:
            known.writelines(
                entry.replace(f":{server.port} ", f":{line.port} ")
                for entry in server.known_hosts_lines()
            )
        yield line


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file on the board that no compression makes smaller."""
    path = tmp_path / "power.csv"
    path.write_bytes(os.urandom(SIZE))
    return path


def board_at(server: Sshd, port: int, *, reconnect_s: float = 20.0) -> Board:
    target = Target(
        name="nano",
        host=server.host,
        port=port,
        user=server.user,
        python=sys.executable,
        reconnect_s=reconnect_s,
    )
    payload = Payload(name="p", data=b"", sha256="0")
    return Board(target, lambda: open_transport(target, None), payload)


def fetch(board: Board, path: Path, into: Path, limits: Limits = SMALL) -> bool:
    try:
        return fetch_file(
            board,
            str(path),
            into,
            patience=Patience(board.target),
            stop=threading.Event(),
            limits=limits,
        )
    finally:
        board.close()


def test_a_line_that_is_cut_again_and_again_brings_every_byte_once(
    server: Sshd, line: Line, trace: Path, tmp_path: Path
) -> None:
    line.cut_after = 700_000
    into = tmp_path / "here"
    assert fetch(board_at(server, line.port), trace, into)
    assert into.read_bytes() == trace.read_bytes()
    assert line.cuts >= 2
    assert line.carried < 2 * SIZE


def test_a_line_that_is_too_slow_for_a_piece_gets_smaller_ones(
    server: Sshd, line: Line, tmp_path: Path
) -> None:
    path, into = tmp_path / "power.csv", tmp_path / "here"
    path.write_bytes(os.urandom(300_000))
    line.bytes_per_s = 150_000
    limits = Limits(piece_bytes=300_000, least_piece_bytes=1 << 14, piece_deadline_s=1.0)
    assert fetch(board_at(server, line.port), path, into, limits)
    assert into.read_bytes() == path.read_bytes()


def test_what_came_before_the_board_was_lost_is_not_copied_again(
    server: Sshd, line: Line, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.cut_after = 900_000
    into = tmp_path / "here"
    with pytest.raises(Unreachable, match=r"reading .*power\.csv") as caught:
        fetch(board_at(server, line.port, reconnect_s=0.0), trace, into)
    assert "gfbench resume" in str(caught.value)
    assert into.stat().st_mode & 0o077 == 0
    came = into.stat().st_size
    assert 0 < came < SIZE
    line.cut_after, line.carried = None, 0
    asked_from = []

    def piece(board: Board, path: str, offset: int, size: int, deadline_s: float) -> bytes:
        asked_from.append(offset)
        return board.transport.get_piece(path, offset=offset, size=size, deadline_s=deadline_s)

    monkeypatch.setattr(Board, "piece", piece)
    assert fetch(board_at(server, line.port), trace, into)
    assert into.read_bytes() == trace.read_bytes()
    assert min(asked_from) == came
    assert line.carried < SIZE  # a piece that breaks off on a busy machine may come twice


def test_a_part_of_another_file_is_thrown_away(server: Sshd, trace: Path, tmp_path: Path) -> None:
    into = tmp_path / "here"
    for other in (b"x" * 5000, b"x" * (SIZE + 1)):
        into.write_bytes(other)
        assert fetch(board_at(server, server.port), trace, into)
        assert into.read_bytes() == trace.read_bytes()


def test_a_file_that_is_too_large_is_named_and_left_where_it_is(
    server: Sshd, trace: Path, tmp_path: Path
) -> None:
    into = tmp_path / "here"
    with pytest.raises(CommandFailed, match=rf"{SIZE} bytes long, more than the 1000 .*stays"):
        fetch(board_at(server, server.port), trace, into, Limits(most_bytes=1000))
    assert not into.exists()
    assert trace.stat().st_size == SIZE


def test_a_file_that_is_not_there_is_no_error(server: Sshd, tmp_path: Path) -> None:
    assert not fetch(board_at(server, server.port), tmp_path / "absent", tmp_path / "here")


def test_a_file_that_arrives_as_another_one_does_not_count(
    server: Sshd, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = board_at(server, server.port)
    monkeypatch.setattr(board, "digest", lambda path: Digest(size=SIZE, sha256="0" * 64))
    with pytest.raises(CommandFailed, match="damaged on its way"):
        fetch(board, trace, tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_trace_that_cannot_come_is_told_stays_on_the_board_and_resume_brings_it(
    server: Sshd, home: ClientHome, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    (tmp_path / "inventory.yaml").write_text(
        f"targets: {{nano: {{host: {server.host}, port: {server.port}, user: {server.user}, "
        f"python: {sys.executable}, workdir: {tmp_path / 'work'}, env: {{TMPDIR: {tmp_path}}}, "
        "power: {command: 'while :; do echo 5; sleep 0.02; done'}}}",
        encoding="utf-8",
    )

    def gfbench(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
        )

    first = gfbench(NARROW, "run", "-t", "nano", "--suite", "tiny.yaml", "-o", "out")
    assert first.returncode == 4, first.stderr
    (run,) = (tmp_path / "out").iterdir()
    told = json.loads((run / "targets/nano/session.json").read_text(encoding="utf-8"))
    (note,) = (note for note in told["notes"] if note.startswith("the power trace is not here"))
    (log,) = (tmp_path / "work" / "jobs").glob("*/power.csv")
    assert note.endswith(f"on the board it is {log}")
    assert note in first.stderr
    assert note.split(":")[0] in (run / "report.html").read_text(encoding="utf-8")
    assert f"gfbench resume {run.relative_to(tmp_path)}" in first.stderr
    logged = log.read_bytes()

    again = gfbench(MAIN, "resume", str(run))
    assert again.returncode == 0, again.stderr
    assert "the power trace" not in again.stderr
    assert gzip.decompress((run / "targets/nano/power-raw.csv.gz").read_bytes()) == logged
    readings = read_trace(load_run(run).targets[0])
    assert readings is not None
    assert len(next(iter(readings.values()))[0]) > 5
    assert not list((tmp_path / "work" / "jobs").iterdir())
    assert not (run / "targets/nano/power.part").exists()
