"""Revisions to payloads: the revision's own bytes, and what cannot be measured is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from git_repositories import GitRepository, former_project, kernel, project
from pydantic import TypeAdapter

from harness.errors import PlanError, UsageError
from harness.experiments.revisions import suite_of
from harness.payloads import former, revisions
from harness.payloads import payload as payloads
from harness.payloads.revisions import Revision, Source
from harness.plan.suites import Overrides
from reports.results.read import ResultError
from reports.results.records import RevisionFacts
from workloads.spec.kernels import KERNELS
from workloads.spec.messages import BLOCK_KINDS


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    made = project(tmp_path_factory.mktemp("repositories") / "ours")
    made.edit("workloads/kernels/torch_ops/operators.py", "OPERATORS = {", "OPERATORS = {  # new")
    made.commit("Change a kernel")
    made.commit("Tell more", {"README.md": "more"})
    made.edit("workloads/spec/messages.py", 'SCHEMA = "gfbench/2"', 'SCHEMA = "gfbench/3"')
    made.commit("Speak another format")
    return made


@pytest.fixture
def theirs(tmp_path: Path) -> GitRepository:
    made = GitRepository(tmp_path / "theirs")
    made.commit("Start", {"README.md": "kernels"})
    made.commit("Add a kernel", {"src/mine.py": kernel()})
    made.commit("Slow it down", {"src/mine.py": kernel(3, version="2")})
    return made


def build(made: GitRepository, name: str, *kernels: str) -> Revision:
    source = revisions.source(kernels, made.root)
    return revisions.build(source, source.repository.commit(name))


def test_a_payload_has_the_revisions_bytes_and_not_the_controllers(ours: GitRepository) -> None:
    old, new = build(ours, "HEAD~3"), build(ours, "HEAD~2")
    path = "workloads/kernels/torch_ops/operators.py"
    assert b"OPERATORS = {  # new" not in payloads.content(old.payload, path)
    assert b"OPERATORS = {  # new" in payloads.content(new.payload, path)
    assert old.payload.sha256 == payloads.pack().sha256  # the copy of what is installed
    assert not revisions.identical(old, new)
    assert old.block_kinds == BLOCK_KINDS


def test_a_commit_that_leaves_the_payload_alone_is_identical(ours: GitRepository) -> None:
    assert revisions.identical(build(ours, "HEAD~2"), build(ours, "HEAD~1"))


def test_a_newer_major_of_the_wire_format_is_refused(ours: GitRepository) -> None:
    with pytest.raises(UsageError, match="uses schema gfbench/3, this gfbench gfbench/2"):
        build(ours, "HEAD")


def test_an_older_major_is_packed_and_knows_no_networks(tmp_path: Path) -> None:
    made = project(tmp_path / "older")
    made.edit("workloads/spec/messages.py", 'SCHEMA = "gfbench/2"', 'SCHEMA = "gfbench/1"')
    made.edit("workloads/spec/messages.py", ', "by_layer")', ")")
    made.commit("Speak as we did before networks")
    older, newer = build(made, "HEAD"), build(made, "HEAD~1")
    assert (older.knows_networks, newer.knows_networks) == (False, True)
    suite = suite_of("quick", Overrides(), (older, newer), ["latency"])
    assert suite.revisions == (older.label, newer.label)
    network = Overrides(workloads=["quick-64*", "tiny"])
    assert suite_of("quick", network, (newer,), ["latency"]).networks
    words = r"measures layers only, and there is the network tiny-8-all in quick — choose layers"
    with pytest.raises(PlanError, match=words):
        suite_of("quick", network, (older, newer), ["latency"])


def test_a_wire_format_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    made = project(tmp_path / "other")
    made.edit("workloads/spec/messages.py", 'SCHEMA = "gfbench/2"', 'SCHEMA = "other/1"')
    made.commit("Speak another language")
    with pytest.raises(UsageError, match="uses schema other/1"):
        build(made, "HEAD")


def test_a_users_kernel_is_the_file_of_the_revision(theirs: GitRepository) -> None:
    kernels = ("mine=src/mine.py", "again=native", "torch")
    old, new = (build(theirs, name, *kernels) for name in ("HEAD~1", "HEAD"))
    content = payloads.content(new.payload, "workloads/kernels/user_mine.py").decode()
    assert content == kernel(3, version="2")
    listed = json.loads(payloads.content(new.payload, "workloads/kernels/user.json"))
    assert set(listed) == {"mine", "again"}
    assert [one.info.version for one in (*old.own_kernels[:1], *new.own_kernels[:1])] == ["1", "2"]
    facts = [revisions.kernel_facts(one, "mine") for one in (old, new)]
    assert facts[1]["name"] == f"mine@{new.label}"
    assert facts[0]["source_sha256"] != facts[1]["source_sha256"]
    torch = [revisions.kernel_facts(one, "torch")["source_sha256"] for one in (old, new)]
    assert torch[0] == torch[1] is not None


def test_a_kernels_repository_is_the_one_that_its_file_lies_in(
    theirs: GitRepository, ours: GitRepository
) -> None:
    source = revisions.source([f"mine={theirs.root}/src/mine.py"], ours.root)
    assert source.repository.root.samefile(theirs.root)
    assert source.files == ("src/mine.py",)


def test_a_missing_file_names_the_revision(theirs: GitRepository) -> None:
    with pytest.raises(UsageError, match=r"there is no src/mine.py at HEAD~2 — choose revisions"):
        build(theirs, "HEAD~2", "mine=src/mine.py")


def test_a_repository_without_workloads_wants_a_kernels_file(theirs: GitRepository) -> None:
    with pytest.raises(UsageError, match=r"there is no workloads/.*--kernel NAME=FILE"):
        build(theirs, "HEAD")


def test_kernels_of_two_repositories_are_refused(
    theirs: GitRepository, ours: GitRepository
) -> None:
    values = [
        f"a={theirs.root}/src/mine.py",
        f"b={ours.root}/workloads/kernels/native/operators.py",
    ]
    with pytest.raises(UsageError, match="several repositories"):
        revisions.source(values, ours.root)


def test_a_kernel_that_is_no_python_at_a_revision_is_refused(theirs: GitRepository) -> None:
    theirs.commit("Break it", {"src/mine.py": "def ("})
    with pytest.raises(PlanError, match="is not valid Python"):
        build(theirs, "HEAD", "mine=src/mine.py")


def test_a_link_out_of_the_repository_is_not_followed(
    theirs: GitRepository, tmp_path: Path
) -> None:
    (tmp_path / "outside.py").write_text(kernel())
    (theirs.root / "src" / "mine.py").unlink()
    (theirs.root / "src" / "mine.py").symlink_to(tmp_path / "outside.py")
    theirs.commit("Link it")
    with pytest.raises(UsageError, match="a link that leads out of its repository"):
        build(theirs, "HEAD", "mine=src/mine.py")


def test_a_revision_from_before_the_rooms_is_packed_and_its_kernels_are_known(
    tmp_path: Path,
) -> None:
    made = former_project(tmp_path / "former")
    files = {f"{former.KERNELS}/{name}": f"# {name}" for name in former.SOURCES["torch"]}
    made.commit("Add the kernels' files", files)
    old = build(made, "HEAD")
    assert old.block_kinds == BLOCK_KINDS
    expected = "".join(f"{name} {len(name) + 2}\n# {name}" for name in former.SOURCES["torch"])
    facts = revisions.kernel_facts(old, "torch")
    assert facts["source_sha256"] == hashlib.sha256(expected.encode()).hexdigest()
    assert revisions.kernel_facts(old, "cuda")["source_sha256"] is None


def test_the_former_files_of_every_kernel_of_layers_are_known(tmp_path: Path) -> None:
    of_layers = {name for name, kernel in KERNELS.items() if "layer" in kernel.workloads}
    assert set(former.SOURCES) == of_layers
    old = build(former_project(tmp_path / "former"), "HEAD")
    assert revisions.kernel_facts(old, "fused")["source_sha256"] is None


def source_of(made: GitRepository) -> Source:
    return revisions.source(["mine=src/mine.py"], made.root)


def test_uncommitted_changes_of_what_is_measured_are_refused(theirs: GitRepository) -> None:
    source = source_of(theirs)
    head, older = (source.repository.commit(name) for name in ("HEAD", "HEAD~1"))
    (theirs.root / "README.md").write_text("not measured anyway")
    revisions.check_committed(source, (older, head))
    (theirs.root / "src" / "mine.py").write_text(kernel(9))
    revisions.check_committed(source, (older,))  # HEAD is not asked for
    with pytest.raises(UsageError, match=r"src/mine.py: uncommitted changes are not measured"):
        revisions.check_committed(source, (older, head))


def test_a_run_gives_back_the_revisions_that_it_measured(
    theirs: GitRepository, tmp_path: Path
) -> None:
    made = build(theirs, "HEAD", "mine=src/mine.py")
    facts = TypeAdapter(RevisionFacts).validate_python(revisions.recorded(made))
    folder = tmp_path / "run"
    (folder / "payloads").mkdir(parents=True)
    kept = folder / "payloads" / made.payload.name
    kept.write_bytes(made.payload.data)
    (found,) = revisions.from_run(folder, [facts])
    assert (found.commit, found.payload) == (made.commit, made.payload)
    (kernel_again,) = found.own_kernels
    assert kernel_again.content == made.own_kernels[0].content
    kept.write_bytes(made.payload.data + b" ")
    with pytest.raises(ResultError, match="not the payload that was measured"):
        revisions.from_run(folder, [facts])
    kept.unlink()
    with pytest.raises(ResultError, match="No such file"):
        revisions.from_run(folder, [facts])
