"""What only a connection can do: break, hang, be refused, and go through another machine."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from sshd import ClientHome, Sshd, free_port, generate_key, running_sshd

from harness.errors import CommandFailed, TargetError, Unreachable, UntrustedHost, UsageError
from harness.transport.ssh.fabric import FabricTransport
from targets.inventory import Inventory, Target


@pytest.fixture
def gate(home: ClientHome, tmp_path: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path / "gate", home) as server:
        yield server


def inventory_of(*targets: Target) -> Inventory:
    by_name = {target.name: target for target in targets}
    return Inventory(path=Path("inventory.yaml"), targets=by_name, groups={})


def says_hello(target: Target, inventory: Inventory | None = None) -> bool:
    with FabricTransport(target, inventory) as transport:
        return transport.run(["echo", "hello"], deadline_s=20).stdout == b"hello\n"


def failure(target: Target, inventory: Inventory | None = None) -> TargetError:
    with pytest.raises(TargetError) as caught:
        FabricTransport(target, inventory)
    return caught.value


# Host keys


def test_an_unknown_key_is_refused_with_its_fingerprint_and_the_command(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    error = failure(nano)
    assert isinstance(error, UntrustedHost)
    assert f"127.0.0.1:{board.port}" in error.message
    assert f"ssh-ed25519 {board.fingerprint()}" in error.message
    assert "`gfbench trust -t nano`" in error.remedy
    assert not home.known_hosts.exists()


def test_a_changed_key_is_refused_with_both_fingerprints(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(board)
    old = board.fingerprint()
    board.rotate_host_key()
    error = failure(nano)
    assert isinstance(error, UntrustedHost)
    assert "CHANGED" in error.message
    assert old in error.message
    assert board.fingerprint() in error.message
    assert f"{home.known_hosts}:1" in error.message
    assert "attack" in error.remedy
    assert f"ssh-keygen -R '[127.0.0.1]:{board.port}' -f {home.known_hosts}" in error.remedy
    assert "gfbench trust -t nano" in error.remedy


def test_no_credentials_are_offered_to_an_untrusted_host(board: Sshd, nano: Target) -> None:
    failure(nano)
    assert "publickey" not in board.log()


@pytest.mark.parametrize("known_type", ["ecdsa", "rsa", "ed25519"])
def test_the_known_type_of_key_is_asked_for(
    home: ClientHome, tmp_path: Path, known_type: str
) -> None:
    types = ("ed25519", "ecdsa", "rsa")
    with running_sshd(tmp_path / "three", home, host_key_types=types) as board:
        home.known_hosts.write_text(board.known_hosts_lines()[types.index(known_type)])
        target = Target(name="three", host=board.host, port=board.port, user=board.user)
        assert says_hello(target)


def test_a_key_of_another_type_than_the_known_one_is_not_just_unknown(
    board: Sshd, nano: Target, home: ClientHome, tmp_path: Path
) -> None:
    other = generate_key(tmp_path / "other", "ecdsa").with_name("other.pub").read_text()
    home.known_hosts.write_text(f"{board.name} {other}")
    assert "CHANGED" in failure(nano).message


def test_a_hashed_entry_is_understood(board: Sshd, nano: Target, home: ClientHome) -> None:
    _, kind, key = board.known_hosts_lines()[0].split()
    hashed = paramiko.HostKeys.hash_host(board.name)
    home.known_hosts.write_text(f"# comment\n\nnonsense\n{hashed} {kind} {key} remark\n")
    assert says_hello(nano)


def test_a_revoked_key_is_refused_though_it_is_known(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(board)
    with home.known_hosts.open("a") as file:
        file.write(f"@revoked * {board.known_hosts_lines()[0].partition(' ')[2]}")
    error = failure(nano)
    assert isinstance(error, UntrustedHost)
    assert f"@revoked in {home.known_hosts}:2" in error.message


def test_the_files_of_user_known_hosts_file_count(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    home.config.write_text("Host *\n  UserKnownHostsFile ~/.ssh/lab %d/.ssh/other-%p\n")
    (home.ssh / f"other-{board.port}").write_text(board.known_hosts_lines()[0])
    assert says_hello(nano)
    (home.ssh / f"other-{board.port}").unlink()
    home.trust(board)  # in ~/.ssh/known_hosts, which is not named
    assert str(home.ssh / "lab") in failure(nano).message


# Finding the host


def test_an_alias_of_ssh_config_is_the_host(board: Sshd, home: ClientHome, tmp_path: Path) -> None:
    home.trust(board)
    key = home.key.rename(tmp_path / "elsewhere")
    home.config.write_text(
        f"Host desk\n  HostName {board.host}\n  Port {board.port}\n  User {board.user}\n"
        f"  IdentityFile {key}\n  IdentityFile ~/.ssh/absent\n  IdentitiesOnly yes\n"
    )
    assert says_hello(Target(name="nano", host="desk"))


def test_an_included_ssh_config_counts(board: Sshd, home: ClientHome) -> None:
    home.trust(board)
    (home.ssh / "config.d").mkdir()
    (home.ssh / "config.d" / "lab.conf").write_text(f"Host desk\n  HostName {board.host}\n")
    home.config.write_text(f"Include config.d/*.conf\nPort {board.port}\n")
    assert says_hello(Target(name="nano", host="desk"))


def test_a_broken_ssh_config_is_named(nano: Target, home: ClientHome) -> None:
    home.config.write_text("Host *\n  Nonsense\n")
    with pytest.raises(UsageError, match=f"{home.config}: "):
        FabricTransport(nano, None)


def test_a_closed_port_is_said_to_refuse(home: ClientHome) -> None:
    port = free_port()
    error = failure(Target(name="nano", host="127.0.0.1", port=port))
    assert isinstance(error, Unreachable)
    assert error.message == f"127.0.0.1:{port}: connection refused"
    assert "sshd" in error.remedy


def test_a_name_that_is_not_found_is_said_so(home: ClientHome) -> None:
    error = failure(Target(name="nano", host="no-such-board.invalid"))
    assert "name no-such-board.invalid not found" in error.message


def test_what_is_no_ssh_server_is_given_up_in_time(home: ClientHome) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target(name="nano", host="127.0.0.1", port=silent.getsockname()[1])
        started_at = time.monotonic()
        with pytest.raises(Unreachable, match="timed out after 1 s while connecting to 127"):
            FabricTransport(target, None, connect_deadline_s=1)
        assert time.monotonic() - started_at < 3


# Authentication


def test_a_key_that_is_not_allowed_is_named_with_the_remedy(
    board: Sshd, nano: Target, home: ClientHome, tmp_path: Path
) -> None:
    home.trust(board)
    stranger = generate_key(tmp_path / "stranger")
    error = failure(replace(nano, identity_file=str(stranger)))
    assert isinstance(error, Unreachable)
    assert f"authentication refused for user {board.user}" in error.message
    assert f"{stranger} (refused)" in error.message
    assert f"ssh-copy-id -i {stranger} -p {board.port} {board.user}@127.0.0.1" in error.remedy


def test_the_key_of_the_inventory_is_used(
    board: Sshd, nano: Target, home: ClientHome, tmp_path: Path
) -> None:
    home.trust(board)
    home.key.rename(home.ssh / "lab")
    assert says_hello(replace(nano, identity_file="~/.ssh/lab"))


def test_a_missing_key_file_is_named(board: Sshd, nano: Target, home: ClientHome) -> None:
    home.trust(board)
    error = failure(replace(nano, identity_file="~/.ssh/absent"))
    assert "~/.ssh/absent (no such file or directory)" in error.message


def test_a_locked_key_is_told_to_be_unlocked(
    board: Sshd, nano: Target, home: ClientHome, tmp_path: Path
) -> None:
    home.trust(board)
    locked = generate_key(tmp_path / "locked", passphrase="secret")
    error = failure(replace(nano, identity_file=str(locked)))
    assert f"{locked} (locked by a passphrase)" in error.message
    assert f"ssh-add {locked}" in error.remedy


def test_without_any_key_it_says_so(board: Sshd, nano: Target, home: ClientHome) -> None:
    home.trust(board)
    home.key.unlink()
    assert "no key at all" in failure(nano).message


@pytest.fixture
def agent(home: ClientHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An agent that holds a stranger's key and the allowed one, which is locked on the disk."""
    strange = generate_key(tmp_path / "stranger")
    # Not in tmp_path: the path of a socket is at most about 100 characters long.
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("SSH_AUTH_SOCK", f"{folder}/agent")
        process = subprocess.Popen(["ssh-agent", "-D", "-a", f"{folder}/agent"])
        while not Path(folder, "agent").exists():
            time.sleep(0.02)
        subprocess.run(["ssh-add", "-q", strange, home.key], check=True, capture_output=True)
        lock = ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(home.key)]
        subprocess.run(lock, check=True, capture_output=True)
        yield
        process.terminate()
        process.wait()


@pytest.mark.usefixtures("agent")
def test_a_key_of_the_agent_is_used(board: Sshd, nano: Target, home: ClientHome) -> None:
    home.trust(board)
    assert says_hello(nano)


@pytest.mark.usefixtures("agent")
def test_identities_only_asks_the_agent_for_the_named_key_alone(
    board: Sshd, nano: Target, home: ClientHome, tmp_path: Path
) -> None:
    home.trust(board)
    home.config.write_text(f"IdentityFile {home.key}\nIdentitiesOnly yes\n")
    assert says_hello(nano)
    home.config.write_text(f"IdentityFile {tmp_path / 'stranger'}\nIdentitiesOnly yes\n")
    error = failure(nano)
    assert f"{tmp_path / 'stranger'} (refused), the agent's ssh-ed25519 SHA256:" in error.message
    assert error.message.count("the agent's") == 1


# Gateways


def test_a_board_behind_a_gateway_is_reached(
    board: Sshd, gate: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(board, gate)
    bastion = Target(name="bastion", host=gate.host, port=gate.port, user=gate.user)
    behind = replace(nano, gateway="bastion")
    assert says_hello(behind, inventory_of(bastion, behind))
    assert "Accepted publickey" in gate.log()
    assert "Accepted publickey" in board.log()


def test_gateways_may_lie_behind_each_other(
    board: Sshd, gate: Sshd, nano: Target, home: ClientHome, tmp_path: Path
) -> None:
    with running_sshd(tmp_path / "outer", home) as outer:
        home.trust(board, gate, outer)
        address = f"{outer.user}@{outer.host}:{outer.port}"
        bastion = Target(name="b", host=gate.host, port=gate.port, user=gate.user, gateway=address)
        behind = replace(nano, gateway="b")
        with FabricTransport(behind, inventory_of(bastion, behind)) as transport:
            data = os.urandom(2**20)
            transport.put(data, str(tmp_path / "file"), deadline_s=20)
            assert transport.get(str(tmp_path / "file"), deadline_s=20, limit_bytes=2**21) == data
        assert "Accepted publickey" in outer.log()


def test_proxy_jump_of_ssh_config_is_followed_and_none_means_none(
    board: Sshd, gate: Sshd, home: ClientHome
) -> None:
    home.trust(board, gate)
    home.config.write_text(
        f"Host straight\n  ProxyJump none\nHost jump\n  Port {gate.port}\n"
        f"Host straight desk\n  Port {board.port}\n"
        "Host *\n  HostName 127.0.0.1\n  ProxyJump jump\n"
    )
    assert says_hello(Target(name="nano", host="straight"))
    assert "Accepted" not in gate.log()
    assert says_hello(Target(name="nano", host="desk"))
    assert "Accepted" in gate.log()


def test_the_key_of_a_gateway_is_checked_too(
    board: Sshd, gate: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(board)
    bastion = Target(name="bastion", host=gate.host, port=gate.port, user=gate.user)
    behind = replace(nano, gateway="bastion")
    error = failure(behind, inventory_of(bastion, behind))
    assert isinstance(error, UntrustedHost)
    assert f"127.0.0.1:{gate.port} is not known" in error.message
    assert "gfbench trust -t bastion" in error.remedy


def test_an_address_as_gateway_is_what_trust_is_asked_with(
    board: Sshd, gate: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(board)
    address = f"{gate.user}@{gate.host}:{gate.port}"
    error = failure(replace(nano, gateway=address))
    assert f"gfbench trust -t {address}`" in error.remedy


def test_the_board_behind_a_trusted_gateway_is_checked(
    board: Sshd, gate: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(gate)
    error = failure(replace(nano, gateway=f"{gate.user}@{gate.host}:{gate.port}"))
    assert isinstance(error, UntrustedHost)
    assert board.fingerprint() in error.message


def test_a_gateway_that_cannot_reach_the_board_is_named(
    gate: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(gate)
    address = f"{gate.user}@{gate.host}:{gate.port}"
    closed = replace(nano, port=free_port(), gateway=address)
    assert "the gateway could not connect: connect" in failure(closed).message


def test_a_gateway_that_is_off_is_named(nano: Target, home: ClientHome) -> None:
    bastion = Target(name="bastion", host="127.0.0.1", port=free_port())
    behind = replace(nano, gateway="bastion")
    error = failure(behind, inventory_of(bastion, behind))
    assert error.target == "nano"
    assert f"gateway bastion (127.0.0.1:{bastion.port}): connection refused" in error.message


# Connections that break or hang


def test_a_connection_cut_while_following_is_unreachable(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(board)
    with FabricTransport(nano, None) as transport:
        lines = transport.follow(["sh", "-c", "echo one; exec sleep 60"], idle_deadline_s=60)
        assert next(lines) == b"one"
        board.kill()
        started_at = time.monotonic()
        with pytest.raises(Unreachable, match="connection lost while following"):
            next(lines)
        assert time.monotonic() - started_at < 5
        with pytest.raises(Unreachable):
            transport.run(["true"], deadline_s=20)


def test_a_connection_cut_while_a_command_runs_is_unreachable(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(board)
    with FabricTransport(nano, None) as transport:
        threading.Timer(0.5, board.drop_sessions).start()
        with pytest.raises(Unreachable, match="connection lost while running `sleep 5`"):
            transport.run(["sleep", "5"], deadline_s=30)


def test_after_a_cut_a_new_connection_can_be_made(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(board)
    assert says_hello(nano)
    board.kill()
    assert "connection refused" in failure(nano).message
    board.start()
    assert says_hello(nano)


@pytest.mark.parametrize("step", ["run", "put", "get", "follow"])
def test_a_dead_network_hangs_nobody(
    board: Sshd, nano: Target, home: ClientHome, tmp_path: Path, step: str
) -> None:
    home.trust(board)
    with FabricTransport(nano, None) as transport:
        lines = transport.follow(["sh", "-c", "echo one; exec sleep 60"], idle_deadline_s=1)
        next(lines)
        calls: dict[str, Callable[[], object]] = {
            "run": lambda: transport.run(["true"], deadline_s=1),
            "put": lambda: transport.put(bytes(2**22), str(tmp_path / "file"), deadline_s=1),
            "get": lambda: transport.get(__file__, deadline_s=1, limit_bytes=2**20),
            "follow": lambda: next(lines),
        }
        board.freeze()
        started_at = time.monotonic()
        with pytest.raises(Unreachable):
            calls[step]()
        assert time.monotonic() - started_at < 6
        board.thaw()


def test_a_board_that_hangs_while_connecting_is_given_up(
    board: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(board)
    board.freeze()
    with pytest.raises(Unreachable, match="timed out after 1 s while connecting to 127"):
        FabricTransport(nano, None, connect_deadline_s=1)


def test_a_closed_transport_leaves_no_connection_behind(
    board: Sshd, gate: Sshd, nano: Target, home: ClientHome
) -> None:
    home.trust(board, gate)
    before = set(threading.enumerate())
    says_hello(replace(nano, gateway=f"{gate.user}@{gate.host}:{gate.port}"))
    for _ in range(100):
        left = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
        if not left:
            break
        time.sleep(0.05)
    assert left == []


@pytest.mark.parametrize("sftp", [None, "/nonexistent"])
def test_a_board_without_sftp_is_told_so(
    home: ClientHome, tmp_path: Path, sftp: str | None
) -> None:
    with running_sshd(tmp_path / "bare", home, sftp=sftp) as board:
        home.trust(board)
        target = Target(name="bare", host=board.host, port=board.port, user=board.user)
        with FabricTransport(target, None) as transport:
            with pytest.raises(CommandFailed, match="offers no SFTP — enable"):
                transport.put(b"data", str(tmp_path / "file"), deadline_s=20)
            assert transport.run(["true"], deadline_s=20).exit_status == 0


def test_what_a_shell_prints_at_the_start_is_handed_on(home: ClientHome, tmp_path: Path) -> None:
    # A noisy .bashrc or ForceCommand; telling it from the answer is the protocol's job.
    noisy = ["ForceCommand printf 'Welcome\\377\\n'; eval \"$SSH_ORIGINAL_COMMAND\""]
    with running_sshd(tmp_path / "noisy", home, options=noisy) as board:
        home.trust(board)
        target = Target(name="noisy", host=board.host, port=board.port, user=board.user)
        with FabricTransport(target, None) as transport:
            done = transport.run(["printf", "it's \\000"], deadline_s=20)
            assert done.stdout == b"Welcome\xff\nit's \x00"
            lines = transport.follow(["echo", "one"], idle_deadline_s=20)
            assert list(lines) == [b"Welcome\xff", b"one"]
