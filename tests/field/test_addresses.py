"""Y4: how people write the address of a board, and what ssh refuses in it, at every door."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from field_data import said
from one_board import Lab, one_board, says_hello

from harness.cli import main
from harness.errors import UsageError
from harness.transport.ssh.hops import addressed, route
from harness.transport.ssh.trust import fetch_host_key, trust_target
from targets.inventory import InventoryProblem, Target, load_inventory
from targets.inventory.addresses import Address, NotAnAddress, parse_address

REFUSED = ["a;touch${IFS}x", "-oProxyCommand=x", "a b", "a\tb", "a`id`", "a|b", "a&b", "a'b", 'a"b']


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with one_board(tmp_path_factory) as lab:
        yield lab


@pytest.fixture(autouse=True)
def at_home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.at_home(monkeypatch)


def write_inventory(folder: Path, text: str) -> Path:
    path = folder / "inventory.yaml"
    path.write_text(text)
    return path


def test_y4_a_host_is_read_as_meant_or_refused_with_its_line(tmp_path: Path) -> None:
    text = said("Y4", "inventory.yaml")
    with pytest.raises(InventoryProblem) as refused:
        load_inventory(write_inventory(tmp_path, text))
    problem = refused.value
    assert (problem.line, problem.key, problem.rest) == (5, "targets.word.host", ())
    assert "'tty' after the colon is not a port" in problem.message
    rest = "".join(line for line in text.splitlines(keepends=True) if "word:" not in line)
    targets = load_inventory(write_inventory(tmp_path, rest)).targets
    assert {name: (one.user, one.host, one.port) for name, one in targets.items()} == {
        "both": (None, "192.0.2.5", 2222),
        "user": ("lab", "192.0.2.5", None),
        "url": (None, "192.0.2.5", None),
        "six": (None, "2001:db8::5", 2222),
    }


def test_y4_what_the_host_says_twice_must_be_the_same(tmp_path: Path) -> None:
    text = (
        "defaults: {user: pi, port: 2200}\ntargets:\n"
        "  a: {host: 'lab@h:22', port: 23}\n  b: {host: lab@h, user: me}\n  c: {host: 'lab@h:22'}\n"
    )
    with pytest.raises(InventoryProblem) as refused:
        load_inventory(write_inventory(tmp_path, text))
    problems = [refused.value, *refused.value.rest]
    assert [(one.line, one.key) for one in problems] == [
        (3, "targets.a.host"),
        (4, "targets.b.host"),
    ]
    assert "names the port 22, and `port` says 23" in str(problems[0])
    assert "names the user lab, and `user` says me" in str(problems[1])
    defaults = "".join(text.splitlines(keepends=True)[:2])
    loaded = load_inventory(write_inventory(tmp_path, defaults + "  c: {host: 'lab@h:22'}\n"))
    assert (loaded.targets["c"].user, loaded.targets["c"].port) == ("lab", 22)


def test_y4_doctor_ends_with_2_and_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = write_inventory(tmp_path, said("Y4", "inventory.yaml"))
    monkeypatch.setattr("sys.argv", ["gfbench", "doctor", "-i", str(inventory), "-t", "both"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"{inventory}:5: targets.word.host: " in capsys.readouterr().err


def test_y4_a_board_written_as_user_at_host_and_port_is_reached(lab: Lab, tmp_path: Path) -> None:
    address = f"{lab.board.user}@{lab.board.host}:{lab.board.port}"
    for host in (address, f"ssh://{address}/"):
        inventory = load_inventory(
            write_inventory(tmp_path, f"targets:\n  nano: {{host: '{host}'}}\n")
        )
        assert says_hello(inventory.targets["nano"])
    assert fetch_host_key(trust_target(f"ssh://{address}", None), None).status == "known"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("nano", Address(host="nano")),
        ("lab@nano:22", Address(host="nano", user="lab", port=22)),
        ("ssh://lab@nano:22/", Address(host="nano", user="lab", port=22)),
        ("a@corp@nano", Address(host="nano", user="a@corp")),
        ("LAB\\me@nano", Address(host="nano", user="LAB\\me")),
        ("::1", Address(host="::1")),
        ("[::1]", Address(host="::1")),
        ("lab@[fe80::1%eth0]:2222", Address(host="fe80::1%eth0", user="lab", port=2222)),
        ("bücher.example", Address(host="bücher.example")),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "lab@", "@nano", "nano:", "nano:0", "nano:65536", "a:b:c", "[nano]:22", "[::1]22"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(NotAnAddress):
        parse_address(text)


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_ssh_refuses_are_refused_at_every_door(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    reference = subprocess.run(["ssh", "-T", "-G", "--", name], capture_output=True, timeout=60)
    assert b"hostname contains invalid characters" in reference.stderr
    lab.home.config.write_text(f'Match exec "echo %h >>{tmp_path}/asked"\n Port 1\n')
    for key in ("host", "gateway", "user"):
        entry = {"host": "nano", key: f"lab@{name}" if key == "gateway" else name}
        lines = [f"    {one}: {quoted(value)}\n" for one, value in entry.items()]
        path = write_inventory(tmp_path, "".join(["targets:\n  a:\n", *lines]))
        if key == "user" and re.search(r"\s", name):
            continue  # a word for the schema, and allowed by ssh
        with pytest.raises(InventoryProblem) as refused:
            load_inventory(path)
        assert refused.value.key == f"targets.a.{key}"
        assert refused.value.line in (3, 4)
    for door in (
        lambda: trust_target(f"lab@{name}", None),
        lambda: addressed(name),
        lambda: route(Target(name="a", host=name), None),
        lambda: route(Target(name="a", host="127.0.0.1", gateway=f"lab@{name}"), None),
    ):
        with pytest.raises(UsageError):
            door()
    asked = tmp_path / "asked"
    assert not asked.exists() or set(asked.read_text().split()) == {"127.0.0.1"}
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        ["asked", "inventory.yaml"],
        ["inventory.yaml"],
    )


def quoted(text: str) -> str:
    """Write a YAML string, in which every character stands for itself."""
    return "'" + text.replace("'", "''") + "'"
