"""`make messages`: every message that a user can see, in one text."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "messages.py"


@pytest.fixture(scope="module")
def printed() -> str:
    done = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("messages_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def found(script: Any, folder: Path, name: str, source: str) -> Sequence[str]:
    path = folder / name
    path.write_text(source)
    return [message.text.translate(script.SHOWN) for message in script.messages_of(path)]


@pytest.mark.parametrize(
    "message",
    [
        "connection refused",  # why a target failed
        "the kernel {case.kernel} does not implement {case.method}",  # why a case was skipped
        "Write a commented inventory.yaml to start from.",  # the help of a command
        "machine-readable output",  # the help of an option
        "torch {torch['version']} is too old",  # a finding of doctor
        "the driver is not loaded",  # a refusal of the payload's probe
        "kernel native runs on the CPU, not on {device}",  # one of a kernel
        "not measured in the newest run",  # a cell of a table
        "energy per iteration, logarithmic",  # an axis of a chart
        "JUnit XML",  # a format, by its name
        "Nothing was skipped and nothing failed.",  # a sentence of a template
        "copy the figure as a picture",  # one of a script
        "three small 3x3 layers",  # what a suite is
    ],
)
def test_a_message_of_every_kind_is_there(printed: str, message: str) -> None:
    assert message in printed


def test_every_package_has_messages_and_each_says_where_it_is(printed: str) -> None:
    for package in ("harness", "targets", "reports", "workloads"):
        assert f"\n{package}/" in printed
    assert "_network: connection refused" in printed


def test_no_docstring_comment_or_code_is_among_them(printed: str) -> None:
    assert "The errors that end a command or a target" not in printed
    assert "#include" not in printed
    assert "addEventListener" not in printed


def test_a_message_is_shown_whole_with_what_is_filled_in_by_name(
    script: Any, tmp_path: Path
) -> None:
    source = (
        "def f(name, names, size):\n"
        '    """Return this and that."""\n'
        '    a = f"{name} has " "no " + ("value" if size else "size of its own")\n'
        '    b = "%s is not in %.2f bytes" % (name, size)\n'
        '    c = "{} is one of {}".format(name, ", ".join(names))\n'
        "    d = f\"{name}{' (and more)' if names else ''} is {size:.3g} bytes long\"\n"
        '    e = re.sub("a pattern of words", name)\n'
    )
    assert found(script, tmp_path, "some.py", source) == [
        "{name} has no [value | size of its own]",
        "{name} is not in {size} bytes",
        "{name} is one of {names, ...}",
        "{name}[ (and more) | ] is {size} bytes long",
    ]


def test_sentences_of_templates_are_shown_without_their_tags(script: Any, tmp_path: Path) -> None:
    source = (
        '<p title="from the board">Run <b>{{ run.id }}</b>{% if run.done %} has ended{% endif %}.\n'
        '</p>{# a remark on it #}<p>{{ "no figures" if not run.rows }}</p>\n'
    )
    assert sorted(found(script, tmp_path, "some.html.j2", source)) == [
        "Run {run.id}[ has ended].",
        "from the board",
        "no figures",
    ]


def test_texts_of_scripts_are_found_inside_templates_too(script: Any, tmp_path: Path) -> None:
    source = (
        "// a remark that nobody sees\n"
        'const quoted = /["\']/.test(text) ? "a quote" : `${n > 1 ? `${n} of` : ""} it`;\n'
        'document.querySelector("main figure");\n'
    )
    assert sorted(found(script, tmp_path, "some.js", source)) == [
        "a quote",
        '{n > 1 ? `$(n) of` : ""} it',
        "{n} of",
    ]
