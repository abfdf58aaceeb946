"""What the folders may know of each other, and what the payload may use."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from interpreters import old_python, other_pythons

ROOT = Path(__file__).parents[1]
PACKAGES = ("harness", "targets", "workloads", "reports")
CONTROLLER = ("harness", "targets", "reports")
SHARED_WITH_CONTROLLER = "workloads.spec"
OPTIONAL_ON_THE_BOARD = {"jtop", "pyRAPL", "pynvml"}  # in PACKAGES_ON_THE_BOARD alone
PACKAGES_ON_THE_BOARD = "workloads.sampler.packages"

PAYLOAD_SOURCES = sorted(ROOT.glob("workloads/**/*.py"))

# The next two run on any Python from 3.6 on.
COMPILE = """
import sys
for path in sys.argv[1:]:
    with open(path, "rb") as source:
        compile(source.read(), path, "exec")
"""

IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
"""

# One process for all modules: the first one after which torch is loaded is to blame.
IMPORT_WITHOUT_TORCH = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(name + " brings in torch")
"""


def test_the_payload_needs_no_more_than_the_library_of_python_3_6() -> None:
    # Not vermin's union-types: it takes os.O_RDWR | os.O_CREAT for one. The next test finds them.
    options = ["-t=3.6-", "--eval-annotations", "--no-tips", "--violations"]
    answer = run_tool("vermin", *options, *map(str, PAYLOAD_SOURCES))
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_bootstrap_runs_on_pythons_whose_version_it_is_to_report() -> None:
    path = str(ROOT / "workloads" / "bootstrap.py")
    answer = run_tool("vermin", "-t=2.7-", "-t=3.2-", "--no-tips", "--violations", path)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_payload_compiles_and_imports_on_a_real_python_3_6() -> None:
    python = old_python()
    compile_payload_on(python)
    names = sorted(
        name
        for name in import_graph("workloads").modules
        if name.partition(".")[0] == "workloads"
        and name not in ("workloads.__main__", PACKAGES_ON_THE_BOARD)
    )
    answer = run_python(python, IMPORT, *names)  # evaluates every annotation
    assert answer.returncode == 0, answer.stderr


def test_the_payload_compiles_on_every_newer_python_here() -> None:
    for python in (Path(sys.executable), *other_pythons()):
        compile_payload_on(python)


def test_the_payload_is_written_in_ascii() -> None:
    foreign = [str(path) for path in PAYLOAD_SOURCES if not path.read_bytes().isascii()]
    assert not foreign


def test_the_payload_imports_only_the_standard_library_and_torch() -> None:
    graph = import_graph("workloads")
    allowed = sys.stdlib_module_names | {"workloads", "torch"}
    foreign = {
        (importer, imported)
        for imported in graph.modules
        if imported.partition(".")[0] not in allowed
        for importer in graph.find_modules_that_directly_import(imported)
        if not (importer == PACKAGES_ON_THE_BOARD and imported in OPTIONAL_ON_THE_BOARD)
    }
    assert not foreign


def test_the_controller_knows_only_the_torch_free_modules_of_the_payload() -> None:
    graph = import_graph(*PACKAGES)
    foreign = {
        (importer, imported)
        for importer in graph.modules
        if importer.partition(".")[0] in CONTROLLER
        for imported in graph.find_modules_directly_imported_by(importer)
        if imported.partition(".")[0] == "workloads" and not may_be_imported(imported)
    }
    assert not foreign


def test_no_module_of_the_controller_imports_torch() -> None:
    graph = import_graph(*PACKAGES)
    names = sorted(
        name
        for name in graph.modules
        if (name.partition(".")[0] in CONTROLLER and not name.endswith("__main__"))
        or may_be_imported(name)
    )
    answer = run_python(Path(sys.executable), IMPORT_WITHOUT_TORCH, *names)
    assert answer.returncode == 0, answer.stderr


def test_the_folders_keep_to_their_layers() -> None:
    answer = run_tool("lint-imports", "--no-cache")
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_installs_a_package_of_our_name(package: str) -> None:
    owners = importlib.metadata.packages_distributions().get(package, [])
    assert set(owners) == {"gfbench"}, "install it with `make dev`, and nothing else of that name"


def test_no_file_names_somebodys_machine() -> None:
    home = re.compile(r"/(?:root|home/[\w.-]+)/")
    assert not lines_that_match(home, tracked_texts())


def test_no_code_is_left_for_later() -> None:
    later = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X{3})\b")
    code = {".py", ".sh", ".html", ".css", ".js", ".j2", ".toml", ".yaml"}
    assert not lines_that_match(later, [path for path in tracked_texts() if path.suffix in code])


def may_be_imported(module: str) -> bool:
    """Tell whether the controller may import a module of the payload."""
    is_empty = module == "workloads"  # imported for the place of its files
    return is_empty or f"{module}.".startswith(f"{SHARED_WITH_CONTROLLER}.")


def import_graph(*packages: str) -> grimp.ImportGraph:
    """Return who imports whom, read from the files as they are now."""
    first, *rest = packages
    return grimp.build_graph(first, *rest, include_external_packages=True, cache_dir=None)


def compile_payload_on(python: Path) -> None:
    """Fail unless the interpreter compiles every file of the payload."""
    answer = run_python(python, COMPILE, *map(str, PAYLOAD_SOURCES))
    assert answer.returncode == 0, f"{python}: {answer.stderr}"


def run_python(python: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a fresh interpreter, in the repository."""
    command = [str(python), "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def run_tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that pip installed beside this interpreter."""
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def tracked_texts() -> list[Path]:
    """Return the text files in git, without recorded data and other people's code."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so there is no list of our files")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    ours = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    foreign = (ROOT / "tests/data", ROOT / "reports/templates/vendor")
    return [
        path
        for path in ours
        if path.is_file() and not any(path.is_relative_to(folder) for folder in foreign)
    ]


def lines_that_match(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """Return ``file:line: text`` for every line that holds the pattern."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1)
        if pattern.search(line)
    ]
