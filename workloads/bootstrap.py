"""What a board's Python runs before the payload is there, and where the payload is not needed.

The controller reads this file as text and sends it with ``python -c``. It also runs on Pythons
that are too old for the payload, 2.7 included, so that the controller can name their version:

prepare WORKDIR PAYLOAD JOB    make the job's folder (no JOB: the workdir), say what is there
make-folder PATH               make a folder unless it is there
remove PATH                    remove a folder with all that is in it
digest PATH                    say a file's size and SHA-256; null for both where there is none
"""

import hashlib
import json
import os
import shutil
import sys
import time

CHUNK_BYTES = 1 << 20
RECORD_SEPARATOR = chr(30)  # of workloads.spec.messages, which is not on the board yet


def main(arguments):  # type: (list[str]) -> None
    """Run one command."""
    command = arguments[0]
    if command == "prepare":
        answer = prepare(arguments[1], arguments[2], arguments[3])
        sys.stdout.write(RECORD_SEPARATOR + json.dumps(answer) + "\n")
    elif command == "make-folder":
        make_folder(arguments[1])
    elif command == "remove":
        shutil.rmtree(arguments[1])
    elif command == "digest":
        sys.stdout.write(RECORD_SEPARATOR + json.dumps(digest(arguments[1])) + "\n")
    else:
        sys.exit("no such command: " + command)


def prepare(workdir, payload, job):  # type: (str, str, str) -> dict[str, object]
    """Make the folders; returns the Python's version, the payload's hash, the journal's size.

    Where they cannot be made, or nothing can be written there, ``error`` says why. ``wall_s`` is
    the board's clock before anything that takes its time.
    """
    workdir = os.path.abspath(os.path.expanduser(workdir))
    folder = os.path.join(workdir, "jobs", job) if job else workdir
    answer = {
        "type": "bootstrap",
        "workdir": workdir,
        "python": list(sys.version_info[:3]),
        "wall_s": time.time(),
        "error": why_not_writable(folder),
        "sha256": None,
        "journal": None,
    }
    path = os.path.join(workdir, payload)
    if os.path.exists(path):
        with open(path, "rb") as file:
            answer["sha256"] = hashlib.sha256(file.read()).hexdigest()
    journal = os.path.join(folder, "journal.jsonl")
    if os.path.exists(journal):
        answer["journal"] = os.path.getsize(journal)
    return answer


def why_not_writable(folder):  # type: (str) -> str | None
    """Make a folder unless it is there; returns why nothing can be written there, if so."""
    try:
        make_folder(folder)
    except OSError as error:
        return "%s: %s" % (error.filename or folder, error.strerror)
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    return folder + ": its filesystem is read-only, or it belongs to another user"


def digest(path):  # type: (str) -> dict[str, object]
    """Return a file's size and hash."""
    if not os.path.exists(path):
        return {"type": "digest", "bytes": None, "sha256": None}
    sha256 = hashlib.sha256()
    size = 0
    with open(path, "rb") as file:
        chunk = file.read(CHUNK_BYTES)
        while chunk:
            sha256.update(chunk)
            size += len(chunk)
            chunk = file.read(CHUNK_BYTES)
    return {"type": "digest", "bytes": size, "sha256": sha256.hexdigest()}


def make_folder(path):  # type: (str) -> None
    """Make a folder that only its owner may enter, unless it is there."""
    if not os.path.isdir(path):
        os.makedirs(path, 0o700)


if __name__ == "__main__":
    main(sys.argv[1:])
