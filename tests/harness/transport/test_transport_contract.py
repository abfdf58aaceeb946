"""What every transport promises, on this machine and over a real sshd alike."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sshd import ClientHome, Sshd, running_sshd

from harness.errors import CommandFailed, MissingFile, Unreachable
from harness.transport.base import Transport, open_transport
from targets.inventory import Target

MIB = 2**20


@pytest.fixture(params=["local", "ssh"])
def transport(
    request: pytest.FixtureRequest, home: ClientHome, tmp_path: Path
) -> Iterator[Transport]:
    if request.param == "local":
        with open_transport(Target(name="local"), None) as opened:
            yield opened
        return
    with running_sshd(tmp_path / "board", home) as board:
        home.trust(board)
        target = Target(name="nano", host=board.host, port=board.port, user=board.user)
        with open_transport(target, None) as opened:
            yield opened


def wait_until(happened: Path, *, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened.exists():
        assert time.monotonic() < deadline, f"{happened} has not appeared"
        time.sleep(0.02)


def ended(pid: int, *, timeout_s: float = 10.0) -> bool:
    """Wait for a process to be gone (or a zombie that nobody has reaped yet)."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_command_gives_back_status_and_both_streams(transport: Transport) -> None:
    done = transport.run(["sh", "-c", "echo out; echo err >&2; exit 3"], deadline_s=20)
    assert (done.exit_status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_words_reach_the_command_as_they_are(transport: Transport) -> None:
    words = ["a b", "$HOME", "*", "it's", '"', "", "ü", "~", "; false", "line\nbreak"]
    done = transport.run(["printf", "%s\\0", *words], deadline_s=20)
    assert done.stdout.decode() == "".join(f"{word}\0" for word in words)


def test_bytes_come_through_unchanged(transport: Transport) -> None:
    done = transport.run(["printf", r"\377\000\r\n\200"], deadline_s=20)
    assert done.stdout == b"\xff\x00\r\n\x80"


def test_a_command_has_no_input_to_wait_for(transport: Transport) -> None:
    assert transport.run(["cat"], deadline_s=20).stdout == b""


SETTINGS = {
    "PLAIN": "one",
    "QUOTED": 'it\'s "two" $HOME `id` \\n;',
    "LINES": "three\nend\n\n",
    "UMLAUT": "für",
    "EMPTY": "",
}
SHOW = r'printf "%s|" "$PLAIN" "$QUOTED" "$LINES" "$UMLAUT" "${EMPTY-unset}"; cat'


def test_an_environment_reaches_the_command_as_it_is_and_nothing_else_does(
    transport: Transport,
) -> None:
    done = transport.run(["sh", "-c", SHOW], env=SETTINGS, deadline_s=20)
    assert done.stdout.decode() == "".join(f"{value}|" for value in SETTINGS.values())
    assert done.stderr == b""


def test_a_followed_command_has_its_environment_too(transport: Transport) -> None:
    lines = transport.follow(
        ["sh", "-c", r'printf "%s\n" "$QUOTED" "$UMLAUT"'], env=SETTINGS, idle_deadline_s=20
    )
    assert [line.decode() for line in lines] == [SETTINGS["QUOTED"], SETTINGS["UMLAUT"]]


def test_no_value_of_the_environment_is_on_a_command_line(transport: Transport) -> None:
    look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
    done = transport.run(["sh", "-c", look], env={"TOKEN": "a-very-own-value"}, deadline_s=20)
    assert b"cat /proc" in done.stdout
    assert b"a-very-own-value" not in done.stdout


def test_a_missing_program_is_status_127(transport: Transport) -> None:
    done = transport.run(["no-such-program-here"], deadline_s=20)
    assert done.exit_status == 127
    assert b"no-such-program-here" in done.stderr


def test_much_output_on_both_streams_does_not_deadlock(transport: Transport) -> None:
    both = "head -c 8388608 /dev/zero & head -c 8388608 /dev/zero >&2; wait"
    done = transport.run(["sh", "-c", both], deadline_s=60)
    assert (done.exit_status, len(done.stdout), len(done.stderr)) == (0, 8 * MIB, 8 * MIB)


@pytest.mark.parametrize("redirection", ["", ">&2"])
def test_output_above_the_limit_is_refused_while_the_other_stream_goes_on(
    transport: Transport, redirection: str
) -> None:
    endless = ["sh", "-c", f"cat /dev/zero {redirection}"]
    with pytest.raises(CommandFailed, match="more than 1000 bytes"):
        transport.run(endless, deadline_s=20, limit_bytes=1000)
    assert transport.run(["true"], deadline_s=20).exit_status == 0


def test_a_late_command_is_given_up_in_time_and_ended(transport: Transport, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    started_at = time.monotonic()
    with pytest.raises(CommandFailed, match=r"sleep 60.* has not ended within 1 s"):
        transport.run(["sh", "-c", f"echo $$ > {pid_file}; exec sleep 60"], deadline_s=1)
    assert time.monotonic() - started_at < 4
    assert ended(int(pid_file.read_text()))
    assert transport.run(["true"], deadline_s=20).exit_status == 0


def test_a_detached_command_outlives_its_starter(transport: Transport, tmp_path: Path) -> None:
    done_file = tmp_path / "done"
    script = f"setsid sh -c 'sleep 0.3; echo yes > {done_file}' >/dev/null 2>&1 </dev/null &"
    assert transport.run(["sh", "-c", script], deadline_s=20).exit_status == 0
    wait_until(done_file)


def test_a_file_comes_back_as_it_was_put(transport: Transport, tmp_path: Path) -> None:
    data = os.urandom(3 * MIB + 17)
    path = str(tmp_path / "a file ü.bin")
    transport.put(data, path, deadline_s=20)
    assert transport.get(path, deadline_s=20, limit_bytes=4 * MIB) == data
    assert [entry.name for entry in tmp_path.glob("*.bin*")] == ["a file ü.bin"]


def test_a_file_comes_back_in_pieces(transport: Transport, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(MIB + 5))
    pieces = []
    for offset in range(0, MIB + 5 + 300_000, 300_000):
        pieces.append(transport.get_piece(str(path), offset=offset, size=300_000, deadline_s=20))
    assert b"".join(pieces) == path.read_bytes()
    with pytest.raises(MissingFile, match="nowhere"):
        transport.get_piece(str(tmp_path / "nowhere"), offset=0, size=1, deadline_s=20)


def test_an_empty_file_is_a_file(transport: Transport, tmp_path: Path) -> None:
    transport.put(b"", str(tmp_path / "empty"), deadline_s=20)
    assert transport.get(str(tmp_path / "empty"), deadline_s=20, limit_bytes=10) == b""


def test_put_replaces_a_file_as_a_whole(transport: Transport, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    with path.open("rb") as reader:
        transport.put(b"new", str(path), deadline_s=20)
        assert reader.read() == b"old and longer"
    assert path.read_bytes() == b"new"


def test_put_into_a_missing_folder_fails_and_leaves_nothing(
    transport: Transport, tmp_path: Path
) -> None:
    path = tmp_path / "missing" / "file"
    with pytest.raises(CommandFailed, match=f"cannot write {path}: "):
        transport.put(b"data", str(path), deadline_s=20)
    assert not path.parent.exists()


def test_put_over_a_folder_fails_and_leaves_no_temporary(
    transport: Transport, tmp_path: Path
) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(CommandFailed, match="cannot write"):
        transport.put(b"data", str(tmp_path / "taken"), deadline_s=20)
    assert not list(tmp_path.glob("*.part"))


def test_a_missing_file_has_an_error_of_its_own(transport: Transport, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="nothing does not exist"):
        transport.get(str(tmp_path / "nothing"), deadline_s=20, limit_bytes=10)


@pytest.mark.parametrize("path", ["big", "/dev/zero"])
def test_a_file_above_the_limit_is_refused(transport: Transport, tmp_path: Path, path: str) -> None:
    (tmp_path / "big").write_bytes(bytes(1001))
    with pytest.raises(CommandFailed, match="larger than expected"):
        transport.get(str(tmp_path / path), deadline_s=20, limit_bytes=1000)


def test_a_file_of_exactly_the_limit_is_taken(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1000))
    path = str(tmp_path / "file")
    assert transport.get(path, deadline_s=20, limit_bytes=1000) == bytes(1000)


def test_a_file_that_pretends_to_be_empty_is_read(transport: Transport) -> None:
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    read = transport.get(str(boot_id), deadline_s=20, limit_bytes=1000)
    assert read == boot_id.read_bytes()


def test_lines_come_as_they_are_written(transport: Transport, tmp_path: Path) -> None:
    # The second line is written only once the first has arrived here.
    go = tmp_path / "go"
    script = f"echo one; until [ -e {go} ]; do sleep 0.02; done; printf 'two\\n\\nthree'"
    lines = transport.follow(["sh", "-c", script], idle_deadline_s=20)
    assert next(lines) == b"one"
    go.touch()
    assert list(lines) == [b"two", b""]


def test_a_followed_command_that_fails_says_so(transport: Transport) -> None:
    lines = transport.follow(["sh", "-c", "echo one; echo Oh no >&2; exit 2"], idle_deadline_s=20)
    assert next(lines) == b"one"
    with pytest.raises(CommandFailed, match="ended with status 2: Oh no"):
        next(lines)


def test_a_long_line_is_whole_and_one_above_the_limit_is_refused(transport: Transport) -> None:
    script = ["sh", "-c", "head -c 300000 /dev/zero; echo; head -c 300002 /dev/zero; echo"]
    lines = transport.follow(script, idle_deadline_s=20, limit_bytes=300001)
    assert next(lines) == bytes(300000)
    with pytest.raises(CommandFailed, match="a line over 300001 bytes"):
        next(lines)


def test_following_drains_what_goes_to_stderr(transport: Transport) -> None:
    script = ["sh", "-c", "head -c 8388608 /dev/zero >&2; echo done"]
    assert list(transport.follow(script, idle_deadline_s=30)) == [b"done"]


def test_silence_beyond_the_deadline_is_unreachable(transport: Transport, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"echo $$ > {pid_file}; echo one; exec sleep 60"
    lines = transport.follow(["sh", "-c", script], idle_deadline_s=0.5)
    assert next(lines) == b"one"
    with pytest.raises(Unreachable, match=r"silent for 0\.5 s"):
        next(lines)
    assert ended(int(pid_file.read_text()))


def test_a_slow_reader_is_not_taken_for_silence(transport: Transport) -> None:
    script = ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"]
    seen = []
    for line in transport.follow(script, idle_deadline_s=1.0):
        seen.append(line)
        time.sleep(1.2 if line == b"1" else 0)
    assert seen == [b"1", b"2", b"3"]


def test_stop_ends_following_and_the_command(transport: Transport, tmp_path: Path) -> None:
    stop = threading.Event()
    pid_file = tmp_path / "pid"
    script = f"echo $$ > {pid_file}; echo one; exec sleep 60"
    lines = transport.follow(["sh", "-c", script], idle_deadline_s=60, stop=stop)
    assert next(lines) == b"one"
    threading.Timer(0.2, stop.set).start()
    assert list(lines) == []
    assert ended(int(pid_file.read_text()))
    assert transport.run(["true"], deadline_s=20).exit_status == 0


def test_closing_the_iterator_ends_the_command(transport: Transport, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"echo $$ > {pid_file}; echo one; exec sleep 60"
    lines = transport.follow(["sh", "-c", script], idle_deadline_s=60)
    next(lines)
    lines.close()
    assert ended(int(pid_file.read_text()))


def test_files_and_commands_work_beside_a_followed_command(
    transport: Transport, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    script = f"echo one; until [ -e {go} ]; do sleep 0.02; done; echo two"
    lines = transport.follow(["sh", "-c", script], idle_deadline_s=20)
    assert next(lines) == b"one"
    assert transport.run(["echo", "beside"], deadline_s=20).stdout == b"beside\n"
    transport.put(b"", str(go), deadline_s=20)
    assert list(lines) == [b"two"]


def test_a_tilde_means_the_home_folder(transport: Transport) -> None:
    home = transport.run(["pwd"], deadline_s=20).stdout.decode().strip()
    name = f".gfbench-test-{os.getpid()}"
    try:
        transport.put(b"here", f"~/{name}", deadline_s=20)
        assert Path(home, name).read_bytes() == b"here"
        assert transport.get(f"~/{name}", deadline_s=20, limit_bytes=10) == b"here"
    finally:
        Path(home, name).unlink(missing_ok=True)


def test_sshd_is_stopped_with_its_fixture(home: ClientHome, tmp_path: Path) -> None:
    with running_sshd(tmp_path / "board", home) as board:
        kept: Sshd = board
        home.trust(board)
    target = Target(name="nano", host=kept.host, port=kept.port, user=kept.user)
    with pytest.raises(Unreachable, match="connection refused"):
        open_transport(target, None)
