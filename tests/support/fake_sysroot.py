"""A folder that looks like a machine's /sys and /proc, from recorded manifests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def build(root: Path, files: Mapping[str, str]) -> str:
    """Write the files below ``root``; ``!`` marks one that cannot be read, a folder here."""
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("!"):
            continue
        path.write_text(content + "\n")
    _link_class(root, "hwmon")
    return str(root)


def _link_class(root: Path, kind: str) -> None:
    """Link devices under /sys/class as the kernel does; recorded was their real place."""
    for device in sorted((root / "sys/devices").glob(f"**/{kind}/{kind}[0-9]*")):
        link = root / "sys/class" / kind / device.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(device)
