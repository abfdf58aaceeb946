"""The wire format between controller and board, and the history of SCHEMA.

History of SCHEMA (readers ignore unknown fields and refuse a newer major version):
    gfbench/1   first version. Added since, all optional: Case.revision, Job.payloads, Job.energy,
                Job.unfolds; in probe.json torch_remedy, torch_ended, torch_signal, workdir and
                cpu.name.
    gfbench/2   a case has a ``layer``, as in gfbench/1, or a ``network``. New: the phase
                train_step, the kind of block ``by_layer``, the status ``left_out``, Job.pilot.

A board speaks in records on its real standard output: one JSON object per line, each line
begun by the ASCII record separator (RFC 7464), so that a login banner or a stray print can
never be mistaken for one.
"""

import json
import math
from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

SCHEMA = "gfbench/2"
RECORD_SEPARATOR = "\x1e"
PHASES = ("forward", "backward", "step", "train_step")
BLOCK_KINDS = ("timing", "memory", "fidelity", "check", "roofline", "sentinel", "by_layer")
BLOCK_STATUSES = ("ok", "failed", "timeout", "out_of_memory", "interrupted", "left_out")
OPTIMIZERS = ("none", "sgd")
DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


class Layer(NamedTuple):
    """One convolution with its shapes: x is (N, in_channels, height, width)."""

    name: str
    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel_size: Tuple[int, int] = (3, 3)
    stride: Tuple[int, int] = (1, 1)
    padding: Tuple[int, int] = (1, 1)
    dilation: Tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = True


class Network(NamedTuple):
    """A network that is trained on images (N, 3, height, width).

    Attributes:
        name: the workload's.
        architecture: of ``spec.networks``.
        height: of the images.
        width: of the images.
        num_classes: how many logits it has.
        trained: which convolutions are trained, and so filtered: "all", "last:4" for the last four
            that run, or names. The others are frozen; the classifier is always trained, exactly.
        patch_sizes: (name of a layer, its patch size) of those that do not have the case's.
        frozen_batch_norm: whether every BatchNorm keeps its statistics, weight and bias.
        optimizer: of OPTIMIZERS; "sgd" has momentum, and the phase ``train_step`` ends with it.
        channels: how many times the published channels it has.
        weights: a file on the board with a state_dict; "" for random weights.
    """

    name: str
    architecture: str
    height: int
    width: int
    num_classes: int
    trained: Union[str, Tuple[str, ...]] = "all"
    patch_sizes: Tuple[Tuple[str, int], ...] = ()
    frozen_batch_norm: bool = True
    optimizer: str = "none"
    channels: float = 1.0
    weights: str = ""


Workload = Union[Layer, Network]


def kind_of(workload: Workload) -> str:
    """Return "layer" or "network"."""
    return "network" if isinstance(workload, Network) else "layer"


class Case(NamedTuple):
    """What is measured: workload x method x patch_size x kernel x device x dtype x batch.

    ``patch_size`` is None for a method without one (``exact``). ``revision`` names the payload that
    measures the case where a run has several (see ``Job.payloads``); it is mostly empty.
    """

    workload: Workload
    method: str
    patch_size: Optional[int]
    kernel: str
    device: str
    dtype: str
    batch: int
    revision: str = ""

    @property
    def layer(self) -> Layer:
        """Return the layer of a case that has one.

        Raises:
            TypeError: its workload is a network.
        """
        if not isinstance(self.workload, Layer):
            raise TypeError("%s is a network, not a layer" % self.workload.name)
        return self.workload

    @property
    def network(self) -> Network:
        """Return the network of a case that has one.

        Raises:
            TypeError: its workload is a layer.
        """
        if not isinstance(self.workload, Network):
            raise TypeError("%s is a layer, not a network" % self.workload.name)
        return self.workload

    @property
    def is_network(self) -> bool:
        """Return whether the workload is a network."""
        return isinstance(self.workload, Network)

    @property
    def phases(self) -> Tuple[str, ...]:
        """Return the phases that are timed: all of PHASES only where there is an optimizer."""
        if isinstance(self.workload, Network) and self.workload.optimizer != "none":
            return PHASES
        return PHASES[:3]

    @property
    def kernel_label(self) -> str:
        """Return ``native``, or ``native@a1b2c3d`` where a run measures several revisions."""
        return "%s@%s" % (self.kernel, self.revision) if self.revision else self.kernel

    @property
    def key(self) -> str:
        """Return ``workload/method-r2/kernel/device/dtype/b8``, unique within a run."""
        method = self.method
        if self.patch_size is not None:
            method += "-r%d" % self.patch_size
        batch = "b%d" % self.batch
        parts = (self.workload.name, method, self.kernel_label, self.device, self.dtype, batch)
        return "/".join(parts)


class Block(NamedTuple):
    """One fresh process that measures one case.

    Attributes:
        order: its index in the target's run.
        round: the round that it belongs to.
        slot: its index in the round.
        kind: one of BLOCK_KINDS.
        case: what it measures.
        seed: of its inputs.
        sampling: a factor on the intervals of the power sampler; 0 is without a sampler.
        verification: whether it belongs to the batch that has to confirm a FAIL, and so to no
            round.
    """

    order: int
    round: int
    slot: int
    kind: str
    case: Case
    seed: int
    sampling: float = 1.0
    verification: bool = False


class Job(NamedTuple):
    """All that the runner on the board needs; stored there as ``job.json``.

    Attributes:
        schema: SCHEMA.
        run_id: the run's.
        target: the board's name in the inventory.
        blocks: what to measure, in this order.
        min_window_s: the least length of a timed window.
        isolation: "fork" or "spawn", how a block's process is started.
        threads: how many a block uses.
        block_timeout_s: how long a block may take.
        sysroot: the root of the paths of sensor files.
        power: ``{"sensors": [...]}``, or empty.
        idle_s: how long the idle machine is watched before the first and after the last block.
        pauses: make random pauses between iterations, outside their marks.
        payloads: revision of a case -> file name of the payload that measures it, beside the
            runner's own.
        energy: make windows in which the iterations alone take ``min_window_s``, with bursts in
            which inputs are changed and nothing else is done.
        unfolds: the board's torch has no oneDNN for the CPU, for estimates of memory.
        pilot: after round 0, how many exact kernels of a network are timed; 0 is all.
    """

    schema: str
    run_id: str
    target: str
    blocks: Tuple[Block, ...]
    min_window_s: float
    isolation: str
    threads: int
    block_timeout_s: float
    sysroot: str
    power: Dict[str, Any]
    idle_s: float = 0.0
    pauses: bool = False
    payloads: Dict[str, str] = {}  # noqa: RUF012 - read only, as every default of a NamedTuple
    energy: bool = False
    unfolds: bool = False
    pilot: int = 0


def dump(record: Any) -> str:
    """Return one line of strict JSON: NaN and infinities become null (not measured)."""
    return json.dumps(_strict(record), allow_nan=False, separators=(",", ":"), sort_keys=True)


def loads(text: str) -> Any:
    """Parse strict JSON.

    Raises:
        ValueError: the text is not strict JSON; NaN and Infinity are not allowed either.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def frame(record: Any) -> bytes:
    """Return the record as bytes for the protocol: separator, ASCII JSON, newline."""
    return (RECORD_SEPARATOR + dump(record) + "\n").encode("ascii")


def unframe(line: bytes) -> Optional[Dict[str, Any]]:
    """Return the record of one received line; None for a banner, a print or a cut line."""
    text = line.decode("utf-8", "replace")
    _, separator, body = text.rpartition(RECORD_SEPARATOR)  # in strict JSON it is escaped
    if not separator:
        return None
    try:
        record = loads(body)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def layer_from_json(data: Dict[str, Any]) -> Layer:
    """Rebuild a Layer from its JSON object; unknown fields are ignored."""
    fields = _pick(Layer, data)
    for name in ("kernel_size", "stride", "padding", "dilation"):
        if name in fields:
            fields[name] = tuple(fields[name])
    return Layer(**fields)


def network_from_json(data: Dict[str, Any]) -> Network:
    """Rebuild a Network from its JSON object; unknown fields are ignored."""
    fields = _pick(Network, data)
    if isinstance(fields.get("trained"), list):
        fields["trained"] = tuple(fields["trained"])
    if "patch_sizes" in fields:
        fields["patch_sizes"] = tuple((name, size) for name, size in fields["patch_sizes"])
    return Network(**fields)


def case_from_json(data: Dict[str, Any]) -> Case:
    """Rebuild a Case from its JSON object; unknown fields are ignored."""
    fields = _pick(Case, data)
    if data.get("network") is not None:
        fields["workload"] = network_from_json(data["network"])
    else:
        fields["workload"] = layer_from_json(data["layer"])
    return Case(**fields)


def block_from_json(data: Dict[str, Any]) -> Block:
    """Rebuild a Block from its JSON object; unknown fields are ignored."""
    fields = _pick(Block, data)
    fields["case"] = case_from_json(data["case"])
    return Block(**fields)


def job_from_json(data: Dict[str, Any]) -> Job:
    """Rebuild a Job from ``job.json``; unknown fields are ignored."""
    fields = _pick(Job, data)
    fields["blocks"] = tuple(block_from_json(block) for block in data["blocks"])
    return Job(**fields)


def to_json(value: Any) -> Any:
    """Return NamedTuples as objects, tuples as lists, everything else unchanged.

    A case has its workload under ``layer`` or ``network``.
    """
    if hasattr(value, "_asdict"):
        fields = value._asdict()
        if isinstance(value, Case):
            workload = fields.pop("workload")
            fields = dict(fields, **{kind_of(workload): workload})
        return {name: to_json(item) for name, item in fields.items()}
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def _pick(kind: Any, data: Dict[str, Any]) -> Dict[str, Any]:
    return {name: data[name] for name in kind._fields if name in data}


def _refuse_constant(name: str) -> Any:
    raise ValueError("%s is not valid JSON" % name)


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(name): _strict(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = to_json(value)
        if isinstance(items, dict):
            return _strict(items)
        return [_strict(item) for item in items]
    return value
