"""Boards whose login shell is not sh, or prints before it does anything.

A ForceCommand plays the login shell: it gets the command line as sshd hands it to one, by -c.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from field_data import folder_of
from one_board import Lab, one_board
from sshd import require_program, sftp_server

from harness.board import doctor
from harness.board.board import Board
from harness.errors import CommandFailed
from harness.payloads import payload as payloads
from harness.transport.ssh.fabric import FabricTransport
from harness.transport.ssh.openssh import find

BASHRC = folder_of("S12") / "bashrc"
GREETING = "Welcome to the lab board!"
SHELLS = {"S10": "fish", "S11": "tcsh"}


@pytest.fixture(scope="module", params=SHELLS)
def shell_lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    shell = require_program(SHELLS[request.param])
    options = [f'ForceCommand exec {shell} -c "$SSH_ORIGINAL_COMMAND"']
    with one_board(tmp_path_factory, options=options, sftp=sftp_server()) as lab:
        yield lab


@pytest.fixture(scope="module")
def printing_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A board that reads the case's .bashrc before every command, SFTP's server included."""
    forced = f'ForceCommand . {BASHRC}; eval "$SSH_ORIGINAL_COMMAND"'
    with one_board(tmp_path_factory, options=[forced], sftp=sftp_server()) as lab:
        yield lab


def test_s10_and_s11_probe_and_run_through_fish_and_tcsh(
    shell_lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shell_lab.at_home(monkeypatch)
    target = replace(shell_lab.nano, workdir=str(tmp_path / "work"))
    payload = payloads.pack()
    board = Board(target, lambda: FabricTransport(target, None), payload)
    try:
        state = board.prepare("job")  # the bootstrap, and the payload by SFTP
        assert Path(state.folder).is_dir()
        assert (tmp_path / "work" / payload.name).read_bytes() == payload.data
        awkward = "it's a!b \\n\n*"
        done = board.transport.run(["printf", "%s", awkward], deadline_s=20)
        assert done.stdout.decode() == awkward
        lines = board.transport.follow(
            ["sh", "-c", "echo one; echo 'two!'"], idle_deadline_s=20, stop=threading.Event()
        )
        assert list(lines) == [b"one", b"two!"]
    finally:
        board.close()


def test_s12_commands_work_although_the_login_shell_prints(
    printing_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    printing_lab.at_home(monkeypatch)
    with FabricTransport(printing_lab.nano, None) as transport:
        done = transport.run(["echo", "hello"], deadline_s=20)
        assert done.stdout.decode() == f"{GREETING}\nhello\n"


def test_s12_all_works_where_sshd_has_its_sftp_within(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The account's own bash reads the case's .bashrc, as Debian's does for sshd."""
    (tmp_path / ".bashrc").write_bytes(BASHRC.read_bytes())
    with one_board(tmp_path_factory, environment={"HOME": str(tmp_path)}) as lab:
        lab.at_home(monkeypatch)
        target = replace(lab.nano, workdir=str(tmp_path / "work"))
        payload = payloads.pack()
        board = Board(target, lambda: FabricTransport(target, None), payload)
        try:
            if GREETING.encode() not in board.transport.run(["true"], deadline_s=20).stdout:
                pytest.skip("this account's login shell does not read .bashrc for sshd")
            board.prepare("job")
            assert (tmp_path / "work" / payload.name).read_bytes() == payload.data
        finally:
            board.close()


def test_s12_sftp_that_the_login_shell_spoils_is_explained(
    printing_lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    printing_lab.at_home(monkeypatch)
    with FabricTransport(printing_lab.nano, None) as transport:
        with pytest.raises(CommandFailed) as failed:
            transport.put(b"data", str(tmp_path / "file"), deadline_s=20)
        with pytest.raises(CommandFailed, match="the login shell prints"):
            transport.get(str(BASHRC), deadline_s=20, limit_bytes=2**20)
        assert transport.run(["true"], deadline_s=20).exit_status == 0
    assert failed.value.exit_code == 4
    assert f"the login shell prints '{GREETING}' at its start" in failed.value.message
    assert "Subsystem sftp internal-sftp" in failed.value.remedy


def test_s12_doctor_sees_it_also_where_the_payload_is_already_there(
    printing_lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    printing_lab.at_home(monkeypatch)
    work = tmp_path / "work"
    payload = payloads.pack()
    work.mkdir()
    (work / payload.name).write_bytes(payload.data)
    target = replace(printing_lab.nano, workdir=str(work))
    examined = doctor.examine(target, None)
    assert examined.exit_code == 4
    shown = "\n".join(examined.lines())
    assert "the login shell prints" in shown
    program = find()
    assert program is not None
    assert f"ssh settings: read by ssh -G ({program.version})" in shown
    assert examined.to_json()["ssh_settings"] == f"read by ssh -G ({program.version})"


def test_an_sftp_server_that_speaks_something_else_is_named_too(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with one_board(tmp_path_factory, sftp="/bin/echo no SFTP here") as lab:
        lab.at_home(monkeypatch)
        with (
            FabricTransport(lab.nano, None) as transport,
            pytest.raises(CommandFailed, match="its SFTP server does not speak SFTP: ") as failed,
        ):
            transport.put(b"data", "/nonexistent", deadline_s=20)
    assert "Subsystem sftp" in failed.value.remedy
