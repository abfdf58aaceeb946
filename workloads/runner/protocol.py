"""The payload's own standard output: records only, whatever anything else prints."""

import os
from typing import Any

from workloads.spec.messages import frame


class RecordWriter:
    """Writes framed records to the real standard output; everything else goes to standard error.

    The real descriptor is taken away before anything can print, so a stray print, even one from
    C code, cannot get between two records.
    """

    def __init__(self) -> None:
        """Keep the real standard output and point descriptor 1 at standard error."""
        self._fd = os.dup(1)
        os.dup2(2, 1)

    def write(self, record: Any) -> None:
        """Send one record; raises OSError when nobody listens any more."""
        view = memoryview(frame(record))
        while view:
            view = view[os.write(self._fd, view) :]
