"""A board that says what cannot be: the real payload behind an interpreter that changes figures.

    inventory.write_text(f"targets: {{local: {{python: {lying_python(tmp_path, LIES)}}}}}")

``LIES`` says what each timing block's first backward time becomes, in the order of the blocks;
blocks after the last lie stay as they were measured.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAM = """#!{python}
import json
import os
import subprocess
import sys

LIES = {lies}
if "follow" not in sys.argv:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
process = subprocess.Popen([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE)
timed = -1
for line in process.stdout:
    record = json.loads(line.lstrip(b"\\x1e"))
    block = json.loads(record.get("line", "{{}}"))
    if block.get("kind") == "timing":
        timed += 1
        if timed < len(LIES):
            block["timing"]["backward"]["times_s"][0] = LIES[timed]
            record["line"] = json.dumps(block) + "\\n"
    sys.stdout.write("\\x1e" + json.dumps(record) + "\\n")
    sys.stdout.flush()
sys.exit(process.wait())
"""


def lying_python(folder: Path, lies: Sequence[float]) -> Path:
    """Write the interpreter and return its path."""
    path = folder / "lying-python"
    path.write_text(PROGRAM.format(python=sys.executable, lies=list(lies)), encoding="utf-8")
    path.chmod(0o755)
    return path
