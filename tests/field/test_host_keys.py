"""known_hosts as it is in the field, judged as the real `ssh` beside it judges it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from one_board import Lab, one_board, says_hello
from sshd import generate_key

from harness.errors import UntrustedHost, UsageError
from harness.transport.ssh.certificates import certificate_of, fault
from harness.transport.ssh.fabric import FabricTransport
from harness.transport.ssh.trust import fetch_host_key

BANNER = "Only for the people of the lab."


def certify(authority: Path, key: Path, *options: str) -> Path:
    """Let an authority sign a public key, of a host if `options` say -h; return the certificate."""
    public = key.with_name(f"{key.name}.pub")
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "board", *options, str(public)]
    subprocess.run(command, check=True, capture_output=True)
    return key.with_name(f"{key.name}-cert.pub")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Lab]:
    """A board with a banner (S19), and a host key that an authority has signed for two names."""
    (folder / "banner").write_text(f"{BANNER}\n")
    generate_key(folder / "authority", "ecdsa")
    certificate = folder / "board-cert.pub"
    options = [f"Banner {folder / 'banner'}", f"HostCertificate {certificate}"]
    certificate.touch()
    with one_board(tmp_path_factory, options=options) as lab:
        names = "127.0.0.1,nano.lab.example,*.other.example"
        signed = certify(folder / "authority", lab.board.host_key("ed25519"), "-h", "-n", names)
        certificate.write_text(signed.read_text())
        lab.board.kill()
        lab.board.start()
        yield lab


@pytest.fixture(autouse=True)
def at_home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.at_home(monkeypatch)


def key_of(lab: Lab) -> str:
    """Return the board's host key as known_hosts has it: its kind and the base64."""
    return lab.board.known_hosts_lines()[0].partition(" ")[2].strip()


def public(key: Path) -> str:
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


def refused(lab: Lab) -> UntrustedHost:
    with pytest.raises(UntrustedHost) as caught:
        FabricTransport(lab.nano, None)
    return caught.value


def test_s19_a_banner_is_ignored(lab: Lab) -> None:
    assert BANNER in lab.ssh("-p", str(lab.board.port), lab.board.host, "true").stderr
    assert says_hello(lab.nano)


def test_s5_the_plain_host_does_for_another_port(lab: Lab) -> None:
    lab.home.known_hosts.write_text(f"127.0.0.1 {key_of(lab)}\n")
    assert lab.ssh_reaches_the_board()
    assert says_hello(lab.nano)
    key = fetch_host_key(lab.nano, None)
    assert (key.status, key.host_entry) == ("known", lab.board.name)


def test_another_key_of_the_plain_host_says_nothing_of_another_port(
    lab: Lab, tmp_path: Path
) -> None:
    other = public(generate_key(tmp_path / "other"))
    lab.home.known_hosts.write_text(f"127.0.0.1 {other}\n")
    assert not lab.ssh_reaches_the_board()
    assert "is not known" in str(refused(lab))
    lab.home.known_hosts.write_text(f"{lab.board.name} {other}\n127.0.0.1 {key_of(lab)}\n")
    assert not lab.ssh_reaches_the_board("-o", "HostKeyAlgorithms=ssh-ed25519")
    assert "has CHANGED" in str(refused(lab))


def test_s7_one_line_that_matches_is_enough(lab: Lab, tmp_path: Path) -> None:
    old = public(generate_key(tmp_path / "old"))
    name = lab.board.name
    lab.home.known_hosts.write_text(f"{name} {old}\n{name} ssh-ed255\n{name} {key_of(lab)}\n")
    assert lab.ssh_reaches_the_board()
    assert says_hello(lab.nano)


def test_s18_a_key_of_another_kind_on_a_new_image_has_changed(lab: Lab, tmp_path: Path) -> None:
    lab.home.known_hosts.write_text(
        f"{lab.board.name} {public(generate_key(tmp_path / 'o', 'ecdsa'))}\n"
    )
    assert not lab.ssh_reaches_the_board()
    error = refused(lab)
    assert "has CHANGED" in error.message
    assert "gfbench trust -t nano" in error.remedy
    assert fetch_host_key(lab.nano, None).status == "changed"


@pytest.mark.parametrize("hosts", ["[127.0.0.1]:*", "127.0.0.1", "*"])
def test_a_key_that_a_known_authority_has_signed_is_known(
    lab: Lab, folder: Path, hosts: str
) -> None:
    authority = public(folder / "authority")
    lab.home.known_hosts.write_text(f"@cert-authority {hosts} {authority}\n")
    assert lab.ssh_reaches_the_board()
    assert says_hello(lab.nano)
    assert fetch_host_key(lab.nano, None).status == "known"


@pytest.mark.parametrize(
    ("alias", "counts"), [("nano.lab.example", True), ("a.other.example", False)]
)
def test_the_certificate_has_to_be_for_the_hosts_name(
    lab: Lab, folder: Path, alias: str, counts: bool
) -> None:
    lab.home.known_hosts.write_text(f"@cert-authority * {public(folder / 'authority')}\n")
    lab.home.config.write_text(f"HostKeyAlias {alias}\n")
    assert lab.ssh_reaches_the_board() == counts
    if counts:
        assert says_hello(lab.nano)
        return
    assert "its host certificate is for 127.0.0.1, nano.lab.example, *.other.example" in str(
        refused(lab)
    )
    # What the certificate does not say, the key may say by itself.
    lab.home.known_hosts.open("a").write(f"{alias} {key_of(lab)}\n")
    assert lab.ssh_reaches_the_board()
    assert says_hello(lab.nano)


def test_an_authority_that_is_unknown_or_revoked_vouches_for_nobody(
    lab: Lab, folder: Path, tmp_path: Path
) -> None:
    stranger = public(generate_key(tmp_path / "stranger", "ecdsa"))
    lab.home.known_hosts.write_text(f"@cert-authority * {stranger}\n")
    assert not lab.ssh_reaches_the_board()
    assert "which no @cert-authority line names" in str(refused(lab))
    authority = public(folder / "authority")
    lab.home.known_hosts.write_text(f"@cert-authority * {authority}\n@revoked * {authority}\n")
    assert not lab.ssh_reaches_the_board()
    assert re.search(r"marked @revoked in .*known_hosts:2", str(refused(lab)))


def test_a_key_of_revoked_host_keys_is_refused(lab: Lab, folder: Path, tmp_path: Path) -> None:
    revoked = tmp_path / "revoked"
    lab.home.config.write_text(f"RevokedHostKeys {revoked}\n")
    revoked.write_text(f"# old\n{public(generate_key(tmp_path / 'old'))} a remark\n")
    assert lab.ssh_reaches_the_board()
    assert says_hello(lab.nano)
    for key in (key_of(lab), public(folder / "authority")):
        revoked.write_text(f"\n{key}\n")
        lab.home.known_hosts.write_text(
            f"{lab.board.name} {key_of(lab)}\n@cert-authority * {public(folder / 'authority')}\n"
        )
        assert not lab.ssh_reaches_the_board()
        assert f"is marked @revoked in {revoked}:2" in str(refused(lab))
    command = ["ssh-keygen", "-q", "-k", "-f", str(revoked), str(tmp_path / "old.pub")]
    subprocess.run(command, check=True, capture_output=True)
    for _ in range(2):  # OpenSSH's binary list, which gfbench does not read, and no file
        with pytest.raises(UsageError, match=r"cannot read .* of RevokedHostKeys: "):
            FabricTransport(lab.nano, None)
        revoked.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("ed25519", ["-h", "-n", "board"], ""),
        ("rsa", ["-h", "-n", "other,board"], ""),
        ("ecdsa", ["-h", "-n", "board", "-V", "19700102:20010101"], "expired on 2001-01-01"),
        ("ed25519", ["-h", "-n", "board", "-V", "20900101:20910101"], "not valid before 2090"),
        ("ed25519", ["-n", "board"], "one for users"),
        ("ed25519", ["-h", "-n", "b*"], "is for b*"),
        ("ed25519", ["-h"], "is for no host"),
        ("ed25519", ["-h", "-n", "board", "-O", "critical:x=y"], "does not know"),
    ],
)
def test_a_certificate_that_does_not_vouch_says_why(
    folder: Path, tmp_path: Path, kind: str, options: list[str], words: str
) -> None:
    key = generate_key(tmp_path / "host", kind)
    certify(folder / "authority", key, *options)
    certificate = certificate_of(paramiko.PKey.from_path(str(key)))  # it loads the certificate too
    assert certificate is not None
    problem = fault(certificate, "board")
    assert words in problem
    assert bool(words) == bool(problem)


def test_a_certificate_that_was_altered_is_not_signed(folder: Path, tmp_path: Path) -> None:
    key = generate_key(tmp_path / "host")
    certify(folder / "authority", key, "-h", "-n", "board")
    loaded = paramiko.PKey.from_path(str(key))
    assert loaded.public_blob is not None
    loaded.public_blob.key_blob = loaded.public_blob.key_blob.replace(b"board", b"bread")
    certificate = certificate_of(loaded)
    assert certificate is not None
    assert "is not signed by" in fault(certificate, "bread")
