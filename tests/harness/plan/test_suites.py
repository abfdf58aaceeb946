"""Suites: what is built in loads, what cannot be is refused with its place."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from harness.errors import PlanError
from harness.plan.suites import Overrides, built_in_suites, load_suite, suite_from_json
from reports.results.read import ResultError
from workloads.spec.layers import LAYERS
from workloads.spec.messages import Network, dump, to_json


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def refusal(folder: Path, text: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        load_suite(write(folder, text))
    return str(caught.value).replace(str(folder) + "/", "").splitlines()


@pytest.mark.parametrize("name", built_in_suites())
def test_every_built_in_suite_loads(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite.description
    assert suite.workloads
    assert suite.methods[0] == "exact"
    assert suite.rounds >= 6  # fewer give no intervals


def test_the_suites_that_are_promised_are_there() -> None:
    assert set(built_in_suites()) >= {"quick", "paper-latency", "mobile-layers"}
    quick = load_suite("quick")
    assert (len(quick.layers), quick.patch_sizes, quick.isolation) == (3, (2, 4), "fork")
    paper = load_suite("paper-latency")
    assert (len(paper.layers), paper.patch_sizes) == (7, (2, 4))
    assert load_suite("mobile-layers").batches == (1, 8)
    networks = load_suite("networks-quick")
    assert [network.name for network in networks.networks] == [
        "mobilenet_v2-96-last4",
        "mobilenet_v2-96-all",
        "resnet18-96-last4",
        "resnet18-96-all",
    ]
    assert (networks.patch_sizes, networks.pilot, networks.kernels) == ((2, 4), 2, ("native",))
    assert {network.height for network in load_suite("networks").networks} == {224}


def test_a_network_is_chosen_by_name_or_described(tmp_path: Path) -> None:
    text = """
workloads:
  - tiny
  - network: mobilenet_v2
    input_size: [64, 96]
    num_classes: 7
    trained: last:2
    patch_sizes: {features.18.0: 4}
    batch_norm: trained
    optimizer: sgd
    channels: 0.5
    weights: /data/weights.pt
  - {network: tiny, name: mine, trained: [conv3]}
"""
    suite = load_suite(write(tmp_path, text))
    assert suite.networks == (
        Network("tiny-8-all", "tiny", 8, 8, 10),
        Network(
            name="mobilenet_v2-64x96-last2",
            architecture="mobilenet_v2",
            height=64,
            width=96,
            num_classes=7,
            trained="last:2",
            patch_sizes=(("features.18.0", 4),),
            frozen_batch_norm=False,
            optimizer="sgd",
            channels=0.5,
            weights="/data/weights.pt",
        ),
        Network("mine", "tiny", 8, 8, 10, trained=("conv3",)),
    )
    assert suite_from_json(json.loads(dump(to_json(suite.__dict__)))) == suite


def entry(text: str) -> str:
    return "workloads:\n  - quick\n  - network: resnet18\n    " + text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("dtype: autocast", "1.dtype: Extra inputs are not permitted — `dtypes:` of the suite"),
        ("autocast: true", "1.autocast: Extra inputs are not permitted — networks are measured in"),
        ("batch: 4", "1.batch: Extra inputs are not permitted — `batches:` of the suite says it"),
        ("optimizer: adam", "1.optimizer: Input should be 'none' or 'sgd'"),
        ("input_size: 0", "1.input_size: Input should be greater than or equal to 1"),
        ("num_classes: many", "1.num_classes: Input should be a valid integer"),
        ("patch_sizes: {conv1: 0}", "1.patch_sizes.conv1: Input should be greater than or equal"),
        ("weights: mine.pt", "1.weights: Value error, a file on the board is named by its whole"),
        ("batch_norm: no", "1.batch_norm: Input should be 'frozen' or 'trained'"),
        ("trained: 4", "1.trained: Input should be a valid string"),
        ("trained: some", '1: trained must be "all", "last:4" or the like, or names'),
        ("trained: last:21", "1: trained must be 0 to 20, the number of convolutions, not 21"),
        ("trained: []", "1: trained: no convolution is chosen"),
        (
            "trained: [fc]",
            "1: trained: no convolution is named 'fc'; choose from 'conv1', 'layer1.0.conv1', "
            "'layer1.0.conv2', 'layer1.1.conv1' and 16 more",
        ),
    ],
)
def test_a_network_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (line,) = refusal(tmp_path, entry(text))
    assert line.startswith(f"mine.yaml:4: workloads.{complaint}")


def test_patch_sizes_are_given_for_layers_that_are_trained(tmp_path: Path) -> None:
    text = "workloads: [{network: tiny, trained: last:1, patch_sizes: {conv1: 4}}]"
    (line,) = refusal(tmp_path, text)
    words = "patch_sizes: no convolution is named 'conv1'; choose from 'conv3'"
    assert line == f"mine.yaml:1: workloads.0: {words}"


def test_what_is_wrong_with_a_network_and_no_key_is_told_at_its_beginning(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, "workloads:\n  - network: efficientnet_lite0\n    channels: 2\n")
    assert line == "mine.yaml:3: workloads.0: channels: efficientnet_lite0 has one width only"
    small = "workloads:\n  - network: efficientnet_lite0\n    input_size: 1\n"
    (line,) = refusal(tmp_path, small)
    assert line.startswith("mine.yaml:2: workloads.0: x is too small")
    twice = "workloads:\n  - tiny\n  - {network: tiny, optimizer: sgd}\n"
    (line,) = refusal(tmp_path, twice)
    assert line == "mine.yaml:3: workloads.1: another workload is named tiny-8-all; add `name:`"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "autocast"])
def test_dtypes_in_which_no_kernel_trains_networks_are_refused_by_name(
    tmp_path: Path, dtype: str
) -> None:
    (line,) = refusal(tmp_path, f"workloads: [tiny]\ndtypes: [{dtype}]")
    words = f"no kernel trains networks in {dtype} yet — choose from float32, float64"
    assert line == f"mine.yaml: {words}"
    with pytest.raises(PlanError, match=words):
        load_suite("networks-quick", Overrides(dtypes=[dtype]))


def test_an_unknown_suite_is_refused_with_the_choices() -> None:
    with pytest.raises(
        PlanError, match=r"'qiuck'.*mobile-layers, networks, networks-quick, paper-latency, quick"
    ):
        load_suite("qiuck")


def test_a_file_of_ones_own_may_define_layers(tmp_path: Path) -> None:
    text = """
workloads:
  - name: mine
    in_channels: 4
    out_channels: 8
    height: 9
    width: 7
    stride: [1, 2]
    kernel_size: 5
    bias: false
  - quick-64ch-56x56
methods: [gradient_filter]
patch_sizes: [2, 2, 3]
"""
    suite = load_suite(write(tmp_path, text))
    mine, named = suite.layers
    assert mine.stride == (1, 2)
    assert mine.kernel_size == (5, 5)
    assert mine.bias is False
    assert named == LAYERS["quick-64ch-56x56"]
    assert suite.methods == ("exact", "gradient_filter")  # nothing without a baseline
    assert suite.patch_sizes == (2, 3)


def test_patterns_and_beginnings_choose_workloads(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, "workloads: ['paper-[01]*', quick]"))
    names = [layer.name for layer in suite.layers]
    assert names[:2] == ["paper-0-128ch-120x160", "paper-1-256ch-60x80"]
    assert len(names) == 5


def test_broken_yaml_is_refused_with_file_and_line(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, "workloads: [quick-*]\nrounds: [1\nmethods: x\n")
    assert line.startswith("mine.yaml:3: not YAML: ")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("workloads: [quick]\nruonds: 3", "mine.yaml:2: ruonds: Extra inputs are not permitted"),
        ("workloads: [quick]\nrounds: -1", "mine.yaml:2: rounds: Input should be greater than"),
        ("workloads: [quick]\nrounds: many", "mine.yaml:2: rounds: Input should be a valid int"),
        ("workloads: [quick]\nrounds: 1\nrounds: 2", "mine.yaml:3: rounds: given twice, first on"),
        ("workloads: [quick]\n\npatch_sizes: [2, 0]", "mine.yaml:3: patch_sizes.1: Input should"),
        ("workloads: [quick]\nisolation: thread", "mine.yaml:2: isolation: Input should be"),
        ("workloads: []", "mine.yaml:1: workloads: List should have at least 1 item"),
        ("workloads:\n  - 5", "mine.yaml:2: workloads.0: Input should be a valid string"),
        ("workloads:\n  - name: x/y", "mine.yaml:2: workloads.0.name: String should match"),
        ("rounds: 3", "mine.yaml:1: workloads: Field required"),
        ("", "mine.yaml: a suite must be a mapping with at least the key `workloads:`"),
        ("- quick", "mine.yaml: a suite must be a mapping with at least the key `workloads:`"),
        ("workloads: [none-such]", "mine.yaml: there is no workload 'none-such' — choose from"),
        ("workloads: [quick]\nmethods: [exakt]", "mine.yaml: there is no method 'exakt' — choose"),
        ("workloads: [quick]\nkernels: [x]", "mine.yaml: there is no kernel 'x' — choose from t"),
        ("workloads: [quick]\ndtypes: [int8]", "mine.yaml: there is no dtype 'int8' — choose fr"),
        ("workloads: [quick]\ndevices: [tpu]", "mine.yaml: there is no device 'tpu' — choose fr"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(
    tmp_path: Path, text: str, complaint: str
) -> None:
    lines = refusal(tmp_path, text)
    assert any(line.startswith(complaint) for line in lines), lines
    assert not any("_LayerEntry" in line or "_SuiteFile" in line for line in lines)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="not UTF-8"):
        load_suite(str(path))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (Overrides(patch_sizes=[0]), "--patch-size is 0 — it must be at least 1"),
        (Overrides(rounds=-1), "--rounds is -1 — it must be at least 1"),
        (Overrides(rounds=0), "--rounds is 0"),
        (Overrides(batches=[-2]), "--batch is -2"),
        (Overrides(min_window_s=0.0), "--min-window is 0 s"),
        (Overrides(min_window_s=math.nan), "--min-window is nan s"),
        (Overrides(min_window_s=math.inf), "--min-window is inf s"),
        (Overrides(methods=["none"]), "there is no method 'none' — choose from exact"),
        (Overrides(workloads=["none"]), "--workload: there is no workload 'none'"),
    ],
)
def test_overrides_that_cannot_be_are_refused(overrides: Overrides, words: str) -> None:
    with pytest.raises(PlanError) as caught:
        load_suite("quick", overrides)
    assert words in str(caught.value)


def test_overrides_take_the_place_of_the_suites_own() -> None:
    overrides = Overrides(
        workloads=["quick-64ch"],
        methods=["gradient_filter_published"],
        patch_sizes=[3, 3],
        batches=[2],
        dtypes=["float64"],
        devices=["cpu"],
        rounds=2,
        min_window_s=0.5,
    )
    suite = load_suite("quick", overrides)
    assert [layer.name for layer in suite.layers] == ["quick-64ch-56x56"]
    assert suite.methods == ("exact", "gradient_filter_published")
    assert (suite.patch_sizes, suite.batches) == ((3,), (2,))
    assert (suite.dtypes, suite.devices) == (("float64",), ("cpu",))
    assert (suite.rounds, suite.memory_rounds, suite.fidelity_rounds) == (2, 2, 2)
    assert suite.min_window_s == 0.5


def test_any_workload_of_the_catalogue_can_be_named_beside_the_suites_own() -> None:
    suite = load_suite("quick", Overrides(workloads=["paper-6"]))
    assert [layer.name for layer in suite.layers] == ["paper-6-64ch-56x56"]


def test_fewer_memory_rounds_stay_fewer_when_rounds_change(tmp_path: Path) -> None:
    path = write(tmp_path, "workloads: [quick]\nrounds: 8\nmemory_rounds: 2\nfidelity_rounds: 0")
    suite = load_suite(path, Overrides(rounds=20))
    assert (suite.rounds, suite.memory_rounds, suite.fidelity_rounds) == (20, 2, 0)
    assert load_suite(path, Overrides(rounds=1)).memory_rounds == 1


@pytest.mark.parametrize("name", built_in_suites())
def test_a_suite_comes_back_out_of_run_json(name: str) -> None:
    from dataclasses import asdict

    suite = load_suite(name)
    assert suite_from_json(json.loads(dump(to_json(asdict(suite))))) == suite


@pytest.mark.parametrize("data", [None, {}, [], {"name": "x"}, "quick"])
def test_a_run_json_without_a_suite_is_refused(data: object) -> None:
    with pytest.raises(ResultError, match="does not hold a complete suite"):
        suite_from_json(data)


def test_energy_is_off_unless_the_suite_or_the_command_line_asks_for_it(tmp_path: Path) -> None:
    assert not any(load_suite(name).energy for name in built_in_suites())
    assert load_suite("quick", Overrides(energy=True)).energy
    asked = write(tmp_path, "workloads: [quick-64ch-56x56]\nenergy: true\n")
    assert load_suite(asked).energy
    assert not load_suite(asked, Overrides(energy=False)).energy


def test_a_suite_of_a_run_from_before_energy_is_read_without_it() -> None:
    content = to_json({name: getattr(load_suite("quick"), name) for name in ("name",)})
    with pytest.raises(ResultError):
        suite_from_json(content)
    whole = json.loads(dump(to_json(load_suite("quick").__dict__)))
    del whole["energy"]
    assert suite_from_json(whole).energy is False


def test_a_network_of_the_command_line_is_compared_with_the_best_exact_steps() -> None:
    """The suite `quick` names one exact kernel: enough for layers, a straw man for networks."""
    suite = load_suite("quick", Overrides(workloads=["mobilenet_v2"]))
    assert suite.exact_kernels == ("torch", "torch-channels-last", "folded", "fused")
    assert load_suite("quick", Overrides(workloads=["quick-64ch-56x56"])).exact_kernels == (
        "torch",
    )
