"""``gfbench list``: show what can be measured, and on what."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.board.doctor import probed
from harness.commands.options import (
    InventoryOption,
    JsonOption,
    TargetOption,
    choose,
    print_rows,
    read_inventory,
)
from harness.plan.suites import built_in_suites, load_suite
from targets.inventory import Inventory, Target, local_target
from targets.platforms import PLATFORMS
from targets.power_plans import plan_power
from targets.sensors.rails import files_of, power_now_w
from workloads.spec.architectures import convolutions
from workloads.spec.kernels import KERNELS
from workloads.spec.layers import LAYERS
from workloads.spec.messages import Layer, Network
from workloads.spec.methods import METHODS
from workloads.spec.networks import NETWORKS, NetworkInfo

Rows = list[dict[str, Any]]


def target_rows(inventory: Inventory | None) -> Rows:
    """Return the inventory's targets, and this machine."""
    known = dict(inventory.targets) if inventory else {}
    known.setdefault("local", local_target(inventory))
    return [
        {
            "name": target.name,
            "host": target.host or "(this machine)",
            "platform": target.platform,
            "tags": " ".join(target.tags),
        }
        for target in known.values()
    ]


def suite_rows() -> Rows:
    """Return the suites that come with gfbench."""
    loaded = [load_suite(name) for name in built_in_suites()]
    return [{"name": suite.name, "description": suite.description} for suite in loaded]


def workload_rows() -> Rows:
    """Return the layers of the catalogue with their shapes, then the networks."""
    layers = [_layer(layer) for layer in LAYERS.values()]
    networks = [_network(info) for info in NETWORKS.values()]
    return [*layers, *networks]


def method_rows() -> Rows:
    """Return the methods with their versions."""
    return _named(METHODS)


def kernel_rows(chosen: Iterable[Target] = (), inventory: Inventory | None = None) -> Rows:
    """Return the kernels with their versions, and on each target where they run and why not.

    Raises:
        TargetError: a target cannot be reached or used.
    """
    rows = [{**row, "methods": " ".join(KERNELS[row["name"]].methods)} for row in _named(KERNELS)]
    for target in chosen:
        reasons = probed(target, inventory, tuple(KERNELS)).facts.kernels
        for row in rows:
            row[target.name] = _availability(reasons.get(row["name"]))
    return rows


def _availability(reasons: Mapping[str, str | None] | None) -> str:
    """Return ``cpu: yes; cuda: torch sees no CUDA device``."""
    if not reasons:
        return "unknown"
    return "; ".join(f"{device}: {reason or 'yes'}" for device, reason in reasons.items())


def platform_rows() -> Rows:
    """Return the platforms that gfbench knows."""
    return [{"name": name} for name in PLATFORMS]


def sensor_rows(chosen: Iterable[Target], inventory: Inventory | None) -> Rows:
    """Ask targets for their power rails; a target without any gets a row that says why.

    Raises:
        TargetError: a target cannot be reached or used.
    """
    return [row for target in chosen for row in _rails(target, inventory)]


def _rails(target: Target, inventory: Inventory | None) -> Rows:
    probe = probed(target, inventory)
    plan = plan_power(probe.platform, probe.document, target.power.kind, target.power.argument)
    files = files_of(probe.document)
    rows = [
        {
            "target": target.name,
            "rail": rail.name,
            "kind": rail.kind,
            "in total": "yes" if rail.name in plan.total else "no",
            "now": _watts(power_now_w(plan, rail, files)),
            "scope": plan.scope or "",
            "note": plan.source or "",
        }
        for rail in plan.rails
    ]
    for missing in plan.missing:
        note = f"{missing.reason} — {missing.remedy}"
        cells = {"rail": missing.what, "kind": "missing", "in total": "no", "now": "", "scope": ""}
        rows.append({"target": target.name, **cells, "note": note})
    return rows


def _watts(power_w: float | None) -> str:
    return "" if power_w is None else f"{power_w:.3f} W"


def _layer(layer: Layer) -> dict[str, Any]:
    weights = layer.out_channels * layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return {
        "name": layer.name,
        "what": "layer",
        "input": f"{layer.height}x{layer.width}",
        "parameters": weights + layer.out_channels * layer.bias,
        "convolutions": 1,
        "channels": f"{layer.in_channels}->{layer.out_channels}",
        "kernel": _pair(layer.kernel_size),
        "stride": _pair(layer.stride),
        "padding": _pair(layer.padding),
        "dilation": _pair(layer.dilation),
        "groups": layer.groups,
    }


def _network(info: NetworkInfo) -> dict[str, Any]:
    size = info.input_size
    network = Network(info.name, info.name, size, size, info.num_classes)
    row = dict.fromkeys(_layer(convolutions(network)[0]), "")
    return {
        **row,
        "name": info.name,
        "what": info.label,
        "input": f"{size}x{size}",
        "parameters": info.parameters,
        "convolutions": len(convolutions(network)),
    }


def _pair(pair: Sequence[int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def _named(table: Mapping[str, Any]) -> Rows:
    return [
        {"name": name, "version": item.version, "description": item.description}
        for name, item in table.items()
    ]


app = typer.Typer()


class Listed(str, Enum):
    """What ``gfbench list`` can list."""

    targets = "targets"
    suites = "suites"
    workloads = "workloads"
    methods = "methods"
    kernels = "kernels"
    platforms = "platforms"
    sensors = "sensors"


@app.command("list", epilog="Example: gfbench list workloads")
def list_(
    what: Annotated[Listed, typer.Argument(help="what to list")] = Listed.targets,
    target: TargetOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List targets, suites, workloads, methods, kernels, platforms or sensors."""
    rows = _listed(what, inventory, target)
    if as_json:
        print(json.dumps([dict(row) for row in rows], indent=1))
        return
    print_rows(rows)


def _listed(what: Listed, path: Path | None, selectors: Sequence[str] | None) -> Rows:
    if what is Listed.targets:
        return target_rows(read_inventory(path))
    if what is Listed.sensors:
        parsed, targets = choose(path, selectors or ["local"])
        return sensor_rows(targets, parsed)
    if what is Listed.kernels and selectors:
        parsed, targets = choose(path, selectors)
        return kernel_rows(targets, parsed)
    plain: dict[Listed, Callable[[], Rows]] = {
        Listed.suites: suite_rows,
        Listed.workloads: workload_rows,
        Listed.methods: method_rows,
        Listed.kernels: kernel_rows,
        Listed.platforms: platform_rows,
    }
    return plain[what]()
