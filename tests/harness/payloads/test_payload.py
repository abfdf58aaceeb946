"""The payload: one file, the same bytes every time, on every Python."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from interpreters import other_pythons

from harness.errors import PayloadError
from harness.payloads.payload import pack

ROOT = Path(__file__).parents[3]
MAIN = "import sys\ndef main():\n    print('ran', sys.argv[1:])\n    return 3\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder of workloads, with what must travel and what must not."""
    folder = tmp_path / "workloads"
    files = {
        "__init__.py": "",
        "__main__.py": MAIN,
        "kernels/fast.c": "int x;\n",
        "kernels/fast.cu": "int y;\n",
        "suites/quick.yaml": "suite\n",
        "__pycache__/x.cpython-311.pyc": "cache",
        "kernels/old.pyc": "cache",
        ".hidden/file.py": "hidden",
        "kernels/.file.py.swp": "hidden",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(data: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


def test_all_but_suites_and_caches_travels_in_order(folder: Path) -> None:
    assert names(pack(folder).data) == [
        "__main__.py",
        "workloads/__init__.py",
        "workloads/__main__.py",
        "workloads/kernels/fast.c",
        "workloads/kernels/fast.cu",
    ]


def test_the_name_is_made_of_the_hash(folder: Path) -> None:
    payload = pack(folder)
    assert payload.sha256 == hashlib.sha256(payload.data).hexdigest()
    assert payload.name == f"gfbench-{payload.sha256[:12]}.pyz"


def test_times_and_permissions_of_the_files_do_not_matter(folder: Path) -> None:
    before = pack(folder)
    for path in folder.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700)
    assert pack(folder) == before


def test_suites_do_not_change_the_hash_and_code_does(folder: Path) -> None:
    before = pack(folder)
    (folder / "suites" / "other.yaml").write_text("other\n")
    assert pack(folder) == before
    (folder / "kernels" / "fast.c").write_text("int z;\n")
    assert pack(folder).sha256 != before.sha256


def test_it_runs_main_with_its_arguments_and_status(folder: Path, tmp_path: Path) -> None:
    payload = pack(folder)
    path = tmp_path / payload.name
    path.write_bytes(payload.data)
    done = subprocess.run(
        [sys.executable, path, "probe", "-x"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (3, "ran ['probe', '-x']\n")


def test_extra_files_travel_beside_it(folder: Path) -> None:
    payload = pack(folder, {"workloads/kernels/mine.py": b"x = 1\n"})
    with zipfile.ZipFile(io.BytesIO(payload.data)) as archive:
        assert archive.read("workloads/kernels/mine.py") == b"x = 1\n"
    assert payload.sha256 != pack(folder).sha256


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../x", "a//x", "", "a\\x", "c:x", "./x"])
def test_an_extra_file_cannot_leave_the_payload(folder: Path, path: str) -> None:
    with pytest.raises(PayloadError, match="is not a path inside the payload"):
        pack(folder, {path: b""})


def test_an_extra_file_cannot_take_the_place_of_ours(folder: Path) -> None:
    with pytest.raises(PayloadError, match="is already in the payload"):
        pack(folder, {"workloads/__main__.py": b""})


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PayloadError, match="it is not a folder of workloads"):
        pack(tmp_path)


def test_the_real_workloads_are_packed_whole() -> None:
    packed = set(names(pack().data))
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "workloads").rglob("*.py")}
    assert sources <= packed
    assert not [name for name in packed if name.endswith((".yaml", ".pyc"))]


def test_every_python_packs_the_same_bytes(folder: Path) -> None:
    # payload.py and errors.py need nothing but the standard library; other_pythons are 3.7 and up.
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    script += "from pathlib import Path; from harness.payloads.payload import pack\n"
    script += f"print(pack(Path({str(folder)!r})).sha256)"
    expected = pack(folder).sha256
    pythons = [python for python in other_pythons() if _is_new_enough(python)]
    for python in pythons or [Path(sys.executable)]:
        done = subprocess.run(
            [python, "-B", "-c", script], capture_output=True, text=True, timeout=60
        )
        assert done.stdout.strip() == expected, f"{python}: {done.stderr}"


def _is_new_enough(python: Path) -> bool:
    ask = [str(python), "-c", "import sys; raise SystemExit(sys.version_info < (3, 10))"]
    return subprocess.run(ask, timeout=60).returncode == 0
