r"""A command line that every login shell reads alike: sh, bash, dash, zsh, fish and tcsh.

sshd hands the line to the user's login shell. In single quotes fish takes \' for an escape, and
tcsh neither a line's end nor an exclamation mark. So these characters never reach the shell: the
line is one sh with a word of harmless ones, which it decodes and runs.
"""

from __future__ import annotations

import re

_DECODE = 'eval "$(printf %b "$1")"'
_NOT_HARMLESS = re.compile(rb"(?:[^ -~]|['\\!])+")


def for_any_shell(script: str) -> str:
    """Return the command line that runs a script of sh, whatever the login shell."""
    word = _NOT_HARMLESS.sub(_escaped, script.encode("utf-8", "surrogateescape")).decode("ascii")
    return f"exec sh -c '{_DECODE}' sh '{word}'"


def _escaped(found: re.Match[bytes]) -> bytes:
    r"""Close the quotes, write \\0NNN of each byte, and open them again.

    Outside of quotes two backslashes are one in every shell; printf %b reads \0NNN as a byte.
    """
    return b"'" + b"".join(b"\\\\0%03o" % byte for byte in found[0]) + b"'"
