"""Suites: YAML files that say which workloads, methods and kernels are measured, and how.

Built-in suites lie in workloads/suites; a path to a file of one's own works as well.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)

import workloads
from harness.errors import PlanError
from reports.results.read import ResultError
from targets.inventory.yaml_lines import YamlDocument, YamlProblem, read_yaml
from workloads.spec.architectures import trained_convolutions
from workloads.spec.kernels import KERNELS, KernelInfo
from workloads.spec.layers import LAYERS
from workloads.spec.messages import (
    DTYPE_BYTES,
    OPTIMIZERS,
    Case,
    Layer,
    Network,
    Workload,
    layer_from_json,
    network_from_json,
)
from workloads.spec.methods import BASELINE, DEFAULT, METHODS, PAPER_MODE
from workloads.spec.networks import NETWORKS
from workloads.spec.refusals import NETWORK_DTYPES

SUITES_FOLDER = Path(workloads.__file__).parent / "suites"
MAX_SUITE_BYTES = 1_000_000
LISTS = ("methods", "patch_sizes", "kernels", "devices", "dtypes", "batches")
EXACT_KERNELS = tuple(name for name, kernel in KERNELS.items() if BASELINE in kernel.methods)
FILTERED_KERNELS = tuple(
    name for name, kernel in KERNELS.items() if set(kernel.methods) - {BASELINE}
)
# What a network is compared with where no suite says so; compiling takes minutes for each block.
NETWORK_EXACT_KERNELS = tuple(
    name for name in EXACT_KERNELS if "network" in KERNELS[name].workloads and name != "compiled"
)


def _per_axis(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return (value, value) if isinstance(value, int) else value


def _absolute(path: str) -> str:
    if path and not path.startswith("/"):
        raise ValueError("a file on the board is named by its whole path, such as /data/a.pt")
    return path


Pair = Annotated[tuple[int, int], BeforeValidator(_per_axis)]
PatchSize = Annotated[int, Field(ge=1, le=64)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,120}$")]
# What somebody may look for at a workload, and where it is said.
_SAID_ELSEWHERE = {
    "batch": "`batches:` of the suite says it for all of its workloads",
    "dtype": f"`dtypes:` of the suite says it: {' or '.join(NETWORK_DTYPES)} for networks",
    "autocast": f"networks are measured in {' or '.join(NETWORK_DTYPES)}, without autocast",
}


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What is to be measured; every name in it exists."""

    name: str
    description: str
    layers: tuple[Layer, ...] = ()
    networks: tuple[Network, ...] = ()
    methods: tuple[str, ...]
    patch_sizes: tuple[int, ...]
    kernels: tuple[str, ...]
    devices: tuple[str, ...]
    dtypes: tuple[str, ...]
    batches: tuple[int, ...]
    rounds: int
    memory_rounds: int
    fidelity_rounds: int
    isolation: str
    min_window_s: float
    block_timeout_s: float
    energy: bool = False  # windows long enough for energy, idle power before and after
    exact_kernels: tuple[str, ...] = EXACT_KERNELS  # of the baseline; the fastest counts
    pilot: int = 0  # after round 0, time only so many exact kernels of a network, the fastest
    roofline: bool = False  # the machine's bandwidths and rate, for the floor under each case
    sentinel: bool = True  # a small fixed case every round, which shows whether the machine moved
    own_kernels: tuple[KernelInfo, ...] = ()  # the user's, by file or by a second name
    revisions: tuple[str, ...] = ()  # each case once by each revision's payload
    checked_revisions: tuple[str, ...] = ()  # those that know the check, so before any timing

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """Return the layers, then the networks."""
        return (*self.layers, *self.networks)

    @property
    def probed_kernels(self) -> tuple[str, ...]:
        """Return the kernels that a board is asked whether it can run them."""
        if not self.networks:
            return self.kernels
        of_networks = [
            name for name in self.exact_kernels if "layer" not in KERNELS[name].workloads
        ]
        return tuple(dict.fromkeys((*self.kernels, *of_networks)))

    def kernel(self, name: str) -> KernelInfo:
        """Return what is known of a kernel, ours or the user's."""
        return next((own for own in self.own_kernels if own.name == name), None) or KERNELS[name]

    def is_checked(self, case: Case) -> bool:
        """Return whether a board has to check the case's kernel first: all that claim gradients."""
        if METHODS[case.method].exact or not METHODS[case.method].usable:
            return False
        if case.revision:
            checks_it = case.method == DEFAULT  # all that the first revisions with a check knew
            return checks_it and case.revision in self.checked_revisions
        return True


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the command line says instead of the suite; None keeps the suite's."""

    workloads: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    patch_sizes: Sequence[int] | None = None
    kernels: Sequence[str] | None = None
    devices: Sequence[str] | None = None
    dtypes: Sequence[str] | None = None
    batches: Sequence[int] | None = None
    rounds: int | None = None
    min_window_s: float | None = None
    energy: bool | None = None
    own_kernels: Sequence[KernelInfo] = ()
    paper_mode: bool = False


class _LayerEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name
    in_channels: Count
    out_channels: Count
    height: Count
    width: Count
    kernel_size: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (1, 1)
    dilation: Pair = (1, 1)
    groups: Count = 1
    bias: bool = True

    def layer(self) -> Layer:
        """Return the wire form of this layer."""
        return Layer(**self.model_dump())


def _trained_kind(value: Any) -> str:
    return "(names)" if isinstance(value, list) else "(text)"


class _NetworkEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    network: Literal[tuple(NETWORKS)]  # type: ignore[valid-type]
    name: Name | None = None
    input_size: Annotated[tuple[Count, Count], BeforeValidator(_per_axis)] | None = None
    num_classes: Count | None = None
    trained: Annotated[
        Annotated[str, Tag("(text)")] | Annotated[list[ModuleName], Tag("(names)")],
        Discriminator(_trained_kind),
    ] = "all"
    patch_sizes: dict[ModuleName, PatchSize] = {}
    batch_norm: Literal["frozen", "trained"] = "frozen"
    optimizer: Literal[OPTIMIZERS] = "none"  # type: ignore[valid-type]
    channels: Annotated[float, Field(gt=0, le=8)] = 1.0
    weights: Annotated[str, AfterValidator(_absolute)] = ""

    def wire(self) -> Network:
        """Return the wire form of this network; its name says what differs from others."""
        info = NETWORKS[self.network]
        height, width = self.input_size or (info.input_size, info.input_size)
        trained = self.trained if isinstance(self.trained, str) else tuple(self.trained)
        return Network(
            name=self.name or _network_name(self.network, (height, width), trained),
            architecture=self.network,
            height=height,
            width=width,
            num_classes=self.num_classes or info.num_classes,
            trained=trained,
            patch_sizes=tuple(self.patch_sizes.items()),
            frozen_batch_norm=self.batch_norm == "frozen",
            optimizer=self.optimizer,
            channels=self.channels,
            weights=self.weights,
        )


def _network_name(network: str, size: tuple[int, int], trained: str | tuple[str, ...]) -> str:
    """Return ``mobilenet_v2-96-last4``."""
    shape = str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
    chosen = trained.replace(":", "") if isinstance(trained, str) else f"{len(trained)}named"
    return f"{network}-{shape}-{chosen}"


# Tags stand in the places that pydantic reports; in brackets they are no keys of a file.
def _entry_kind(value: Any) -> str:
    if not isinstance(value, dict):
        return "(name)"
    return "(network)" if "network" in value else "(layer)"


_Entry = Annotated[
    Annotated[str, Tag("(name)")]
    | Annotated[_LayerEntry, Tag("(layer)")]
    | Annotated[_NetworkEntry, Tag("(network)")],
    Discriminator(_entry_kind),
]


class _SuiteFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    description: str = ""
    workloads: Annotated[list[_Entry], Field(min_length=1)]
    methods: Annotated[list[str], Field(min_length=1)] = [BASELINE, DEFAULT]
    patch_sizes: Annotated[list[PatchSize], Field(min_length=1)] = [2, 4]
    kernels: Annotated[list[str], Field(min_length=1)] = ["torch"]
    exact_kernels: Annotated[list[str], Field(min_length=1)] = list(EXACT_KERNELS)
    pilot: Annotated[int, Field(ge=0, le=100)] = 0
    devices: Annotated[list[str], Field(min_length=1)] = ["auto"]
    dtypes: Annotated[list[str], Field(min_length=1)] = ["float32"]
    batches: Annotated[list[Count], Field(min_length=1)] = [1]
    rounds: Count = 8
    memory_rounds: Annotated[int, Field(ge=0)] | None = None
    fidelity_rounds: Annotated[int, Field(ge=0)] | None = None
    isolation: Literal["spawn", "fork"] = "spawn"
    min_window_s: Annotated[float, Field(gt=0, le=86400)] = 1.0
    block_timeout_s: Annotated[float, Field(gt=0, le=86400)] = 1800.0
    energy: bool = False
    roofline: bool = False
    sentinel: bool = True


def built_in_suites() -> dict[str, Path]:
    """Return the name and file of each suite that comes with gfbench."""
    paths = sorted(SUITES_FOLDER.glob("*.yaml"), key=lambda path: path.stem)
    return {path.stem: path for path in paths}


def load_suite(name: str, overrides: Overrides | None = None) -> Suite:
    """Read a built-in suite by name, or a file by path, and apply the command line to it.

    Raises:
        PlanError: no such suite, or something in it or in the overrides cannot be.
    """
    path = built_in_suites().get(name, Path(name))
    if not path.is_file():
        known = ", ".join(built_in_suites())
        raise PlanError(
            f"there is no suite {name!r} — choose from {known}, or give the path of a YAML file"
        )
    entry, document = _parse(path)
    rounds = entry.rounds
    chosen = _workloads(entry.workloads, path, document)
    suite = Suite(
        name=path.stem,
        layers=tuple(w for w in chosen if isinstance(w, Layer)),
        networks=tuple(w for w in chosen if isinstance(w, Network)),
        pilot=entry.pilot,
        **{
            field: tuple(dict.fromkeys(getattr(entry, field)))
            for field in (*LISTS, "exact_kernels")
        },
        rounds=rounds,
        memory_rounds=rounds if entry.memory_rounds is None else entry.memory_rounds,
        fidelity_rounds=rounds if entry.fidelity_rounds is None else entry.fidelity_rounds,
        description=entry.description,
        isolation=entry.isolation,
        min_window_s=entry.min_window_s,
        block_timeout_s=entry.block_timeout_s,
        energy=entry.energy,
        roofline=entry.roofline,
        sentinel=entry.sentinel,
    )
    return _checked(_overridden(suite, overrides or Overrides()), str(path))


def suite_from_json(data: Any) -> Suite:
    """Return the suite that a run's run.json holds.

    Raises:
        ResultError: it holds none.
    """
    try:
        fields = {name: data[name] for name in Suite.__dataclass_fields__ if name in data}
        layers = tuple(layer_from_json(layer) for layer in fields.pop("layers"))
        networks = tuple(network_from_json(network) for network in fields.pop("networks", ()))
        own = tuple(_kernel_from_json(kernel) for kernel in fields.pop("own_kernels", ()))
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return Suite(layers=layers, networks=networks, own_kernels=own, **{**fields, **lists})
    except (TypeError, KeyError, AttributeError) as error:
        raise ResultError(f"run.json does not hold a complete suite: {error!r}") from None


def _kernel_from_json(data: Any) -> KernelInfo:
    fields: dict[str, Any] = {name: data[name] for name in KernelInfo._fields}
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return KernelInfo(**{**fields, **lists})


def _parse(path: Path) -> tuple[_SuiteFile, YamlDocument]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SUITE_BYTES).decode("utf-8-sig")
        document = read_yaml(text)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PlanError(f"{path}: is not UTF-8 text") from None
    except YamlProblem as problem:
        raise PlanError(_complaint(path, problem)) from None
    if document.problems:
        raise PlanError("\n".join(_complaint(path, problem) for problem in document.problems))
    if not isinstance(document.data, dict):
        raise PlanError(f"{path}: a suite must be a mapping with at least the key `workloads:`")
    try:
        return _SuiteFile.model_validate(document.data), document
    except ValidationError as error:
        complaints = (_schema_complaint(path, document, item) for item in error.errors())
        raise PlanError("\n".join(dict.fromkeys(complaints))) from None


def _complaint(path: Path, problem: YamlProblem) -> str:
    where = str(path) if problem.line is None else f"{path}:{problem.line}"
    key = f"{problem.key}: " if problem.key else ""
    return f"{where}: {key}{problem.message} — {problem.remedy}"


def _schema_complaint(path: Path, document: YamlDocument, item: Any) -> str:
    """Return file, line, key and what is wrong, without pydantic's own names for branches."""
    key: tuple[str | int, ...] = ()
    for part in item["loc"]:
        if (*key, part) in document.lines:
            key = (*key, part)
    line = document.line_of(key)
    last = item["loc"][-1]
    if item["type"] == "missing":
        key = (*key, last)
    remedy = ""
    if item["type"] == "extra_forbidden" and last in _SAID_ELSEWHERE:
        remedy = f" — {_SAID_ELSEWHERE[last]}"
    where = str(path) if line is None else f"{path}:{line}"
    return f"{where}: {'.'.join(str(part) for part in key)}: {item['msg']}{remedy}"


def _workloads(
    entries: Sequence[str | _LayerEntry | _NetworkEntry], path: Path, document: YamlDocument
) -> tuple[Workload, ...]:
    """Return the workloads of a suite's entries, each name once.

    Raises:
        PlanError: there is no such workload, a network has no such convolutions, or two networks
            have one name.
    """
    workloads: dict[str, Workload] = {}
    for index, entry in enumerate(entries):
        if isinstance(entry, _LayerEntry):
            workloads[entry.name] = entry.layer()
        elif isinstance(entry, _NetworkEntry):
            network = entry.wire()
            problem = _network_problem(network, workloads)
            if problem:
                wrong = re.split(r"\W", problem)[0]  # mostly the name of a key
                line = document.line_of(("workloads", index, wrong))
                raise PlanError(f"{path}:{line}: workloads.{index}: {problem}")
            workloads[network.name] = network
        else:
            workloads.update(_named_workloads(entry, str(path)))
    return tuple(workloads.values())


def _network_problem(network: Network, others: Container[str]) -> str:
    """Return what is wrong with a network of a suite; empty if nothing is."""
    if network.name in others:
        return f"another workload is named {network.name}; add `name:`"
    try:
        trained_convolutions(network)
    except ValueError as error:
        return str(error)
    return ""


def _named_workloads(pattern: str, where: str) -> dict[str, Workload]:
    """Return workloads by name, by beginning (``paper-0``) or by ``*`` pattern.

    A network's name means it at its published size, with all of its convolutions trained.
    """
    if pattern in LAYERS:
        return {pattern: LAYERS[pattern]}
    if pattern in NETWORKS:
        network = _NetworkEntry(network=pattern).wire()
        return {network.name: network}
    matching = fnmatch.filter(LAYERS, pattern) or fnmatch.filter(LAYERS, pattern + "-*")
    if not matching:
        raise PlanError(
            f"{where}: there is no workload {pattern!r} — choose from "
            f"{', '.join((*LAYERS, *NETWORKS))}, "
            "use a pattern such as paper-*, or define a layer or a network in a suite file"
        )
    return {name: LAYERS[name] for name in matching}


def _overridden(suite: Suite, overrides: Overrides) -> Suite:
    changes: dict[str, Any] = {}
    for field in LISTS:
        values = getattr(overrides, field)
        if values:
            changes[field] = tuple(dict.fromkeys(values))
    if overrides.workloads:
        chosen = _chosen(suite, overrides.workloads)
        changes["layers"] = tuple(w for w in chosen if isinstance(w, Layer))
        changes["networks"] = tuple(w for w in chosen if isinstance(w, Network))
        if changes["networks"] and not suite.networks:  # a suite of layers names few exact kernels
            exact = (*suite.exact_kernels, *NETWORK_EXACT_KERNELS)
            changes["exact_kernels"] = tuple(dict.fromkeys(exact))
    if overrides.rounds is not None:
        changes["rounds"] = overrides.rounds
        for field in ("memory_rounds", "fidelity_rounds"):
            follows = getattr(suite, field) == suite.rounds
            kept = min(getattr(suite, field), overrides.rounds)
            changes[field] = overrides.rounds if follows else kept
    if overrides.paper_mode:
        methods = changes.get("methods", suite.methods)
        changes["methods"] = tuple(dict.fromkeys((*methods, PAPER_MODE)))
    for field in ("min_window_s", "energy"):
        if getattr(overrides, field) is not None:
            changes[field] = getattr(overrides, field)
    return replace(suite, own_kernels=tuple(overrides.own_kernels), **changes)


def _chosen(suite: Suite, names: Sequence[str]) -> tuple[Workload, ...]:
    """Return workloads by name: the suite's own first, then any of the catalogue."""
    own: dict[str, Workload] = {workload.name: workload for workload in suite.workloads}
    workloads: dict[str, Workload] = {}
    for name in names:
        matching = fnmatch.filter(own, name) or fnmatch.filter(own, name + "-*")
        chosen = {key: own[key] for key in matching}
        workloads.update(chosen or _named_workloads(name, "--workload"))
    return tuple(workloads.values())


def _checked(suite: Suite, where: str) -> Suite:
    """Return the suite with the baseline in it, all names and numbers checked."""
    _known("method", suite.methods, METHODS, where)
    own = [kernel.name for kernel in suite.own_kernels]
    _known("kernel", suite.kernels, [*FILTERED_KERNELS, *own], where)
    _known("exact kernel", suite.exact_kernels, EXACT_KERNELS, where)
    if suite.networks and not suite.layers:
        _check_network_dtypes(suite.dtypes, where)
    _known("dtype", suite.dtypes, DTYPE_BYTES, where)
    _known("device", suite.devices, ("auto", "cpu", "cuda"), where)
    for option, values in (
        ("--patch-size", suite.patch_sizes),
        ("--batch", suite.batches),
        ("--rounds", (suite.rounds,)),
    ):
        for value in values:
            if value < 1:
                raise PlanError(f"{option} is {value} — it must be at least 1")
    if not 0 < suite.min_window_s <= 86400:
        raise PlanError(
            f"--min-window is {suite.min_window_s:g} s — it must be above 0 and at most a day"
        )
    if BASELINE not in suite.methods:  # without it no figure has anything to be compared with
        suite = replace(suite, methods=(BASELINE, *suite.methods))
    return suite


def _check_network_dtypes(dtypes: Sequence[str], where: str) -> None:
    for dtype in dtypes:
        if dtype not in NETWORK_DTYPES:
            raise PlanError(
                f"{where}: no kernel trains networks in {dtype} yet — "
                f"choose from {', '.join(NETWORK_DTYPES)}"
            )


def _known(what: str, names: Sequence[str], choices: Any, where: str) -> None:
    for name in names:
        if name not in choices:
            raise PlanError(
                f"{where}: there is no {what} {name!r} — choose from {', '.join(choices)}"
            )
