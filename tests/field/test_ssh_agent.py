"""Agents as they are in the field: not every key can sign, and none of them ends the attempt."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from one_board import Lab, one_board, says_hello
from paramiko.message import Message
from scripted_agent import Identity, scripted_agent
from sshd import generate_key

from harness.errors import Unreachable
from harness.transport.ssh.fabric import FabricTransport


def blob(kind: str, *parts: bytes) -> bytes:
    message = Message()
    message.add_string(kind)
    for part in parts:
        message.add_string(part)
    return message.asbytes()


FIDO = Identity(blob("sk-ssh-ed25519@openssh.com", os.urandom(32), b"ssh:"), "a FIDO key")
NEW = Identity(blob("ssh-mldsa-44@openssh.com", os.urandom(40)), "a kind of next year")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A board that takes Ed25519 alone, of a user whose key is in the agent and not on the disk."""
    with one_board(tmp_path_factory, options=["PubkeyAcceptedAlgorithms *ed25519*"]) as lab:
        folder = tmp_path_factory.mktemp("keys")
        for path in (lab.home.key, lab.home.key.with_suffix(".pub")):
            path.rename(folder / path.name)
        lab.home.key = folder / lab.home.key.name
        yield lab


@pytest.fixture(autouse=True)
def at_home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.at_home(monkeypatch)


@pytest.fixture
def mine(lab: Lab) -> Identity:
    key = paramiko.Ed25519Key.from_private_key_file(str(lab.home.key))
    return Identity(key.asbytes(), "mine", key)


def certificate(mine: Identity, lab: Lab, folder: Path) -> Identity:
    """Return a certificate of the key, of an authority that the board does not know."""
    (folder / "mine.pub").write_text(lab.home.public_key)
    command = ["ssh-keygen", "-q", "-s", str(generate_key(folder / "authority")), "-I", "me"]
    command += ["-n", getpass.getuser(), str(folder / "mine.pub")]
    subprocess.run(command, check=True, capture_output=True)
    public = paramiko.pkey.PublicBlob.from_file(str(folder / "mine-cert.pub"))
    return Identity(public.key_blob, "a certificate", mine.key)


@pytest.mark.parametrize("first", ["FIDO", "a new kind", "locked", "certificate"])
def test_s9_the_ordinary_key_is_used_after_one_that_cannot_sign(
    lab: Lab, mine: Identity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: str
) -> None:
    locked = paramiko.PKey.from_path(str(generate_key(tmp_path / "locked")))
    before = {
        "FIDO": FIDO,
        "a new kind": NEW,
        "locked": Identity(locked.asbytes(), "its agent does not sign"),
        "certificate": certificate(mine, lab, tmp_path),
    }
    with scripted_agent(before[first], mine) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", agent.path)
        port = ["-p", str(lab.board.port)]
        assert lab.ssh(*port, lab.board.host, "true", environment=True).returncode == 0
        assert says_hello(lab.nano)
        assert mine.blob in agent.asked


def test_a_key_that_cannot_sign_is_named_with_the_agents_answer(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_agent(FIDO) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", agent.path)
        with pytest.raises(
            Unreachable, match=r"sk-ssh-ed25519@openssh\.com SHA256:.* sign with it"
        ):
            FabricTransport(lab.nano, None)


def test_an_rsa_key_on_a_board_that_takes_none_leaves_the_others_their_turn(
    lab: Lab, mine: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    rsa = generate_key(lab.home.ssh / "id_for_others", "rsa")
    lab.home.config.write_text(f"IdentityFile {rsa}\n")
    with scripted_agent(mine) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", agent.path)
        assert says_hello(lab.nano)


def test_an_agent_that_is_gone_leaves_the_key_files_their_turn(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent/agent")
    with pytest.raises(Unreachable, match=r"the agent \(no such file or directory\)"):
        FabricTransport(lab.nano, None)
    (lab.home.ssh / "id_ed25519").write_bytes(lab.home.key.read_bytes())
    try:
        assert says_hello(lab.nano)
    finally:
        (lab.home.ssh / "id_ed25519").unlink()


@pytest.mark.parametrize("written", ["path", "$LAB_AGENT", "none"])
def test_the_agent_of_ssh_config_is_asked(
    lab: Lab, mine: Identity, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    with scripted_agent(mine) as agent, scripted_agent(FIDO) as other:
        monkeypatch.setenv("LAB_AGENT", agent.path)
        monkeypatch.setenv("SSH_AUTH_SOCK", other.path)
        value = agent.path if written == "path" else written
        lab.home.config.write_text(f"IdentityAgent {value}\n")
        if written == "none":
            with pytest.raises(Unreachable, match="no key at all"):
                FabricTransport(lab.nano, None)
        else:
            assert says_hello(lab.nano)
        assert other.asked == []
