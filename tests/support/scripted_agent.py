"""An SSH agent that holds what a test says: keys that it signs with, and keys that it cannot use.

    with scripted_agent(Identity(blob, "FIDO"), Identity(key.asbytes(), "mine", key)) as agent:
        agent.path  # for SSH_AUTH_SOCK
        agent.asked  # the public keys that it was asked to sign with, in order

It speaks draft-miller-ssh-agent as far as a client needs to log in.
"""

from __future__ import annotations

import socketserver
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from paramiko.message import Message

_FAILURE = 5
_LIST, _LISTED = 11, 12
_SIGN, _SIGNED = 13, 14


@dataclass(frozen=True)
class Identity:
    """A public key, and the key that signs for it, if any does."""

    blob: bytes
    comment: str
    key: paramiko.PKey | None = None


@dataclass
class Agent:
    """A running agent."""

    path: str
    identities: tuple[Identity, ...]
    asked: list[bytes] = field(default_factory=list)

    def answer(self, request: bytes) -> bytes:
        """Return the answer to one message."""
        message = Message(request)
        kind = message.get_byte()[0]
        if kind == _LIST:
            listed = Message()
            listed.add_byte(bytes([_LISTED]))
            listed.add_int(len(self.identities))
            for identity in self.identities:
                listed.add_string(identity.blob)
                listed.add_string(identity.comment)
            return listed.asbytes()
        if kind == _SIGN:
            blob, data = message.get_binary(), message.get_binary()
            self.asked.append(blob)
            signers = [one.key for one in self.identities if one.blob == blob and one.key]
            if signers:
                signed = Message()
                signed.add_byte(bytes([_SIGNED]))
                signed.add_string(signers[0].sign_ssh_data(data))
                return signed.asbytes()
        return bytes([_FAILURE])


@contextmanager
def scripted_agent(*identities: Identity) -> Iterator[Agent]:
    """Run an agent in threads of this process."""
    # Not in tmp_path: the path of a socket is at most about 100 characters long.
    with tempfile.TemporaryDirectory() as folder:
        agent = Agent(path=str(Path(folder, "agent")), identities=identities)

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while len(size := self.rfile.read(4)) == 4:
                    answer = agent.answer(self.rfile.read(struct.unpack(">I", size)[0]))
                    self.wfile.write(struct.pack(">I", len(answer)) + answer)

        with socketserver.ThreadingUnixStreamServer(agent.path, Conversation) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            try:
                yield agent
            finally:
                server.shutdown()
                thread.join()
