"""Cases Y1 and Y2: what YAML 1.1 makes of a value, and a file that Windows has saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import PlanError
from harness.plan.suites import load_suite
from targets.inventory import InventoryProblem, load_inventory

Y1 = Path(__file__).resolve().parents[1] / "data" / "field" / "Y1-yaml-surprises"
SUITE = "description: one layer\nworkloads: [quick-64ch-56x56]\nrounds: 3\n"


def complaints(path: Path) -> dict[str, InventoryProblem]:
    """Return what is wrong with an inventory, by key."""
    with pytest.raises(InventoryProblem) as caught:
        load_inventory(path)
    return {problem.key: problem for problem in (caught.value, *caught.value.rest)}


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("octal-port", ["port"]),
        ("sexagesimal-port", ["port"]),
        (
            "env",
            [f"env.{name}" for name in ("DEBUG", "VERSION", "MAC", "MODE", "DAY", "HEX")],
        ),
        ("labels", [f"labels.{name}" for name in ("firmware", "mac", "fan", "bought", "rev")]),
    ],
)
def test_y1_a_value_that_yaml_would_change_is_refused_at_its_key(
    file: str, keys: list[str]
) -> None:
    found = complaints(Y1 / f"{file}.yaml")
    for key in keys:
        problem = found[f"targets.b.{key}"]
        assert problem.line is not None
        assert "quote" in problem.remedy


def test_y1_names_that_yaml_takes_for_yes_and_no_are_refused() -> None:
    found = complaints(Y1 / "norway.yaml")
    assert {"targets.no", "targets.on", "targets.on.tags.0"} <= found.keys()
    assert all("uot" in problem.remedy for problem in found.values())


@pytest.mark.parametrize(
    "value", ["0755", "0x1F", "0b11", "1_000", "007", "+5", "22:22", "52:54:05:00:23:48"]
)
def test_y1_a_number_in_an_unusual_notation_reaches_a_board_only_with_quotes(
    tmp_path: Path, value: str
) -> None:
    path = tmp_path / "inventory.yaml"
    text = "targets:\n  b:\n    host: h\n    env:\n      A: {}\n"
    path.write_text(text.format(value), encoding="utf-8")
    problem = complaints(path)["targets.b.env.A"]
    assert problem.line == 5
    assert f"YAML reads {value} as the number " in problem.message
    assert problem.remedy.startswith("Put quotes around it")
    path.write_text(text.format(f'"{value}"'), encoding="utf-8")
    assert load_inventory(path).targets["b"].env == {"A": value}


@pytest.mark.parametrize("value", ["0", "7", "1000", "-3"])
def test_y1_a_plain_number_needs_no_quotes(tmp_path: Path, value: str) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(f"targets: {{b: {{host: h, env: {{A: {value}}}}}}}", encoding="utf-8")
    assert load_inventory(path).targets["b"].env == {"A": value}


@pytest.mark.parametrize("line", ["rounds: 010", "rounds: 1_0", "min_window_s: 1:30.5"])
def test_y1_a_suite_is_read_with_the_same_care(tmp_path: Path, line: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(SUITE.replace("rounds: 3", line), encoding="utf-8")
    with pytest.raises(PlanError, match=r"own\.yaml:3: .*as the number .*Put quotes around it"):
        load_suite(str(path))


def windows_file(path: Path, text: str) -> Path:
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    return path


def test_y2_a_file_with_bom_and_crlf_is_read_like_the_plain_one(tmp_path: Path) -> None:
    text = "targets:\n  b:\n    host: h\n    env:\n      A: text\n"
    target = load_inventory(windows_file(tmp_path / "inventory.yaml", text)).targets["b"]
    assert (target.host, target.env) == ("h", {"A": "text"})
    assert load_suite(str(windows_file(tmp_path / "own.yaml", SUITE))).rounds == 3


def test_y2_a_complaint_of_such_a_file_names_the_right_line(tmp_path: Path) -> None:
    path = windows_file(tmp_path / "inventory.yaml", "targets:\n  b:\n    host: h\n    prot: 22\n")
    assert complaints(path)["targets.b.prot"].line == 4
    suite = windows_file(tmp_path / "own.yaml", SUITE + "ruonds: 3\n")
    with pytest.raises(PlanError, match=r"own\.yaml:4: ruonds"):
        load_suite(str(suite))
