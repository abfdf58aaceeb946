"""ssh_config as people have it, read as the real `ssh` beside it reads it.

Each case is read in both ways: by `ssh -G`, and by paramiko where there is no ssh program.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from field_data import said
from one_board import Lab, one_board, says_hello

from harness.errors import UsageError
from harness.transport.ssh import openssh
from harness.transport.ssh.settings import SshSettings, read_settings, reader
from targets.inventory import Target

BOARD = Target(name="board", host="board")
RELAY = """
import os, socket, sys, threading
board = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while data := os.read(0, 65536):
        board.sendall(data)
threading.Thread(target=up, daemon=True).start()
while data := board.recv(65536):
    os.write(1, data)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with one_board(tmp_path_factory) as lab:
        yield lab


@pytest.fixture(autouse=True)
def at_home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.at_home(monkeypatch)


@pytest.fixture(params=["ssh -G", "paramiko"])
def read_by(request: pytest.FixtureRequest, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read ssh_config by the program, or without one."""
    if request.param == "paramiko":
        without_ssh(lab, monkeypatch)
    assert request.param in reader()
    return str(request.param)


def without_ssh(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave only the shells on the PATH."""
    folder = lab.home.folder / "shells"
    folder.mkdir(exist_ok=True)
    for shell in ("sh", "bash"):
        found = shutil.which(shell)
        if found is not None and not (folder / shell).exists():
            (folder / shell).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))


def write_config(lab: Lab, text: str) -> None:
    lab.home.config.write_text(text.replace("PORT", str(lab.board.port)))


def s2_variants() -> list[str]:
    """Return the configuration of S2, and it again with each other criterion."""
    config = said("S2", "config")
    lines = said("S2", "variants.txt").splitlines()
    criteria = [line for line in lines if line.startswith("Match ")]
    assert len(criteria) == 4
    return [config, *(config.replace(config.splitlines()[0], line) for line in criteria)]


def from_ssh(lab: Lab, host: str) -> dict[str, str]:
    """Return what the real ssh says of a host: the reference."""
    printed = lab.ssh("-G", host).stdout.splitlines()
    return {key: value for key, _, value in (line.partition(" ") for line in printed)}


@pytest.mark.usefixtures("read_by")
def test_s1_fedoras_match_final_all_is_read(lab: Lab) -> None:
    write_config(lab, said("S1", "config"))
    assert lab.ssh("board", "true").returncode == 0
    assert says_hello(BOARD)


@pytest.mark.parametrize("config", s2_variants())
def test_s2_an_unknown_criterion_never_counts_as_met(lab: Lab, read_by: str, config: str) -> None:
    write_config(lab, config)
    reference = lab.ssh("board", "true")
    if reference.returncode == 0 and read_by == "ssh -G":
        assert says_hello(BOARD)
        return
    with pytest.raises(UsageError) as refused:
        read_settings(BOARD)
    assert re.search(rf"{re.escape(str(lab.home.config))}:? ?(line )?1\b", str(refused.value))
    assert "Match" in str(refused.value)


@pytest.mark.usefixtures("read_by")
def test_s3b_a_comment_with_an_apostrophe_ends_the_line(lab: Lab) -> None:
    write_config(lab, said("S3b", "config"))
    assert lab.ssh("board", "true").returncode == 0
    assert says_hello(BOARD)


@pytest.mark.usefixtures("read_by")
@pytest.mark.parametrize(
    "config",
    [
        "Match host=board\n HostName 127.0.0.1\n Port PORT\n",
        "Match originalhost board !host other\n HostName 127.0.0.1\n Port PORT\n",
        "Match HOST=board,other !user=nobody\n HostName 127.0.0.1\n Port PORT\n",
        "Match canonical all\n Port 1\nHost board\n HostName=127.0.0.1\n Port = PORT\n",
        "Match final host 127.0.0.1\n Port PORT\nHost board\n HostName 127.0.0.1\n",
        'Host "board" # one\n HostName "127.0.0.1"  # two\n Port PORT # three\n',
        "Host *\n HostName 127.0.0.%%h\nHost board\n",
        "Host bo*d !boad\n HostName 127.0.0.1\nHost *\n HostName %h.lab.example\n Port PORT\n",
        "HostKeyAlias one\nHost board\n HostName 127.0.0.1\n HostKeyAlias two\n",
    ],
)
def test_what_ssh_reads_is_read_alike(lab: Lab, config: str) -> None:
    write_config(lab, config)
    reference = from_ssh(lab, "board")
    settings = read_settings(BOARD)
    assert settings.host == reference["hostname"]
    assert str(settings.port) == reference["port"]
    assert settings.host_key_alias == reference.get("hostkeyalias")


@pytest.mark.usefixtures("read_by")
def test_two_per_cent_signs_are_one(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "relay.py").write_text(RELAY)
    said = tmp_path / "said"
    command = f"{sys.executable} {tmp_path}/relay.py %h %p"
    shell = f"sh -c 'echo 100%% of %n >{said}; exec {command}'"
    write_config(lab, f"Host board\n HostName 127.0.0.1\n Port PORT\n ProxyCommand {shell}\n")
    assert lab.ssh("board", "true").returncode == 0
    reference = said.read_text()
    said.unlink()
    assert says_hello(BOARD)
    assert said.read_text() == reference == "100% of board\n"


@pytest.mark.usefixtures("read_by")
def test_key_files_with_spaces_and_tokens_are_found(lab: Lab) -> None:
    write_config(
        lab,
        'IdentityFile "%d/.ssh/my key"\nIdentityFile ~/.ssh/%%h\n'
        'UserKnownHostsFile "~/.ssh/my hosts" ~/.ssh/known_hosts\n',
    )
    settings: SshSettings = read_settings(BOARD)
    assert settings.identity_files == (f"{lab.home.ssh}/my key", f"{lab.home.ssh}/%h")
    assert settings.user_known_hosts == (lab.home.ssh / "my hosts", lab.home.known_hosts)


def test_what_paramiko_would_read_otherwise_is_refused_with_its_line(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ssh(lab, monkeypatch)
    (lab.home.ssh / "more").write_text("Host *\n ProxyJump nowhere.example\n")
    for number, text in [
        (2, "\nMatch tagged lab\n ProxyJump nowhere.example\n"),
        (1, 'Host "board\n'),
        (2, "Host board\n IdentityFile a\\ b\n"),
        (1, "HostName # nothing\n"),
        (2, "Host board\n Port ssh\n"),
    ]:
        write_config(lab, text)
        with pytest.raises(UsageError, match=rf"^{re.escape(str(lab.home.config))}:{number}: "):
            read_settings(BOARD)
    write_config(lab, "Host other\n Include more\n")
    with pytest.raises(UsageError, match=r"more:1: a Host or Match in a file that is included"):
        read_settings(BOARD)
    write_config(lab, "Include more\n")
    assert read_settings(BOARD).proxy_jump == ("nowhere.example",)


def test_in_the_accounts_own_home_ssh_reads_its_own_files(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)
    asked = subprocess.run(
        ["ssh", "-T", "-G", "-l", "lab", "board.example"],
        capture_output=True,
        check=True,
        text=True,
    )
    reference = [line.partition(" ") for line in asked.stdout.splitlines()]
    settings = read_settings(Target(name="board", host="board.example", user="lab"))
    assert ("hostname", " ", settings.host) in reference
    assert ("port", " ", str(settings.port)) in reference
    assert settings.user == "lab"
    assert settings.identity_files == tuple(
        os.path.expanduser(value) for key, _, value in reference if key == "identityfile"
    )
    known_hosts = " ".join(str(path) for path in settings.user_known_hosts)
    assert ("userknownhostsfile", " ", known_hosts) in reference


def test_a_refusal_of_ssh_is_quoted_with_the_users_file_and_line(lab: Lab) -> None:
    (lab.home.ssh / "more").write_text("\nPort abc\n")
    write_config(lab, "Host *\n Include more\n")
    with pytest.raises(UsageError, match=rf"{re.escape(str(lab.home.ssh))}/more: line 2: Bad port"):
        read_settings(BOARD)


def test_a_match_exec_that_hangs_is_given_up_with_its_children(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(openssh, "_DEADLINE_S", 1.0)
    write_config(lab, f'Match exec "echo $$ >{tmp_path}/pid; exec sleep 60"\n Port 1\n')
    with pytest.raises(UsageError, match=r"`ssh -G board` has not ended within 1 s — see which"):
        read_settings(BOARD)
    stat = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    deadline = time.monotonic() + 10
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the command of Match exec still runs"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "host", ["a;touch${IFS}x", "-oProxyCommand=x", "a\tb", "a`id`", "a|b", "a\\b"]
)
def test_a_host_that_ssh_refuses_never_reaches_a_match_exec(
    lab: Lab, read_by: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(lab, f'Match exec "echo %h >>{tmp_path}/asked; true"\n Port PORT\n')
    assert lab.ssh("-G", "--", host).returncode != 0
    with pytest.raises(UsageError, match=r"ssh refuses .* in a host name|begins with a hyphen"):
        read_settings(Target(name="a", host=host))
    assert list(tmp_path.iterdir()) == []
    if read_by == "paramiko":
        with pytest.raises(UsageError, match="config:1: Match exec, whose command only ssh runs"):
            read_settings(BOARD)
    else:  # the command itself does run
        read_settings(BOARD)
        assert (tmp_path / "asked").read_text().split("\n")[0] == "board"


@pytest.mark.usefixtures("read_by")
def test_a_user_that_ssh_refuses_is_refused(lab: Lab) -> None:
    for user in ["a;b", "-x", "a`id`", "a\nb", "lab -oX", "end\\"]:
        assert lab.ssh("-G", "-l", user, "board").returncode != 0
        with pytest.raises(UsageError, match="ssh refuses"):
            read_settings(Target(name="a", host="board", user=user))
    assert read_settings(Target(name="a", host="board", user="LAB\\me")).user == "LAB\\me"


@pytest.mark.usefixtures("read_by")
@pytest.mark.parametrize("name", ["a;b", "board:22", "lab@board", "[::1]"])
def test_a_host_name_of_ssh_config_is_checked_too(lab: Lab, name: str) -> None:
    write_config(lab, f"HostName {name}\n")
    with pytest.raises(UsageError, match=r"ssh refuses ';' in a host name|is neither a host name"):
        read_settings(BOARD)
