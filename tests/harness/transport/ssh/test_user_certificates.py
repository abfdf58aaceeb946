"""Keys that an authority has signed, offered as the real `ssh` beside it offers them."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from one_board import Lab, one_board, says_hello
from scripted_agent import Identity, scripted_agent
from sshd import generate_key

from harness.errors import Unreachable
from harness.transport.ssh.fabric import FabricTransport


def certify(authority: Path, key: Path, *options: str) -> Path:
    """Let the authority sign the key for this account; return the certificate beside the key."""
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", getpass.getuser()]
    subprocess.run([*command, *options, f"{key}.pub"], check=True, capture_output=True)
    return key.with_name(f"{key.name}-cert.pub")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_key(tmp_path_factory.mktemp("authority") / "authority")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Lab]:
    """A board that lets in the one key, and every key that the authority has signed."""
    with one_board(tmp_path_factory, options=[f"TrustedUserCAKeys {authority}.pub"]) as lab:
        yield lab


@pytest.fixture(autouse=True)
def at_home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.at_home(monkeypatch)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_key_is_let_in_by_the_certificate_beside_it(
    lab: Lab, authority: Path, tmp_path: Path, kind: str
) -> None:
    key = generate_key(tmp_path / "key", kind)
    lab.home.config.write_text(f"IdentityFile {key}\n")
    with pytest.raises(Unreachable, match=r"authentication refused for user .*/key \(refused\)"):
        FabricTransport(lab.nano, None)
    certify(authority, key)
    assert says_hello(lab.nano)


@pytest.mark.parametrize("where", ["file", "agent"])
def test_the_certificate_that_ssh_config_names_counts(
    lab: Lab, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    key = generate_key(tmp_path / "key")
    certificate = certify(authority, key).rename(tmp_path / "elsewhere.pub")
    config = f"CertificateFile {certificate}\nIdentityFile {key}\n"
    lab.home.config.write_text(config)
    loaded = paramiko.PKey.from_path(str(key))
    with scripted_agent(Identity(loaded.asbytes(), "mine", loaded)) as agent:
        if where == "agent":
            monkeypatch.setenv("SSH_AUTH_SOCK", agent.path)
            key.unlink()
        reference = lab.ssh("-p", str(lab.board.port), lab.board.host, "true", environment=True)
        assert reference.returncode == 0
        assert says_hello(lab.nano)


def test_a_key_that_is_let_in_for_itself_outlives_its_certificate(
    lab: Lab, authority: Path
) -> None:
    expired = certify(authority, lab.home.key, "-V", "20000101:20010101")
    assert lab.ssh_reaches_the_board()
    assert says_hello(lab.nano)
    expired.write_text("no certificate\n")
    assert says_hello(lab.nano)
    expired.unlink()


def test_a_locked_key_with_a_certificate_is_told_to_be_unlocked(
    lab: Lab, authority: Path, tmp_path: Path
) -> None:
    key = generate_key(tmp_path / "key", passphrase="secret")
    certify(authority, key)
    lab.home.config.write_text(f"IdentityFile {key}\n")
    with pytest.raises(Unreachable) as failed:
        FabricTransport(lab.nano, None)
    assert failed.value.remedy == f"unlock the key for the agent: `ssh-add {key}`"
