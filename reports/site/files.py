"""The files of a site: only changed ones are written; those not made any more are deleted."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.results.write import storage, write_bytes_atomic

STATE = "state.json"


class SiteFiles:
    """Writes pages below a folder and remembers what each was made from.

    ``made_from`` is a hash of everything that a page depends on; if it has not changed, the page
    does not have to be rendered.
    """

    def __init__(self, site: Path, state: Path) -> None:
        """Read the state of the last build; without it, everything is written."""
        self.site = site
        self.written = 0
        self._path = state / STATE
        self._before = _read(self._path)
        self._now: dict[str, list[str]] = {}

    @property
    def count(self) -> int:
        """The number of files of the site."""
        return len(self._now)

    def keep(self, name: str, made_from: str) -> bool:
        """Keep a file if it was made from the same; return whether it was."""
        known = self._before.get(name)
        if known is None or known[0] != made_from or not (self.site / name).is_file():
            return False
        self._now[name] = known
        return True

    def made_from(self, name: str) -> str | None:
        """Return what the last build made a file from; None if the file does not exist."""
        known = self._before.get(name)
        return known[0] if known is not None and (self.site / name).is_file() else None

    def keep_all(self, folder: str) -> None:
        """Keep all existing files below a folder."""
        self._now.update((n, known) for n, known in self._before.items() if n.startswith(folder))

    def write(self, name: str, text: str, made_from: str = "") -> None:
        """Write a file unless it has this content already.

        Raises:
            StorageError: the file cannot be written.
        """
        content = text.encode("utf-8", "replace")
        digest = hashlib.sha256(content).hexdigest()[:32]
        known = self._before.get(name)
        self._now[name] = [made_from, digest]
        path = self.site / name
        if known is not None and known[1] == digest and path.is_file():
            return
        with storage(path):
            if self.written == 0:
                self._path.unlink(missing_ok=True)  # after a crash, everything is built again
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{secrets.token_hex(4)}")
            beside.write_bytes(content)  # not synced: a site can be built again
            os.replace(beside, path)
        self.written += 1

    def finish(self) -> int:
        """Delete the files that this build did not make, save the state; return how many they were.

        Raises:
            StorageError: the state cannot be written, or a file cannot be deleted.
        """
        gone = [name for name in self._before if name not in self._now]
        for name in gone:
            with storage(self.site / name):
                (self.site / name).unlink(missing_ok=True)
        text = json.dumps(self._now, separators=(",", ":"))
        write_bytes_atomic(self._path, text.encode())
        return len(gone)


def _read(path: Path) -> Mapping[str, list[str]]:
    """Return the state of the last build, without names that lead out of the site."""
    try:
        state: Any = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): [str(entry[0]), str(entry[1])]
            for name, entry in state.items()
            if ".." not in Path(name).parts and not Path(name).is_absolute()
        }
    except (OSError, ValueError, AttributeError, LookupError, TypeError):
        return {}
