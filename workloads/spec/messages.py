"""The wire format between controller and board, and the history of SCHEMA.

History of SCHEMA (readers ignore unknown fields and refuse a newer major version):
    gfbench/1   first version. Added since, all optional: Case.revision, Job.payloads, Job.energy,
                Job.unfolds.

A board speaks in records on its real standard output: one JSON object per line, each line
begun by the ASCII record separator (RFC 7464), so that a login banner or a stray print can
never be mistaken for one.
"""

import json
import math
from typing import Any, Dict, NamedTuple, Optional, Tuple

SCHEMA = "gfbench/1"
RECORD_SEPARATOR = "\x1e"
PHASES = ("forward", "backward", "step")
BLOCK_KINDS = ("timing", "memory", "fidelity", "check", "roofline", "sentinel")
BLOCK_STATUSES = ("ok", "failed", "timeout", "out_of_memory", "interrupted")
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


class Case(NamedTuple):
    """What is measured: workload x method x patch_size x kernel x device x dtype x batch.

    ``patch_size`` is None for a method without one (``exact``). ``revision`` names the payload that
    measures the case where a run has several (see ``Job.payloads``); it is mostly empty.
    """

    layer: Layer
    method: str
    patch_size: Optional[int]
    kernel: str
    device: str
    dtype: str
    batch: int
    revision: str = ""

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
        parts = (self.layer.name, method, self.kernel_label, self.device, self.dtype, batch)
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


def case_from_json(data: Dict[str, Any]) -> Case:
    """Rebuild a Case from its JSON object; unknown fields are ignored."""
    fields = _pick(Case, data)
    fields["layer"] = layer_from_json(data["layer"])
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
    """Return NamedTuples as objects, tuples as lists, everything else unchanged."""
    if hasattr(value, "_asdict"):
        return {name: to_json(item) for name, item in value._asdict().items()}
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
