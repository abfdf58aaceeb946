"""How a block's process hands its result to the runner: through a descriptor that this has opened.

The descriptor belongs to a file without a name, and the result begins with a random token that the
runner has drawn for this block alone. A file in the run's folder could be written by anything that
runs there, a kernel that is being measured included.
"""

import binascii
import os
import tempfile
from typing import Any, Dict, Optional

from workloads.spec.messages import dump, loads

VARIABLE = "GFBENCH_RESULT"  # descriptor and token, in the environment of the block's process


class ForgedResult(Exception):
    """Something other than the block wrote to the descriptor."""


class Handover:
    """The runner's end: one file for all blocks, with a token for each."""

    def __init__(self, folder: str) -> None:
        """Open a file in this folder and remove its name."""
        self.fd, path = tempfile.mkstemp(dir=folder)
        os.unlink(path)
        os.set_inheritable(self.fd, True)
        self._token = ""

    def expect(self) -> str:
        """Empty the file and return the address that the next block's process needs."""
        os.ftruncate(self.fd, 0)
        self._token = binascii.hexlify(os.urandom(16)).decode("ascii")
        return "%d:%s" % (self.fd, self._token)

    def take(self) -> Optional[Dict[str, Any]]:
        """Return the result; None where nothing was handed over.

        Raises:
            ForgedResult: the file does not hold exactly one result of this block.
        """
        size = os.fstat(self.fd).st_size
        if not size:
            return None
        token, _, rest = os.pread(self.fd, size, 0).partition(b"\n")
        body, end, beyond = rest.partition(b"\n")
        if token.decode("ascii", "replace") != self._token or not end or beyond:
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
    """Write a block's result to the address that ``Handover.expect`` returned."""
    fd, _, token = address.partition(":")
    content = memoryview(("%s\n%s\n" % (token, dump(result))).encode("ascii"))
    offset = 0
    while offset < len(content):
        offset += os.pwrite(int(fd), content[offset:], offset)
