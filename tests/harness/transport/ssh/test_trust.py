"""Host keys: fetched, shown, and recorded only on the user's word."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from sshd import ClientHome, Sshd, running_sshd

from harness.errors import Unreachable, UntrustedHost, UsageError
from harness.transport.base import open_transport
from harness.transport.ssh.trust import fetch_host_key, record, trust_target
from targets.inventory import Inventory, Target


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def connects(target: Target) -> bool:
    with open_transport(target, None) as transport:
        return transport.run(["true"], deadline_s=20).exit_status == 0


def openssh_connects(board: Sshd, home: ClientHome) -> bool:
    """Ask the real `ssh`, which finds its files by the passwd entry and not by HOME."""
    options = ["-F", "none", "-o", f"UserKnownHostsFile={home.known_hosts}", "-o", "BatchMode=yes"]
    options += ["-o", "StrictHostKeyChecking=yes", "-i", str(home.key), "-p", str(board.port)]
    command = ["ssh", *options, f"{board.user}@{board.host}", "true"]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def test_an_unknown_key_is_shown_and_not_recorded(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    key = fetch_host_key(nano, None)
    assert (key.host_entry, key.key_type, key.status) == (board.name, "ssh-ed25519", "unknown")
    assert key.fingerprint == board.fingerprint()
    assert key.known_hosts_path == home.known_hosts
    assert not home.known_hosts.exists()


def test_a_recorded_key_lets_us_and_openssh_in(board: Sshd, nano: Target, home: ClientHome) -> None:
    assert record(fetch_host_key(nano, None)) == home.known_hosts
    assert home.known_hosts.read_text() == board.known_hosts_lines()[0]
    assert mode(home.known_hosts) == 0o600
    assert connects(nano)
    assert openssh_connects(board, home)
    assert fetch_host_key(nano, None).status == "known"


def test_the_folder_is_made_for_the_user_alone(board: Sshd, nano: Target, home: ClientHome) -> None:
    for path in home.ssh.iterdir():
        path.unlink()
    home.ssh.rmdir()
    record(fetch_host_key(nano, None))
    assert mode(home.ssh) == 0o700


def test_fetching_needs_no_login(board: Sshd, nano: Target, home: ClientHome) -> None:
    home.key.unlink()
    assert fetch_host_key(nano, None).fingerprint == board.fingerprint()
    assert "publickey" not in board.log()


def test_the_other_lines_stay_as_they_are(board: Sshd, nano: Target, home: ClientHome) -> None:
    before = b"# mine \xff\r\n\nother.example ssh-ed25519 AAAA  remark\t\n@revoked x y\nno newline"
    home.known_hosts.write_bytes(before)
    record(fetch_host_key(nano, None))
    line = board.known_hosts_lines()[0].encode()
    assert home.known_hosts.read_bytes() == before + b"\n" + line


def test_a_key_is_recorded_once(board: Sshd, nano: Target, home: ClientHome) -> None:
    key = fetch_host_key(nano, None)
    assert record(key) == record(key) == record(fetch_host_key(nano, None))
    assert home.known_hosts.read_text() == board.known_hosts_lines()[0]


def test_a_known_hosts_that_is_a_link_stays_one(
    board: Sshd, nano: Target, home: ClientHome, tmp_path: Path
) -> None:
    (tmp_path / "dotfiles").write_text("# kept\n")
    home.known_hosts.symlink_to(tmp_path / "dotfiles")
    record(fetch_host_key(nano, None))
    assert home.known_hosts.is_symlink()
    assert (tmp_path / "dotfiles").read_text() == "# kept\n" + board.known_hosts_lines()[0]


def test_a_changed_key_is_recorded_only_as_a_replacement(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    kind_and_key = board.known_hosts_lines()[0].partition(" ")[2]
    hashed = paramiko.HostKeys.hash_host(board.name)
    other = f"other.example {kind_and_key}"
    text = f"# top\nother.example,{board.name} {kind_and_key}{hashed} {kind_and_key}{other}"
    home.known_hosts.write_text(text)
    board.rotate_host_key()
    key = fetch_host_key(nano, None)
    assert key.status == "changed"
    assert [line.line for line in key.lines] == [2, 3]
    with pytest.raises(UntrustedHost, match="CHANGED and was not recorded"):
        record(key)
    assert home.known_hosts.read_text() == text
    record(key, replace=True)
    assert home.known_hosts.read_text() == f"# top\n{other}{other}{board.known_hosts_lines()[0]}"
    assert connects(nano)


@pytest.mark.parametrize("where", ["pattern", "global"])
def test_an_old_key_that_would_stay_in_force_is_not_papered_over(
    board: Sshd, nano: Target, home: ClientHome, tmp_path: Path, where: str
) -> None:
    kind_and_key = board.known_hosts_lines()[0].partition(" ")[2]
    if where == "pattern":
        home.known_hosts.write_text(f"[127.0.0.*]:* {kind_and_key}")
    else:
        home.config.write_text(f"GlobalKnownHostsFile {tmp_path / 'global'}\n")
        (tmp_path / "global").write_text(f"{board.name} {kind_and_key}")
    assert fetch_host_key(nano, None).status == "known"
    board.rotate_host_key()
    with pytest.raises(
        UntrustedHost, match=r"may not remove the old host key in .* — edit that line"
    ):
        record(fetch_host_key(nano, None), replace=True)


def test_the_first_file_of_ssh_config_is_written(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    home.config.write_text("UserKnownHostsFile ~/.ssh/lab/hosts ~/.ssh/known_hosts\n")
    assert record(fetch_host_key(nano, None)) == home.ssh / "lab" / "hosts"
    assert connects(nano)


def test_without_a_file_to_write_it_says_so(board: Sshd, nano: Target, home: ClientHome) -> None:
    home.config.write_text("UserKnownHostsFile /dev/null\n")
    with pytest.raises(UsageError, match="UserKnownHostsFile in ssh_config names no file"):
        fetch_host_key(nano, None)


def test_an_alias_is_recorded_as_host_and_port_and_a_host_key_alias_as_such(
    board: Sshd, home: ClientHome
) -> None:
    home.config.write_text(
        f"Host desk\n  HostKeyAlias board-one\nHost *\n  HostName 127.0.0.1\n  Port {board.port}\n"
    )
    assert fetch_host_key(Target(name="a", host="nano"), None).host_entry == board.name
    desk = Target(name="desk", host="desk")
    assert record(fetch_host_key(desk, None)) == home.known_hosts
    assert home.known_hosts.read_text().startswith("board-one ssh-ed25519 ")
    assert connects(desk)


def test_a_revoked_key_cannot_be_trusted(board: Sshd, nano: Target, home: ClientHome) -> None:
    home.known_hosts.write_text(f"@revoked {board.known_hosts_lines()[0]}")
    with pytest.raises(UntrustedHost, match="is marked @revoked"):
        fetch_host_key(nano, None)


def test_the_way_to_the_key_leads_over_trusted_gateways_only(
    board: Sshd, nano: Target, home: ClientHome, tmp_path: Path
) -> None:
    with running_sshd(tmp_path / "gate", home) as gate:
        bastion = Target(name="bastion", host=gate.host, port=gate.port, user=gate.user)
        behind = replace(nano, gateway="bastion")
        inventory = Inventory(
            path=Path("inventory.yaml"), targets={"bastion": bastion, "nano": behind}, groups={}
        )
        with pytest.raises(UntrustedHost, match="gfbench trust -t bastion"):
            fetch_host_key(behind, inventory)
        record(fetch_host_key(trust_target("bastion", inventory), inventory))
        key = fetch_host_key(behind, inventory)
        assert (key.fingerprint, key.status) == (board.fingerprint(), "unknown")
        record(key)
        with open_transport(behind, inventory) as transport:
            assert transport.run(["true"], deadline_s=20).exit_status == 0


def test_a_gateway_by_address_can_be_trusted_by_it(board: Sshd, home: ClientHome) -> None:
    address = f"{board.user}@{board.host}:{board.port}"
    key = fetch_host_key(trust_target(address, None), None)
    assert (key.target, key.host_entry) == (address, board.name)


def test_what_is_no_target_and_no_address_is_refused() -> None:
    with pytest.raises(UsageError, match="user@host:port"):
        trust_target("not an address", None)


def test_this_machine_has_no_host_key_to_trust() -> None:
    with pytest.raises(UsageError, match="without SSH"):
        fetch_host_key(Target(name="local"), None)


def test_a_board_that_is_off_is_unreachable(board: Sshd, nano: Target) -> None:
    board.kill()
    with pytest.raises(Unreachable, match="connection refused"):
        fetch_host_key(nano, None)


def test_a_failed_write_leaves_the_file_as_it_was(
    board: Sshd, nano: Target, home: ClientHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.known_hosts.write_text("# mine\n")
    key = fetch_host_key(nano, None)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match=r"cannot write .*known_hosts: No space left"):
        record(key)
    assert home.known_hosts.read_text() == "# mine\n"
    assert not list(home.ssh.glob("*.part"))
