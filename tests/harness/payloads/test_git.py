"""Git, as far as comparing revisions needs it, on real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_repositories import GitRepository

from harness.errors import UsageError
from harness.payloads.git import Repository


@pytest.fixture
def made(tmp_path: Path) -> GitRepository:
    made = GitRepository(tmp_path / "made")
    made.commit("First", {"a.txt": "1\n"})
    made.commit("Second: with `odd` $(words)", {"a.txt": "2\r\n", "sub/b.txt": "b"})
    return made


def worktrees(made: GitRepository) -> int:
    return len(made.git("worktree", "list").splitlines())


def test_a_folder_below_the_top_finds_its_repository(made: GitRepository) -> None:
    assert Repository.around(made.root / "sub").root.samefile(made.root)


def test_a_folder_outside_of_any_repository_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not in a git repository.*--kernel NAME=FILE"):
        Repository.around(tmp_path)


def test_a_commit_has_its_short_name_and_subject(made: GitRepository) -> None:
    found = Repository(root=made.root).commit("HEAD")
    assert found.sha == made.git("rev-parse", "HEAD")
    assert found.sha.startswith(found.label)
    assert len(found.label) >= 7
    assert found.subject == "Second: with `odd` $(words)"
    assert found.asked == "HEAD"


@pytest.mark.parametrize("name", ["origin/main", "no-such", "--all", ""])
def test_an_unknown_revision_names_itself_and_the_remedy(made: GitRepository, name: str) -> None:
    with pytest.raises(UsageError, match=r"has no revision.*git fetch"):
        Repository(root=made.root).commit(name)


def test_a_tree_is_the_commits_own_bytes_and_is_gone_afterwards(made: GitRepository) -> None:
    (made.root / "a.txt").write_text("not committed")
    (made.root / "c.txt").write_text("untracked")
    repository = Repository(root=made.root)
    made.git("config", "core.autocrlf", "true")
    with repository.tree(repository.commit("HEAD")) as new:
        assert (new / "a.txt").read_bytes() == b"2\r\n"
        assert not (new / "c.txt").exists()
    with repository.tree(repository.commit("HEAD~1")) as old:
        assert (old / "a.txt").read_bytes() == b"1\n"
        assert not (old / "sub").exists()
        assert worktrees(made) == 2
    assert not new.exists()
    assert not old.exists()
    assert worktrees(made) == 1


def test_a_tree_is_removed_when_its_use_fails(made: GitRepository) -> None:
    repository = Repository(root=made.root)
    with pytest.raises(RuntimeError), repository.tree(repository.commit("HEAD")) as tree:
        raise RuntimeError
    assert not tree.parent.exists()
    assert worktrees(made) == 1


def test_nobodys_hook_is_run_for_a_tree(made: GitRepository) -> None:
    hook = made.root / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {made.root}/hooked\n")
    hook.chmod(0o755)
    repository = Repository(root=made.root)
    with repository.tree(repository.commit("HEAD")):
        pass
    assert not (made.root / "hooked").exists()


def test_what_a_hook_has_set_for_its_own_repository_does_not_mislead(
    made: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = GitRepository(tmp_path / "other")
    other.commit("Other")
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    assert Repository(root=made.root).commit("HEAD").subject.startswith("Second")


def test_changes_are_those_below_the_paths_with_new_files(made: GitRepository) -> None:
    repository = Repository(root=made.root)
    assert repository.changed(("a.txt", "sub")) == ()
    (made.root / "a.txt").write_text("changed")
    (made.root / "sub" / "näw.txt").write_text("new")
    assert set(repository.changed(("a.txt", "sub"))) == {"a.txt", "sub/näw.txt"}
    assert repository.changed(("nothing-there",)) == ()


def test_commits_between_are_oldest_first_along_first_parents(made: GitRepository) -> None:
    made.git("checkout", "--quiet", "-b", "side", "HEAD~1")
    made.commit("On the side", {"s.txt": "s"})
    made.git("checkout", "--quiet", "main")
    made.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side")
    made.commit("Last", {"a.txt": "3"})
    repository = Repository(root=made.root)
    found = repository.between(repository.commit("HEAD~3"), repository.commit("main"))
    assert [commit.subject.split(":")[0] for commit in found] == ["Second", "Merge side", "Last"]


def test_a_bad_commit_that_is_not_later_is_refused(made: GitRepository) -> None:
    repository = Repository(root=made.root)
    first, second = repository.commit("HEAD~1"), repository.commit("HEAD")
    for good, bad in ((second, first), (second, second)):
        with pytest.raises(UsageError, match="does not come after"):
            repository.between(good, bad)
