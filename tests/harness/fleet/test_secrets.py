"""Secrets in every place that can hold one, and a search through everything that is written.

Two boards of one real sshd: on one a kernel prints its environment and fails, on the other the
interpreter itself does. Both look at the command lines of all processes meanwhile.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from sshd import ClientHome, running_sshd
from tiny_suite import tiny_suite

from reports.results.read import load_run

MAIN = "from harness.cli import main; main()"
SECRETS = {
    "token": "hf_PlantedInTheEnvironment1",
    "auth": "PlantedAsAuthorization2",
    "proxy": "PlantedInTheProxy3",
    "setup": "PlantedInSetup4",
    "word": "planted55in55setup55too",
    "restore": "PlantedInRestore6",
    "power": "PlantedInTheMeter7",
    "store": "PlantedInTheStore8",
}
SENT_TO_BOARDS = set(SECRETS) - {"store"}
SUITE = tiny_suite()
LOOK = """
def look(path):
    import glob

    with open(path, "ab") as seen:
        for name in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(name, "rb") as file:
                    seen.write(file.read() + b"\\n")
            except OSError:
                pass
"""
KERNEL = f"""
import os
import sys

VERSION = "1"
{LOOK}

def available(device, dtype):
    return None


def save(x, weight, geometry, need_x, need_w):
    look(os.environ["SEEN"])
    print(dict(os.environ), file=sys.stderr)
    raise RuntimeError("failed with " + repr(dict(os.environ)))


def gradients(grad_output, x_sum, window, geometry, needs_input_grad):
    raise AssertionError
"""
PYTHON = f"""#!{sys.executable}
import os
import sys
{LOOK}
look(os.environ["SEEN"])
if "follow" in sys.argv:
    for name, value in sorted(os.environ.items(), key=lambda item: item[0] == "HF_TOKEN"):
        print(name + "=" + value, file=sys.stderr)
    sys.exit(3)
os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])
"""


@dataclass(frozen=True, kw_only=True)
class Written:
    """Everything that one run has written anywhere but on its boards, by where that is."""

    run: Path
    texts: dict[str, bytes]
    seen: bytes  # command lines on the boards


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("lab")
    home = ClientHome(folder / "home")
    for name in ("tmp", "board-tmp"):
        (folder / name).mkdir()
    (folder / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    (folder / "leaky.py").write_text(KERNEL, encoding="utf-8")
    python = folder / "python"
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)
    with running_sshd(folder / "board", home) as board:
        home.trust(board)
        address = f"host: {board.host}, port: {board.port}, user: {board.user}"
        (folder / "inventory.yaml").write_text(
            f"""
defaults:
  env:
    HF_TOKEN: {SECRETS["token"]}
    AUTH: {SECRETS["auth"]}
    http_proxy: http://me:{SECRETS["proxy"]}@127.0.0.1:9
    TMPDIR: {folder / "board-tmp"}
    SEEN: {folder / "seen"}
  setup:
    - "PASSWORD={SECRETS["setup"]}; : {SECRETS["word"]}"
  restore:
    - "echo {SECRETS["restore"]} | sudo -S no-such-program-here"
  power: {{command: "API_TOKEN={SECRETS["power"]}; env; while :; do echo 5; sleep 0.1; done"}}
targets:
  leaky: {{{address}, python: {sys.executable}, workdir: {folder / "work-leaky"}}}
  failing: {{{address}, python: {python}, workdir: {folder / "work-failing"}}}
""",
            encoding="utf-8",
        )
        done = subprocess.run(
            [
                *(sys.executable, "-c", MAIN, "run", "-t", "all", "--suite", "tiny.yaml"),
                *("--kernel", "mine=leaky.py", "-o", "results"),
                *("--store", f"file://me:{SECRETS['store']}@localhost/store"),
            ],
            cwd=folder,
            env={**os.environ, **home.environ, "TMPDIR": str(folder / "tmp")},
            capture_output=True,
            timeout=180,
        )
    assert done.returncode == 4, done.stderr.decode()
    (run,) = (folder / "results").glob("2*")
    texts = {"stdout": done.stdout, "stderr": done.stderr}
    for place in ("results", "tmp", f"me:{SECRETS['store']}@localhost", "home/.cache"):
        for path in (folder / place).rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                whole = gzip.decompress(content) if path.suffix == ".gz" else content
                texts[str(path.relative_to(folder)).replace(SECRETS["store"], "")] = whole
    return Written(run=run, texts=texts, seen=(folder / "seen").read_bytes())


def test_everything_that_could_leak_was_written(written: Written) -> None:
    run = load_run(written.run)
    leaky, failing = run.target("leaky"), run.target("failing")
    assert any("failed with" in block.reason for block in leaky.all_blocks)
    assert failing.session.status == "infra"
    assert "ended with status 3: HF_TOKEN=***" in failing.session.reason
    assert any(note.startswith("restore: ") for note in leaky.session.notes)
    for name in ("run.json", "report.html", "session.json", "journal.jsonl", "power-raw.csv.gz"):
        assert any(place.endswith(name) for place in written.texts), name
    assert any("localhost/store" in place for place in written.texts), "nothing was pushed"
    assert b"GFBENCH" in written.seen or b"follow" in written.seen


@pytest.mark.parametrize("planted", SECRETS)
def test_a_secret_is_in_nothing_that_is_written(written: Written, planted: str) -> None:
    secret = SECRETS[planted].encode()
    assert [place for place, text in written.texts.items() if secret in text] == []


@pytest.mark.parametrize("planted", sorted(SENT_TO_BOARDS))
def test_a_secret_is_on_no_command_line_of_a_board(written: Written, planted: str) -> None:
    assert SECRETS[planted].encode() not in written.seen
