"""The documentation: it builds without a warning, loads nothing from elsewhere, and is true."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer.main

from harness.cli import app
from reports.metrics.rows import COLUMNS
from reports.metrics.table import exported_metrics
from reports.results import records

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
EXAMPLES = {"workloads/kernels/simple.py"}  # what a reader is to write
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Loads(HTMLParser):
    """Collects what a page makes a browser fetch by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "link" and given.get("rel") in ("canonical", "next", "prev"):
            return
        self.addresses += [given.get(LOADED.get(tag, "")) or ""]
        self.addresses += _urls(given.get("style") or "")


def _urls(style: str) -> list[str]:
    return re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')]+)", style)


def test_pages_load_no_script_style_or_font_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text()
        loads = _Loads()
        loads.feed(text)
        inline = _urls("".join(re.findall(r"<style.*?</style>", text, re.S)))
        elsewhere = [one for one in (*loads.addresses, *inline) if urlsplit(one).netloc]
        assert not elsewhere, page
    for style in site.rglob("*.css"):
        assert not _urls(style.read_text()), style


def test_the_schema_page_names_every_field_that_readers_check(site: Path) -> None:
    page = (site / "schema.html").read_text()
    block = records.BlockRecord.__dataclass_fields__
    header = records.RunHeader.__dataclass_fields__
    state = records.MachineState.__dataclass_fields__
    metrics = [metric.name for metric in exported_metrics()]
    for name in (*block, *header, *state, *COLUMNS, *metrics):
        assert f"<code>{name}</code>" in page, name


def test_board_pages_hold_what_the_code_knows_of_each_platform(site: Path) -> None:
    pages = "".join(page.read_text() for page in (site / "boards").glob("*.html"))
    assert "<!-- platform:" not in pages
    for words in ("POM_5V_IN: the input of the module", "VIN: the input of the carrier board"):
        assert words in pages
    assert "intel-rapl*/energy_uj" in pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_that_a_page_shows_exists_with_its_options(page: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for words in _commands(page.read_text()):
        assert words[0] in commands, f"gfbench {words[0]}"
        command = commands[words[0]]
        if len(words) > 1 and words[1] in getattr(command, "commands", {}):
            command = command.commands[words[1]]
        options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        shown = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        assert shown <= options | {"--help"}, f"gfbench {' '.join(words)}"


def _commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each `gfbench ...`, in blocks of code and in the text's code spans."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    spans = re.findall(r"`(gfbench [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    indented = re.findall(r"^    (gfbench .*(?:\\\n.*)*)", text, re.M)
    indented = [line.replace("\\\n", " ") for line in indented]
    for line in (*lines, *spans, *indented):
        found = re.match(r"\s*(?:\S+/)?gfbench ((?:[a-z]|--version).*)", line)
        if found and not found[1].startswith("--"):
            yield re.split(r"\s[#|]\s|;|\s\s+#", found[1])[0].split()


def test_readme_lists_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    missing = [name for name in commands if f"`{name}`" not in readme]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:harness|reports|workloads|targets|tests|scripts)/[^` <]+)`", page.read_text()
    )
    missing = {path for path in named if not any(ROOT.glob(path.rstrip("/")))}
    assert missing <= EXAMPLES


def test_the_faq_quotes_messages_that_exist() -> None:
    said = set(_messages())
    for line in (ROOT / "docs" / "faq.md").read_text().splitlines():
        if not line.startswith("| `"):
            continue
        for quoted in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
            wanted = _shape(quoted)
            assert any(wanted in message for message in said), quoted


def _messages() -> Iterator[str]:
    """Yield every text of the code, with an ellipsis for what is filled in."""
    for folder in ("harness", "reports", "targets", "workloads"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (x.value if isinstance(x, ast.Constant) else "…" for x in node.values)
                    yield _shape("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield _shape(re.sub(r"%[a-z.0-9]+", "…", node.value))


def _shape(text: str) -> str:
    return re.sub(r"[…\s]+", " ", text.replace("`", "'")).strip()
