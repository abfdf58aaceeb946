"""The Python interpreters that the payload is tried on, besides the one that runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

OPTIONAL_PACKAGES = ("jetson-stats==7.2.2", "pyRAPL==0.2.3.1")  # they bring nvidia-ml-py


def old_python() -> Path:
    """Return the Python 3.6 with torch that `make py36` builds; without it skip, in CI fail."""
    python = _cache_folder() / "py36-torch1.10.2" / "bin" / "python"
    if _version(python) == (3, 6):
        return python
    missing = f"no Python 3.6 with torch 1.10.2 at {python}: run `make py36`"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def optional_python() -> Path:
    """Return a Python with the optional sensor packages, built once; offline skip, in CI fail."""
    environment = _cache_folder() / "optional-packages"
    python = environment / "bin" / "python"
    if not _has_optional_packages(python):
        commands = (
            [sys.executable, "-m", "venv", "--clear", str(environment)],
            [str(python), "-m", "pip", "install", "--quiet", *OPTIONAL_PACKAGES],
        )
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, timeout=240)
            if done.returncode:
                missing = f"cannot install {OPTIONAL_PACKAGES}: {done.stderr[-300:]}"
                if os.environ.get("CI"):
                    pytest.fail(missing)
                pytest.skip(missing)
    return python


def _has_optional_packages(python: Path) -> bool:
    imports = "import importlib.util as u; assert u.find_spec('jtop') and u.find_spec('pyRAPL')"
    try:
        return subprocess.run([str(python), "-c", imports], capture_output=True).returncode == 0
    except OSError:
        return False


def _cache_folder() -> Path:
    default = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GFBENCH_CACHE") or Path(default) / "gfbench-dev")


def other_pythons() -> list[Path]:
    """Return the interpreters that pyenv has from Python 3.7 on, oldest first; may be empty."""
    return [python for python in _pyenv_pythons() if (_version(python) or (0, 0)) >= (3, 7)]


@cache
def _pyenv_pythons() -> tuple[Path, ...]:
    try:
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        return ()
    found = Path(root.stdout.strip(), "versions").glob("3.*/bin/python")
    return tuple(sorted(found, key=lambda python: _version(python) or (0, 0)))


@cache
def _version(python: Path) -> tuple[int, int] | None:
    """Return what the interpreter says it is; None if it does not run (a shim, a dead link)."""
    ask = [str(python), "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=60)
    except OSError:
        return None
    if answer.returncode != 0:
        return None
    major, minor = answer.stdout.split()
    return int(major), int(minor)
