"""RAPL energy counters of x86 processors, as the kernel's powercap shows them.

Zones go by their name, never by their number: dram may be sub-zone 0, 1 or 2. psys contains the
packages, a package contains core and uncore, intel-rapl-mmio is a package again, and dies of one
package may mirror each other: none of these is added to what it repeats.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from targets.sensors.rails import Files, Missing, Reading, SensedRail, folders, number_of, text_of

GRANT = (
    "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj"
    "  (until the next boot; it opens a side channel, so only on hosts you trust; or run as root)"
)
STEP_J = 6.1e-5  # the usual unit, 2^-14 J
UPDATE_S = 0.001
TOLERANCE = 0.05  # a model on older processors, measured on newer ones
MIRROR_J = 1.0  # two counters closer than this show the same energy

_ZONE = re.compile(r"intel-rapl(-mmio)?:([^:/]+)(?::([^:/]+))?")


@dataclass(frozen=True, kw_only=True)
class Zone:
    """One counter."""

    name: str
    folder: str
    parent: str | None
    mmio: bool
    energy: Reading
    wrap_j: float | None

    @property
    def package(self) -> bool:
        """Return whether this is a whole processor package (or one of its dies)."""
        return self.parent is None and self.name.startswith("package")


def zones(files: Files) -> tuple[Zone, ...]:
    """Return the zones that have a name, each once, whether readable or not."""
    zones_by_folder: dict[str, Zone] = {}
    for folder, content in folders(files).items():
        base = folder.rpartition("/")[2]
        match, name = _ZONE.fullmatch(base), text_of(content, "name")
        if match is None or name is None or base in zones_by_folder:
            continue
        wrap_uj = number_of(content, "max_energy_range_uj")
        zones_by_folder[base] = Zone(
            name=name,
            folder=base,
            parent=base.rpartition(":")[0] if match[3] else None,
            mmio=match[1] is not None,
            energy=Reading(path=f"{folder}/energy_uj", unit="uJ", raw=content.get("energy_uj")),
            wrap_j=wrap_uj * 1e-6 if wrap_uj else None,
        )
    return tuple(zones_by_folder.values())


def rapl_rails(files: Files) -> tuple[tuple[SensedRail, ...], tuple[str, ...], tuple[Missing, ...]]:
    """Return the rails, the names of those that make the total, and what is left out and why.

    The total is every package, and every dram that answers, each once; none without a package.
    """
    everything = zones(files)
    msr = {zone.name for zone in everything if zone.package and not zone.mmio}
    kept = [zone for zone in everything if not (zone.mmio and (zone.name in msr or zone.parent))]
    names = _names(kept)
    mirrors = _mirrors([zone for zone in kept if zone.package])
    rails, total, missing = [], [], []
    for zone in kept:
        if zone.folder in mirrors:
            reason = f"repeats the energy of {mirrors[zone.folder].name} (a mirrored die)"
            missing.append(
                Missing(
                    what=names[zone.folder],
                    reason=reason,
                    remedy="Nothing to do: it is not counted twice.",
                )
            )
            continue
        rails.append(_rail(zone, names[zone.folder]))
        memory = zone.name == "dram" and zone.energy.fault is None
        if zone.package or (memory and zone.parent not in mirrors):
            total.append(names[zone.folder])
    if not any(zone.package for zone in kept):
        total.clear()
    return tuple(rails), tuple(total), tuple(missing)


def energy_j(readings_j: Sequence[float], wrap_j: float | None) -> float | None:
    """Return the energy over consecutive readings of one counter that may wrap.

    None where there are fewer than two readings, or where the counter fell by an amount that one
    wrap does not explain (a reset, or an unknown range).
    """
    if len(readings_j) < 2:
        return None
    total_j = 0.0
    for before_j, after_j in itertools.pairwise(readings_j):
        step_j = after_j - before_j
        if step_j < 0:
            if wrap_j is None or not 0 <= step_j + wrap_j <= wrap_j / 2:
                return None
            step_j += wrap_j
        total_j += step_j
    return total_j


def _rail(zone: Zone, name: str) -> SensedRail:
    return SensedRail(
        name=name,
        sensor="powercap",
        kind="energy",
        readings=(zone.energy,),
        resolution=(STEP_J,),
        tolerance=TOLERANCE,
        update_interval_s=UPDATE_S,
        wrap_j=zone.wrap_j,
    )


def _names(kept: Sequence[Zone]) -> dict[str, str]:
    """Name each zone; a sub-zone's name holds its package's where there are several packages."""
    of_folder = {zone.folder: zone.name for zone in kept}
    several = sum(zone.package for zone in kept) > 1
    names: dict[str, str] = {}
    for zone in kept:
        inner = several and zone.parent in of_folder
        name = f"{of_folder[zone.parent or '']}/{zone.name}" if inner else zone.name
        names[zone.folder] = name if name not in names.values() else f"{name} ({zone.folder})"
    return names


def _mirrors(packages: Sequence[Zone]) -> dict[str, Zone]:
    """Find packages that show the energy of an earlier one: folder -> the earlier one."""
    mirrors: dict[str, Zone] = {}
    for index, zone in enumerate(packages):
        for earlier in packages[:index]:
            one_j, other_j = zone.energy.value, earlier.energy.value
            if one_j and other_j and abs(one_j - other_j) <= MIRROR_J:
                mirrors.setdefault(zone.folder, mirrors.get(earlier.folder, earlier))
    return mirrors
