"""A new export is one module and one line in FORMATS; then every command knows it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import typer
from make_run import make_run
from typer.testing import CliRunner

import harness.commands.export
from reports import exports
from reports.exports import FORMATS, Format, export
from reports.metrics.of_run import compare
from reports.results.read import load_run

MODULE = '''
"""Tab-separated lines: target, metric and value."""

from __future__ import annotations

from reports.exports.source import ExportSource


def to_lines(source: ExportSource) -> str:
    """Return a line for each figure."""
    lines = []
    for row in source.rows:
        if row.value is not None:
            lines.append(f"{row.target}\\t{row.metric}\\t{row.value!r}\\n")
    return "".join(lines)
'''


def load_module(path: Path) -> ModuleType:
    """Import a file under a name that nothing else uses."""
    spec = importlib.util.spec_from_file_location(f"{path.stem}_of_a_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """``gfbench export`` as it is once the format has its module and its line."""
    (tmp_path / "lines.py").write_text(MODULE)
    lines = load_module(tmp_path / "lines.py")
    monkeypatch.setitem(FORMATS, "lines", Format(write=lines.to_lines, reader="cut and awk"))
    # The command's help is made when its module is imported.
    command: typer.Typer = load_module(Path(harness.commands.export.__file__)).app
    return command


def test_a_new_format_is_in_the_help_and_can_be_chosen(tmp_path: Path, app: typer.Typer) -> None:
    run = make_run(tmp_path / "results")
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    assert "lines" in told.output
    output = tmp_path / "figures.txt"
    written = CliRunner().invoke(app, [str(run), "--format", "lines", "-o", str(output)])
    assert written.exit_code == 0, written.output
    assert output.read_text() == export(load_run(run), "lines")


@pytest.mark.usefixtures("app")
def test_a_new_format_gets_the_rows_that_are_chosen(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "results"))
    figures = [row for row in compare(run) if row.value is not None]
    content = export(run, "lines")
    assert isinstance(content, str)
    first = figures[0]
    assert content.splitlines()[0] == f"{first.target}\t{first.metric}\t{first.value!r}"
    assert len(content.splitlines()) == len(figures)
    exact = export(run, "lines", "method=exact")
    assert 0 < len(exact.splitlines()) < len(figures)


@pytest.mark.usefixtures("app")
def test_an_unknown_format_is_told_the_new_one_too(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "results"))
    with pytest.raises(ValueError, match="lines"):
        exports.export(run, "xls")
