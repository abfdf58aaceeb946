"""What a target's entry keeps secret: masked in all that is written, and left out of run.json."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from reports.text.masking import (
    MASK,
    is_secret_name,
    keep_command,
    keep_environment,
    masked,
)
from targets.inventory import Target


def keep_secrets(target: Target) -> None:
    """Mask from now on what the target's entry has to keep secret."""
    keep_environment(target.env)
    for command in (*target.setup, *target.restore):
        keep_command(command)
    if target.power.argument is not None:
        keep_command(target.power.argument)


def public_entry(target: Target) -> dict[str, Any]:
    """Return the target for run.json: secrets masked, of the key file only the name."""
    keep_secrets(target)
    power = target.power
    key_file = target.identity_file
    return {
        **{key: getattr(target, key) for key in Target.__dataclass_fields__},
        "identity_file": PurePath(key_file).name if key_file is not None else None,
        "power": power.kind if power.argument is None else {power.kind: masked(power.argument)},
        "env": {
            name: MASK if is_secret_name(name) else masked(value)
            for name, value in target.env.items()
        },
        "labels": dict(target.labels),
        "tags": list(target.tags),
        "setup": [masked(command) for command in target.setup],
        "restore": [masked(command) for command in target.restore],
    }
