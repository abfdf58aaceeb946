"""The very same payload on the oldest Python and torch that boards have, and on today's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from interpreters import old_python
from packed_payload import TINY, PackedPayload, block

from workloads.spec.networks import NETWORKS

REPOSITORY = Path(__file__).resolve().parents[2]
METHODS = ("exact", "gradient_filter", "gradient_filter_published")
KINDS = ("timing", "memory", "fidelity")


@pytest.fixture(params=["3.6", "today"])
def python(request: pytest.FixtureRequest) -> Path:
    return old_python() if request.param == "3.6" else Path(sys.executable)


@pytest.fixture
def payload(python: Path, tmp_path: Path) -> PackedPayload:
    # Nothing of the repository may be found beside the payload.
    return PackedPayload(tmp_path / "board", python=python, env={"PYTHONPATH": ""})


def test_the_probe_tells_python_and_torch(payload: PackedPayload) -> None:
    (probe,) = payload.records("probe")
    versions = subprocess.run(
        [str(payload.python), "-c", "import sys, torch; print(sys.version, torch.__version__)"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert versions.startswith(probe["python"])
    assert versions.rstrip().endswith(probe["torch"]["version"])
    assert probe["torch_error"] is None
    assert probe["cpu"]["physical"] == probe["threads"] > 0


def test_a_run_measures_every_method_and_kind(payload: PackedPayload) -> None:
    odd = TINY._replace(name="odd", height=9, width=7)
    wanted = [
        (method, kind)
        for method in METHODS
        for kind in KINDS
        if (method, kind) != ("exact", KINDS[2])
    ]
    blocks = [
        block(order, method=method, kind=kind, layer=odd)
        for order, (method, kind) in enumerate(wanted)
    ]
    journal, end = payload.job("job", blocks).run()
    assert end["complete"] is True, end["log"]
    assert [record["reason"] for record in journal] == [None] * len(wanted)
    for record, (method, kind) in zip(journal, wanted, strict=True):
        assert record["case"]["method"] == method
        assert record["status"] == "ok"
        assert record[kind]
    saved = {
        record["case"]["method"]: record["memory"]["saved_bytes"]
        for record in journal
        if record["kind"] == "memory"
    }
    x_bytes = 4 * 9 * 7 * 4
    # Where torch 1.10 has no oneDNN for a layer, its convolution keeps the unfolded columns too.
    assert saved["exact"] in (x_bytes, x_bytes * (1 + 3 * 3))
    assert saved["gradient_filter"] == (4 * 5 * 4 + 4 * 4) * 4


def test_a_fresh_process_measures_a_block_too(payload: PackedPayload) -> None:
    blocks = [block(0, method="exact"), block(1)]
    journal, end = payload.job("job", blocks, isolation="spawn").run()
    assert end["complete"] is True, end["log"]
    assert [record["status"] for record in journal] == ["ok", "ok"]
    assert all(record["timing"]["step"]["times_s"] for record in journal)


def test_the_numerics_hold(python: Path) -> None:
    check_numerics(python)


def test_the_numerics_hold_on_the_oldest_torch_without_onednn() -> None:
    check_numerics(old_python(), "--without-onednn")


def check_numerics(python: Path, *options: str) -> None:
    support = REPOSITORY / "tests" / "support"
    done = subprocess.run(
        [str(python), str(support / "payload_check.py"), *options],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["failures"] == []
    assert summary["checked"] >= 80
    assert summary["worst"] < 1e-10


TRAIN_NETWORKS = """
import hashlib, json, torch
import torch.nn.functional as F
from workloads.convolution import filter_module
from workloads.networks import build
from workloads.networks.batch_norm import set_batch_norm
from workloads.networks.order import chosen_convolutions, convolutions_in_order
from workloads.spec.networks import NETWORKS
torch.set_num_threads(1)
weights = {}
for name, known in NETWORKS.items():
    size = min(known.input_size, 64)
    x, classes = torch.rand(2, 3, size, size), torch.tensor([0, known.num_classes - 1])
    digest = hashlib.sha256()
    for method in ("exact", "gradient_filter"):
        network = set_batch_norm(build(name, seed=36))
        for tensor in network.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        chosen = [key for key, _ in chosen_convolutions(convolutions_in_order(network, x), "all")]
        filter_module(network, 2, layers=chosen, method=method)
        trained = [part for part in network.parameters() if part.requires_grad]
        before = [part.detach().clone() for part in trained]
        optimizer = torch.optim.SGD(trained, lr=1e-3, momentum=0.9)
        loss = F.cross_entropy(network(x), classes)
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss), (name, method)
        for old, new in zip(before, trained):
            assert torch.isfinite(new).all() and not torch.equal(old, new), (name, method)
    weights[name] = digest.hexdigest()
print(json.dumps(weights))
"""


def test_every_network_trains_a_step_and_has_the_same_weights_everywhere(tmp_path: Path) -> None:
    weights: list[dict[str, str]] = []
    for python in (old_python(), Path(sys.executable)):
        # The payload itself is imported, and nothing of the repository lies beside it.
        packed = PackedPayload(tmp_path / str(len(weights)), python=python)
        done = subprocess.run(
            [str(python), "-c", TRAIN_NETWORKS],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "PYTHONPATH": str(packed.path)},
            cwd=packed.folder,
        )
        assert done.returncode == 0, done.stderr
        weights.append(json.loads(done.stdout))
    assert weights[0] == weights[1]
    assert set(weights[0]) == set(NETWORKS)


EXAMINE_NETWORKS = """
import copy, json, torch
from workloads.convolution import filter_module
from workloads.measure.by_layer import by_layer
from workloads.measure.saved import saved_bytes
from workloads.measure.network_fidelity import network_fidelity
from workloads.networks import build
from workloads.networks.batch_norm import set_batch_norm
torch.set_num_threads(1)
found = {}
for name in ("tiny", "mobilenet_v2", "resnet18"):
    generator = torch.Generator().manual_seed(5)
    x, grad = torch.rand(2, 3, 32, 32, generator=generator), torch.eye(2, 4)
    exact = set_batch_norm(build(name, num_classes=4, width=0.25, seed=36))
    filtered = filter_module(copy.deepcopy(exact), 2)
    modules = []
    for network in (exact, filtered):
        parameters = list(network.parameters())
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        shares = by_layer(network, x, grad, wanted, 1)
        saved = saved_bytes(lambda: network(x), parameters)
        assert saved == shares["saved_bytes"] > 0, name
        assert saved == sum(layer["saved_bytes"] for layer in shares["layers"]), name
        for layer in shares["layers"]:
            if "Conv2d" in layer["kind"]:
                assert layer["forward_s"] > 0 and layer["backward_s"] > 0, (name, layer)
            modules.append([layer["name"], layer["kind"]])
    fidelity = network_fidelity(exact, filtered, x, grad)
    cosines = {}
    for layer in fidelity["layer_fidelity"]:
        for figure in ("cosine_gx", "cosine_gw", "cosine_gw_network"):
            if layer[figure] is not None:
                cosines[layer["name"] + " " + figure] = layer[figure]
    captured = fidelity["fidelity"]["captured"]
    found[name] = {"modules": modules, "captured": captured, "cosines": cosines}
print(json.dumps(found))
"""


def test_networks_are_examined_alike_everywhere() -> None:
    found: list[dict[str, Any]] = []
    for python in (old_python(), Path(sys.executable)):
        done = subprocess.run(
            [str(python), "-c", EXAMINE_NETWORKS],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    assert list(found[0]) == list(found[1])
    for old, new in zip(found[0].values(), found[1].values(), strict=True):
        assert old["modules"] == new["modules"]
        assert old["captured"] == pytest.approx(new["captured"], abs=1e-4)
        assert old["cosines"] == pytest.approx(new["cosines"], abs=1e-4)


TRAIN_BASELINES = """
import copy, torch
from workloads.networks import build
from workloads.networks.baselines import BASELINES
from workloads.networks.batch_norm import set_batch_norm
from workloads.networks.checkpointed import checkpointed
torch.set_num_threads(1)
WIDTHS = {"tiny": None, "mobilenet_v2": 0.25, "resnet18": 0.125, "efficientnet_lite0": None}
x, grad_logits = torch.rand(3, 3, 32, 32).double(), torch.randn(3, 4).double()
def gradients(module, parameters):
    return torch.autograd.grad(module(x), parameters, grad_logits)

for name, width in WIDTHS.items():
    stock = build(name, num_classes=4, width=width).double()
    for key, tensor in stock.state_dict().items():
        if tensor.dim() == 1 and tensor.dtype == torch.float64:
            tensor.uniform_(0.5, 1.5)
    set_batch_norm(stock)
    next(stock.parameters()).requires_grad_(False)
    wanted = gradients(stock, [part for part in stock.parameters() if part.requires_grad])
    for way in ("torch-channels-last", "folded", "fused", "checkpointed"):
        network = copy.deepcopy(stock)
        trained = [part for part in network.parameters() if part.requires_grad]
        if way == "checkpointed":
            module = checkpointed(network, x)
        else:
            module = BASELINES[way].make(network)
        for got, true in zip(gradients(module, trained), wanted):
            assert (got - true).abs().max() <= 1e-9 * true.abs().max(), (name, way)
"""


def test_every_exact_baseline_has_stock_torchs_gradients(python: Path) -> None:
    done = subprocess.run(
        [str(python), "-c", TRAIN_BASELINES],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr


STEP_BY_EVERY_METHOD = """
import torch
from workloads.measure.prepare import prepare
from workloads.spec.messages import Case, Network
from workloads.spec.networks import NETWORKS
from workloads.spec.refusals import case_refusal
torch.set_num_threads(1)
WAYS = (
    ("exact", None, "torch"), ("exact", None, "torch-channels-last"), ("exact", None, "folded"),
    ("exact", None, "fused"), ("checkpoint", None, "fused"), ("micro_batches", None, "fused"),
    ("gradient_filter", 2, "torch"), ("gradient_filter", 2, "native"),
    ("gradient_filter", 4, "native-channels-last"), ("gradient_filter_published", 2, "torch"),
)
for name, known in NETWORKS.items():
    side = min(known.input_size, 32)
    channels = 0.25 if known.has_width and name != "tiny" else 1.0
    network = Network(name, name, side, side, 4, channels=channels, optimizer="sgd")
    for method, patch_size, kernel in WAYS:
        case = Case(network, method, patch_size, kernel, "cpu", "float64", 3)
        if case_refusal(case):
            assert (name, method) == ("efficientnet_lite0", "gradient_filter_published")
            continue
        work = prepare(case, 3)
        for phase in case.phases:
            work.change(phase)
            results = getattr(work, phase)()
            error = work.verify(phase, work.inputs(phase), results)
            assert error < 1e-9, (case.key, phase, error)
"""


def test_every_network_runs_a_step_of_each_method(python: Path) -> None:
    done = subprocess.run(
        [str(python), "-c", STEP_BY_EVERY_METHOD],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr


LOAD_WEIGHTS = """
import os, torch
from workloads.networks import build

class Shell:
    def __reduce__(self):
        return os.mkdir, ("made",)

def refused(content, zipped):
    torch.save(content, "weights.pth", _use_new_zipfile_serialization=zipped)
    try:
        build("tiny", weights="weights.pth")
    except ValueError as error:
        return str(error)

for zipped in (True, False):
    state = build("tiny", seed=4).state_dict()
    assert refused(state, zipped) is None
    assert torch.equal(build("tiny", weights="weights.pth").conv1.weight, state["conv1.weight"])
    words = refused({"conv1.weight": Shell()}, zipped)
    assert words.startswith("weights: cannot read weights.pth: "), words
    assert not os.path.exists("made")
"""


def test_weights_are_read_from_a_file_and_nothing_else_is(python: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(python), "-c", LOAD_WEIGHTS],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


UNFOLDED = """
import torch
torch._C._set_mkldnn_enabled(False)  # as in a torch that was built without oneDNN
from payload_check import count_saved_bytes
from workloads.spec import costs
from workloads.spec.messages import Case, Layer
for layer in (
    Layer("3x3", 8, 8, 16, 16),
    Layer("stride 2", 8, 8, 16, 16, stride=(2, 2)),
    Layer("grouped", 8, 8, 16, 16, groups=8),
    Layer("dilated", 8, 8, 16, 16, dilation=(2, 2), padding=(2, 2)),
    Layer("1x1", 8, 8, 16, 16, kernel_size=(1, 1), padding=(0, 0)),
    Layer("1x1, stride 2", 8, 8, 16, 16, kernel_size=(1, 1), padding=(0, 0), stride=(2, 2)),
    Layer("5x3", 4, 6, 15, 16, kernel_size=(5, 3), padding=(2, 1)),
):
    case = Case(layer, "exact", None, "torch", "cpu", "float32", 2)
    kept = count_saved_bytes(case) - costs.saved_bytes(case)
    assert kept == costs.unfolded_bytes(case), (layer, kept, costs.unfolded_bytes(case))
"""


def test_the_columns_that_exact_keeps_without_onednn_are_counted() -> None:
    support = REPOSITORY / "tests" / "support"
    paths = os.pathsep.join([str(REPOSITORY), str(support)])
    done = subprocess.run(
        [str(old_python()), "-c", UNFOLDED],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
