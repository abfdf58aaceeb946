"""How a block's process hands its result to the runner: through a descriptor of the runner's.

The descriptor is of a file without a name, and what is written to it begins with a word that the
runner has drawn for this block alone. A file in the run's folder could be written by anything that
runs there, a kernel that is being measured included.
"""

import binascii
import os
import tempfile
from typing import Any, Dict, Optional

from workloads.messages import dump, loads

VARIABLE = "GFBENCH_RESULT"  # descriptor and word, in the environment of the block's process


class ForgedResult(Exception):
    """Something else than the block wrote to the descriptor."""


class Handover:
    """The runner's end: one for all blocks, a word for each."""

    def __init__(self, folder: str) -> None:
        """Open the file; its name is gone at once."""
        self.fd, path = tempfile.mkstemp(dir=folder)
        os.unlink(path)
        os.set_inheritable(self.fd, True)
        self._word = ""

    def expect(self) -> str:
        """Forget what is there and return what the next block's process needs."""
        os.ftruncate(self.fd, 0)
        self._word = binascii.hexlify(os.urandom(16)).decode("ascii")
        return "%d:%s" % (self.fd, self._word)

    def take(self) -> Optional[Dict[str, Any]]:
        """Return the result; None where nothing was handed over.

        Raises:
            ForgedResult: what is there is not one result of this block.
        """
        size = os.fstat(self.fd).st_size
        if not size:
            return None
        word, _, rest = os.pread(self.fd, size, 0).partition(b"\n")
        body, end, beyond = rest.partition(b"\n")
        if word.decode("ascii", "replace") != self._word or not end or beyond:
            raise ForgedResult("something other than gfbench wrote to the block's result")
        try:
            result = loads(body.decode("ascii", "replace"))
        except (ValueError, RecursionError):
            result = None
        if not isinstance(result, dict) or "status" not in result:
            raise ForgedResult("the block's result is not a record")
        return result

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def hand_over(result: Dict[str, Any], address: str) -> None:
    """Write a block's result to the runner's descriptor; ``address`` is of ``Handover.expect``."""
    fd, _, word = address.partition(":")
    view = memoryview(("%s\n%s\n" % (word, dump(result))).encode("ascii"))
    place = 0
    while view:
        written = os.pwrite(int(fd), view, place)
        view, place = view[written:], place + written
