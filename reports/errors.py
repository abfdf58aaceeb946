"""The root of every error that a user is to read, below all that raises one."""

from __future__ import annotations


class GfbenchError(Exception):
    """What went wrong and what to do about it, in words for the user."""

    exit_code = 2
