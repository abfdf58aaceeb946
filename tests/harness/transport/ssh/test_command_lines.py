"""One command line for every login shell."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from sshd import require_program

from harness.transport.ssh.command_lines import for_any_shell

AWKWARD = (
    "it's",
    "a!b !! !x ^x^y",
    "two\nlines\n",
    "back\\slash \\' \\n \\\\ end\\",
    "$HOME `id` $(id) *?[a] {a,b} ~ #c ;|&<>",
    "a\ttab, ünï, \x01\x7f\udcff",
    "",
    "%s %b %%",
    'a"b',
)


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "fish", "tcsh"])
def test_every_login_shell_hands_on_what_was_meant(shell: str) -> None:
    script = (
        f'set -- {shlex.join(AWKWARD)}\nfor one in "$@"; do printf \'%s|\' "$one"; done\nexit 3'
    )
    command = [require_program(shell), "-c", for_any_shell(script)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    expected = "".join(f"{word}|" for word in AWKWARD).encode("utf-8", "surrogateescape")
    assert (done.stdout, done.stderr, done.returncode) == (expected, b"", 3)
