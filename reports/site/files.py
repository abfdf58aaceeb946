"""The files of a site: only what has changed is written, what is no longer made is taken away."""

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
    """Writes pages below a folder and remembers what they were made of.

    ``made_from`` of a page is a hash of all it depends on; a page that was made from the same
    before need not even be rendered.
    """

    def __init__(self, site: Path, state: Path) -> None:
        """Read what the last build left; without that, everything is new."""
        self.site = site
        self.written = 0
        self._path = state / STATE
        self._before = _read(self._path)
        self._now: dict[str, list[str]] = {}

    @property
    def count(self) -> int:
        """How many files the site has."""
        return len(self._now)

    def keep(self, name: str, made_from: str) -> bool:
        """Keep a file as it is if it was made from the same; tell whether that was so."""
        known = self._before.get(name)
        if known is None or known[0] != made_from or not (self.site / name).is_file():
            return False
        self._now[name] = known
        return True

    def made_from(self, name: str) -> str | None:
        """Return what the last build made a file from; None if it made none."""
        known = self._before.get(name)
        return known[0] if known is not None and (self.site / name).is_file() else None

    def keep_all(self, folder: str) -> None:
        """Keep all files below a folder, whoever needs them."""
        self._now.update((n, known) for n, known in self._before.items() if n.startswith(folder))

    def write(self, name: str, text: str, made_from: str = "") -> None:
        """Write a file unless it has this very content already.

        Raises:
            ResultStorageProblem: it cannot be written.
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
                self._path.unlink(missing_ok=True)  # what a crash leaves is built anew
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{secrets.token_hex(4)}")
            beside.write_bytes(content)  # not synced: a site can be built again
            os.replace(beside, path)
        self.written += 1

    def finish(self) -> int:
        """Take away what this build no longer makes, and remember the rest; say how many went.

        Raises:
            ResultStorageProblem: it cannot be written.
        """
        gone = [name for name in self._before if name not in self._now]
        for name in gone:
            with storage(self.site / name):
                (self.site / name).unlink(missing_ok=True)
        text = json.dumps(self._now, separators=(",", ":"))
        write_bytes_atomic(self._path, text.encode())
        return len(gone)


def _read(path: Path) -> Mapping[str, list[str]]:
    """Return what a build left; only names that stay inside the site."""
    try:
        found: Any = json.loads(path.read_text())
        return {
            str(name): [str(part[0]), str(part[1])]
            for name, part in found.items()
            if ".." not in Path(name).parts and not Path(name).is_absolute()
        }
    except (OSError, ValueError, AttributeError, LookupError, TypeError):
        return {}
