from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from gfbench_cli import Cli
from small_runs import small_run

from harness.cli import main
from reports.results.manifest import verify_manifest

SQL = "SELECT target, count(DISTINCT run_id) AS runs FROM rows GROUP BY ALL ORDER BY ALL"


@pytest.fixture
def gfbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["gfbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


Gfbench = Callable[..., tuple[int, str, str]]


def test_runs_are_pushed_queried_compacted_and_pulled(tmp_path: Path, gfbench: Gfbench) -> None:
    runs = [small_run(tmp_path / "results", n, target=f"board-{n % 2}") for n in range(3)]
    store = ("--store", f"file://{tmp_path}/store")
    code, out, _ = gfbench("push", *map(str, runs), *store)
    assert code == 0
    assert [line.rsplit("/", 2)[1] for line in out.splitlines()] == [run.name for run in runs]
    assert gfbench("query", SQL, *store)[1] == "target\truns\nboard-0\t2\nboard-1\t1\n"
    assert gfbench("query", SQL, *store, "--csv")[1] == "target,runs\nboard-0,2\nboard-1,1\n"
    local = json.loads(gfbench("query", SQL, "--json")[1])  # ./results
    assert local == [{"target": "board-0", "runs": 2}, {"target": "board-1", "runs": 1}]
    assert gfbench("store", "compact", *store)[1] == "3 runs from 3 files\n"
    assert json.loads(gfbench("query", SQL, *store, "--json")[1]) == local
    code, out, _ = gfbench("pull", runs[0].name, *store, "-o", "back")
    assert (code, out) == (0, f"back/{runs[0].name}\n")
    assert verify_manifest(Path("back") / runs[0].name) == ()


def test_a_push_that_fails_leaves_the_run_and_says_how_to_repeat_it(
    tmp_path: Path, gfbench: Gfbench
) -> None:
    run = small_run(tmp_path)
    (tmp_path / "file").touch()
    url = f"file://{tmp_path}/file/store"
    code, out, err = gfbench("push", str(run), "--store", url)
    assert (code, out) == (4, "")
    assert f"again: gfbench push {run} --store {url}" in err
    assert verify_manifest(run) == ()


def test_of_several_runs_one_that_is_refused_does_not_hold_up_the_others(
    tmp_path: Path, gfbench: Gfbench
) -> None:
    bad, good = small_run(tmp_path, 1), small_run(tmp_path, 2)
    (bad / "extra").touch()
    code, out, err = gfbench("push", str(bad), str(good), "--store", str(tmp_path / "store"))
    assert code == 1
    assert good.name in out
    assert bad.name not in out
    assert "extra: not in the manifest" in err


def test_wrong_usage_is_told_with_the_remedy(tmp_path: Path, gfbench: Gfbench) -> None:
    run = str(small_run(tmp_path / "results"))
    for arguments, remedy in (
        (("push", run), "--store file:///DIR"),
        (("query", "SELECT 1 FROM nowhere"), "DESCRIBE rows"),
        (("query", SQL, run, "--store", "file:///x"), "not both"),
        (("query", SQL, str(tmp_path / "none")), "--store URL"),
        (("run", "-t", "local", "--store", "http://host/x"), "http is read-only"),
    ):
        code, _, err = gfbench(*arguments)
        assert code == 2
        assert remedy in err


def test_an_empty_store_is_told_and_no_error(tmp_path: Path, gfbench: Gfbench) -> None:
    code, out, err = gfbench("query", SQL, "--store", str(tmp_path / "store"))
    assert (code, out) == (0, "target\truns\n")
    assert "has no runs yet" in err


def test_a_run_is_pushed_at_its_end_and_kept_where_that_fails(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    done = cli.run("--rounds", "1", "--store", "store")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1].endswith("report.html")
    assert "pushed to" in done.err
    asked = cli("query", "SELECT run_id FROM runs", "--store", "store")
    assert asked.stdout.splitlines() == ["run_id", done.run.name]
    (tmp_path / "file").touch()
    failed = cli.run("--rounds", "1", "--store", "file/store")
    assert failed.code == 4
    assert failed.run.name in failed.out.splitlines()[-1]
    assert f"again: gfbench push results/{failed.run.name} --store file/store" in failed.err
    assert verify_manifest(failed.run) == ()


def test_verify_tells_what_differs_and_where(tmp_path: Path, gfbench: Gfbench) -> None:
    run = small_run(tmp_path / "results")
    assert gfbench("report", str(run))[0] == 0
    code, out, err = gfbench("verify", str(run))
    assert (code, out, err) == (0, f"{run}: verified: 6 files, 11 blocks, 49 figures\n", "")
    report = run / "report.html"
    report.write_text(report.read_text().replace('data-value="2', 'data-value="3', 1))
    code, out, _ = gfbench("verify", str(run))
    assert code == 1
    assert "report.html: expected sha256" in out
    assert 'data-value="3' in out
    assert out.splitlines()[-1].startswith(f"{run}: 2 differences")
    (told,) = json.loads(gfbench("verify", str(run), "--json")[1])
    assert [finding["file"] for finding in told["findings"]] == ["report.html", "report.html"]
    (run / "run.json").write_text('{"schema": "gfbench/3", "run_id": "x"}')
    code, _, err = gfbench("verify", str(run))
    assert code == 2
    assert "upgrade gfbench" in err
    assert gfbench("verify", str(tmp_path))[0] == 2
