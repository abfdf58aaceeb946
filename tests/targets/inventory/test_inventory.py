from __future__ import annotations

import json
from pathlib import Path

import pytest

from targets import inventory as module
from targets.inventory import (
    Inventory,
    InventoryProblem,
    Power,
    Target,
    gateway_target,
    load_inventory,
    local_target,
    select,
)
from targets.platforms import PLATFORMS

ROOT = Path(__file__).resolve().parents[3]


def load(tmp_path: Path, text: str) -> Inventory:
    path = tmp_path / "inventory.yaml"
    path.write_text(text, encoding="utf-8")
    return load_inventory(path)


def refused(tmp_path: Path, text: str) -> InventoryProblem:
    with pytest.raises(InventoryProblem) as caught:
        load(tmp_path, text)
    return caught.value


def test_the_example_loads_and_is_the_file_in_the_repository(tmp_path: Path) -> None:
    text = module.example_text()
    assert (ROOT / "inventory.yaml").read_text(encoding="utf-8") == text
    inventory = load(tmp_path, text)
    assert list(inventory.targets) == ["nano", "orin", "pi5", "jump", "tower"]
    assert inventory.targets["tower"].gateway == "jump"
    assert inventory.targets["pi5"].user == "pi"
    assert inventory.targets["orin"].user == "lab"
    assert [target.name for target in select(inventory, ["tag:cuda"])] == ["nano", "orin", "tower"]
    assert [target.name for target in select(inventory, ["@bench"])] == ["nano", "orin", "pi5"]


def test_an_entry_with_a_host_alone_gets_the_documented_defaults(tmp_path: Path) -> None:
    target = load(tmp_path, "targets: {nano: {host: 10.0.0.2}}").targets["nano"]
    assert target == Target(name="nano", host="10.0.0.2")
    assert (target.port, target.user, target.identity_file, target.gateway) == (None,) * 4
    assert (target.python, target.platform, target.power) == ("python3", "auto", Power())
    assert (target.sysroot, target.workdir) == ("/", "~/.cache/gfbench")
    assert (target.threads, target.min_window_s, target.reconnect_s) == (None, None, 60.0)
    assert not target.local


def test_defaults_are_filled_in_and_env_is_joined(tmp_path: Path) -> None:
    text = """
defaults: {user: lab, env: {A: one, B: two}, tags: [x], reconnect_s: 5, gateway: jump}
targets:
  jump: {host: gate}
  nano: {host: a, env: {B: three, C: 4}, tags: [y], gateway: null}
  orin: {host: b, user: me}
  local: {threads: 2}
"""
    targets = load(tmp_path, text).targets
    assert targets["nano"].env == {"A": "one", "B": "three", "C": "4"}
    assert targets["nano"].tags == ("y",)
    assert targets["nano"].reconnect_s == 5.0
    assert targets["nano"].gateway is None
    assert (targets["orin"].user, targets["orin"].gateway) == ("me", "jump")
    assert targets["jump"].gateway is None, "a default gateway does not jump through itself"
    assert (targets["local"].threads, targets["local"].user) == (2, None)
    assert targets["local"].local


@pytest.mark.parametrize(
    ("entry", "power"),
    [
        ("auto", Power(kind="auto")),
        ("off", Power(kind="off")),  # YAML 1.1 reads a bare off as false
        ("'off'", Power(kind="off")),
        ("jtop", Power(kind="jtop")),
        ("pyrapl", Power(kind="pyrapl")),
        ("{command: read-watts --fast}", Power(kind="command", argument="read-watts --fast")),
        ("{csv: meter.csv}", Power(kind="csv", argument="meter.csv")),
        ("{rail: ina219@0x40}", Power(kind="rail", argument="ina219@0x40")),
    ],
)
def test_power_is_one_of_the_known_sources(tmp_path: Path, entry: str, power: Power) -> None:
    inventory = load(tmp_path, f"targets: {{a: {{host: h, power: {entry}}}}}")
    assert inventory.targets["a"].power == power


def test_anchors_and_merges_are_understood(tmp_path: Path) -> None:
    text = """
targets:
  a: &board
    host: h
    port: 2222
  b:
    <<: *board
    host: other
"""
    targets = load(tmp_path, text).targets
    assert (targets["b"].host, targets["b"].port) == ("other", 2222)


# Each bad input: the text, the line, the key and a word of the message that point at it.
BAD = [
    ("", None, "", "empty"),
    ("# nothing\n\n", None, "", "empty"),
    ("targets: [", 1, "", "not YAML"),
    ("targets:\n  a: {host: h\n  b: {host: i}\n", 3, "", "not YAML"),
    ("targets:\n\ta: 1\n", 2, "", "not YAML"),
    ("just text\n", 1, "", "defaults, targets and groups"),
    ("{}\n", 1, "targets", "missing"),
    ("defaults: {}\n", 1, "targets", "missing"),
    ("targets:\n", 1, "targets", "mapping of names"),
    ("targets:\n  - a\n", 1, "targets", "mapping of names"),
    ("targets:\n  a:\n", 2, "targets.a", "mapping of keys"),
    ("targets:\n  a: 10.0.0.1\n", 2, "targets.a", "mapping of keys"),
    ("targets:\n  a: {port: 22}\n", 2, "targets.a.host", "missing"),
    ("targets:\n  a:\n    host: h\n    prot: 22\n", 4, "targets.a.prot", "did you mean port?"),
    ("target:\n  a: {host: h}\n", 1, "target", "did you mean targets?"),
    ("defaults:\n  host: h\ntargets: {a: {host: h}}\n", 2, "defaults.host", "unknown key"),
    ("targets:\n  a:\n    host: h\n    port: ssh\n", 4, "targets.a.port", "1 to 65535"),
    ("targets:\n  a:\n    host: h\n    port: 0\n", 4, "targets.a.port", "1 to 65535"),
    ("targets:\n  a:\n    host: h\n    port: true\n", 4, "targets.a.port", "1 to 65535"),
    ("targets:\n  a:\n    host: 12\n", 3, "targets.a.host", "host name"),
    ("targets:\n  a:\n    host: -oProxyCommand=x\n", 3, "targets.a.host", "host name"),
    ("targets:\n  a:\n    host: h\n    python: 3.8\n", 4, "targets.a.python", "Python"),
    ("targets:\n  a:\n    host: h\n    tags: cuda\n", 4, "targets.a.tags", "list of words"),
    ("targets:\n  a:\n    host: h\n    setup: reboot\n", 4, "targets.a.setup", "list of shell"),
    ("targets:\n  a:\n    host: h\n    env:\n      X: yes\n", 5, "targets.a.env.X", "NAME: text"),
    ("targets:\n  a:\n    host: h\n    env:\n      A-B: c\n", 5, "targets.a.env.A-B", "not a name"),
    ("targets:\n  a:\n    host: h\n    power: on\n", 4, "targets.a.power", "jtop, pyrapl"),
    (
        "targets:\n  a:\n    host: h\n    power: {csv: a, command: b}\n",
        4,
        "targets.a.power",
        "jtop",
    ),
    ("targets:\n  a:\n    host: h\n    power: {}\n", 4, "targets.a.power", "jtop"),
    ("targets:\n  a:\n    host: h\n    power: {rail: ''}\n", 4, "targets.a.power", "rail: NAME"),
    ("targets:\n  a:\n    host: h\n    power: {rail: [A, B]}\n", 4, "targets.a.power", "rail"),
    ("targets:\n  a:\n    host: h\n    platform: nano\n", 4, "targets.a.platform", "jetson-nano"),
    ("targets:\n  a:\n    host: h\n    threads: 0\n", 4, "targets.a.threads", "1 or more"),
    ("targets:\n  a:\n    host: h\n    min_window_s: -1\n", 4, "targets.a.min_window_s", "above 0"),
    ("targets:\n  a:\n    host: h\n    min_window_s: .nan\n", 4, "targets.a.min_window_s", "above"),
    ("targets:\n  a:\n    host: h\n    sysroot: root\n", 4, "targets.a.sysroot", "absolute"),
    ("targets:\n  a: {host: h}\n  a: {host: i}\n", 3, "targets.a", "given twice, first on line 2"),
    ("targets:\n  a:\n    host: h\n    host: i\n", 4, "targets.a.host", "given twice"),
    ("targets:\n  -a: {host: h}\n", 2, "targets.-a", "not a name"),
    ("targets:\n  a b: {host: h}\n", 2, "targets.a b", "not a name"),
    ("targets:\n  ../a: {host: h}\n", 2, "targets.../a", "not a name"),
    ("targets:\n  12: {host: h}\n", 2, "targets.12", "number"),
    ("targets:\n  all: {host: h}\n", 2, "targets.all", "every target"),
    ("targets:\n  local: {host: h}\n", 2, "targets.local.host", "this machine"),
    ("targets:\n  local:\n    port: 22\n", 3, "targets.local.port", "this machine"),
    ("targets: {nano: {host: h}}\ngroups:\n  g: [nan]\n", 3, "groups.g.0", "did you mean nano?"),
    ("targets: {nano: {host: h}}\ngroups:\n  g: nano\n", 3, "groups.g", "list of target names"),
    ("targets: {a: {host: h}}\ngroups:\n  g: [a]\n  g: [a]\n", 4, "groups.g", "given twice"),
    ("targets:\n  a:\n    host: h\n    gateway: b\n", 4, "targets.a.gateway", "neither a target"),
    ("targets:\n  a:\n    host: h\n    gateway: local\n", 4, "targets.a.gateway", "neither"),
    ("targets:\n  a:\n    host: h\n    gateway: u@h:99999\n", 4, "targets.a.gateway", "neither"),
    ("defaults:\n  gateway: no\ntargets: {a: {host: h}}\n", 2, "defaults.gateway", "jump through"),
    ("targets:\n  a: {host: h, gateway: a}\n", 2, "targets.a.gateway", "circle: a → a"),
    ("x: &a [*a]\ntargets: {}\n", 1, "x.0", "contains itself"),
    ("targets: {a: *b}\n", 1, "", "undefined alias"),
]


@pytest.mark.parametrize(("text", "line", "key", "words"), BAD)
def test_a_complaint_names_file_line_key_and_remedy(
    tmp_path: Path, text: str, line: int | None, key: str, words: str
) -> None:
    problem = refused(tmp_path, text)
    assert (problem.path, problem.line, problem.key) == (tmp_path / "inventory.yaml", line, key)
    assert words in problem.message
    assert problem.remedy
    place = str(problem.path) if line is None else f"{problem.path}:{line}"
    assert str(problem).startswith(place)
    assert problem.remedy in str(problem)


def test_a_tag_never_makes_an_object(tmp_path: Path) -> None:
    problem = refused(tmp_path, "targets:\n  a:\n    host: !!python/object:os.system echo\n")
    assert problem.line == 3
    assert "constructor" in problem.message


def test_gateways_in_a_circle_are_told_with_the_way(tmp_path: Path) -> None:
    text = """targets:
  a: {host: h, gateway: b}
  b: {host: h, gateway: c}
  c: {host: h, gateway: b}
"""
    problem = refused(tmp_path, text)
    assert [problem.line, *(other.line for other in problem.rest)] == [3, 4]
    assert problem.message == "the gateways form a circle: b → c → b"


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = """targets:
  a:
    host: h
    prot: 1
    port: x
  a: {host: i}
  b: {tags: 3}
grups: {}
"""
    problem = refused(tmp_path, text)
    told = [(problem.line, problem.key), *((other.line, other.key) for other in problem.rest)]
    assert told == [
        (4, "targets.a.prot"),
        (5, "targets.a.port"),
        (6, "targets.a"),
        (7, "targets.b.tags"),
        (8, "grups"),
    ]
    assert len(str(problem).splitlines()) == 5


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InventoryProblem, match="No such file") as caught:
        load_inventory(tmp_path / "absent.yaml")
    assert "gfbench init" in caught.value.remedy
    with pytest.raises(InventoryProblem, match="cannot be read"):
        load_inventory(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"targets:\n  a: {host: h}\n# caf\xe9\n")
    with pytest.raises(InventoryProblem, match="UTF-8") as caught:
        load_inventory(tmp_path / "latin.yaml")
    assert caught.value.line == 3


def test_local_is_always_there_and_takes_its_settings_from_the_inventory(tmp_path: Path) -> None:
    assert local_target(None) == Target(name="local")
    assert select(None, ["local"]) == (Target(name="local"),)
    inventory = load(tmp_path, "targets: {local: {threads: 1}, a: {host: h}}")
    assert local_target(inventory).threads == 1
    assert local_target(load(tmp_path, "targets: {a: {host: h}}")).local
    assert [target.name for target in select(inventory, ["all"])] == ["a"]


def test_a_selection_has_each_target_once_in_the_order_asked_for(tmp_path: Path) -> None:
    text = """
targets:
  a: {host: h, tags: [x]}
  b: {host: h, tags: [x, y]}
  c: {host: h}
groups: {g: [c, a, c]}
"""
    inventory = load(tmp_path, text)

    def names(*selectors: str) -> list[str]:
        return [target.name for target in select(inventory, selectors)]

    assert names("b", "@g", "tag:x") == ["b", "c", "a"]
    assert names("tag:y", "local", "all") == ["b", "local", "a", "c"]
    assert names() == []


@pytest.mark.parametrize("selector", ["nanp", "@lab", "tag:gpu", "@", "tag:", ""])
def test_a_selector_that_means_nothing_names_the_choices(tmp_path: Path, selector: str) -> None:
    inventory = load(tmp_path, "targets: {nano: {host: h, tags: [arm]}}\ngroups: {g: [nano]}\n")
    with pytest.raises(InventoryProblem) as caught:
        select(inventory, [selector])
    assert repr(selector) in str(caught.value)
    assert caught.value.remedy == "Choose from: nano, local, @g, tag:arm, all."


def test_without_an_inventory_only_local_can_be_selected() -> None:
    with pytest.raises(InventoryProblem, match="gfbench init"):
        select(None, ["nano"])


def test_a_gateway_is_a_target_or_an_address(tmp_path: Path) -> None:
    text = """
targets:
  a: {host: h, gateway: b}
  b: {host: i, gateway: "me@gate.example:2200"}
  c: {host: j, gateway: "me@[fe80::1]"}
"""
    inventory = load(tmp_path, text)
    a, b, c = inventory.targets.values()
    assert gateway_target(inventory, a) == b
    jump = gateway_target(inventory, b)
    assert jump is not None
    assert (jump.user, jump.host, jump.port) == ("me", "gate.example", 2200)
    jump = gateway_target(inventory, c)
    assert jump is not None
    assert (jump.host, jump.port) == ("fe80::1", None)
    assert gateway_target(inventory, jump) is None


def test_the_json_schema_knows_every_key_and_platform() -> None:
    schema = module.json_schema()
    keys = schema["$defs"]["TargetEntry"]["properties"]
    assert set(keys) == set(Target.__dataclass_fields__) - {"name"}
    assert all("description" in key for key in keys.values())
    assert set(PLATFORMS) <= set(json.dumps(keys["platform"]).replace('"', " ").split())
    assert schema["$defs"]["TargetEntry"]["additionalProperties"] is False
