from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from make_run import make_run
from synthetic_site import Plot, write_runs
from typer.testing import CliRunner

from harness.cli import app
from harness.commands.serve import server
from harness.errors import UsageError
from reports.results.manifest import write_manifest
from reports.site import build
from reports.site.sources import FolderRuns, StoreRuns
from reports.store.store import push


@pytest.fixture
def site(tmp_path: Path) -> Path:
    write_runs(Plot(runs=4, targets=2), tmp_path / "results", tmp_path / "cache")
    options = ["--site", str(tmp_path / "site"), "--cache", str(tmp_path / "cache")]
    done = CliRunner().invoke(app, ["publish", str(tmp_path / "results"), "--reports=0", *options])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'site' / 'index.html'}\n"
    assert "4 runs, 4 of them new" in done.stderr
    return tmp_path / "site"


@pytest.fixture
def port(site: Path) -> Iterator[int]:
    with server(site, 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()


def status(port: int, path: str, host: str = "127.0.0.1") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", f"{host}:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_a_site_is_served_to_this_machine_alone(site: Path, port: int) -> None:
    for path in ("/", "/index.html", "/feed.xml", "/assets/site.js"):
        assert status(port, path) == 200, path
    with pytest.raises(OSError, match="refused"):
        http.client.HTTPConnection("127.0.0.2", port, timeout=5).request("GET", "/")


@pytest.mark.parametrize(
    "path", ["/.gfbench/state.json", "/../results", "/%2e%2e/results", "/assets/", "/outside.html"]
)
def test_what_is_not_a_page_of_the_site_is_not_served(site: Path, port: int, path: str) -> None:
    (site.parent / "secret.html").write_text("secret")
    (site / "outside.html").symlink_to(site.parent / "secret.html")
    assert status(port, path) == 404


def test_another_name_for_this_machine_is_refused(port: int) -> None:
    assert status(port, "/index.html", host="evil.example") == 404


def test_where_there_is_no_site_serve_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gfbench publish"):
        server(tmp_path, 0)


def test_publish_without_results_is_wrong_usage(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["publish", "--site", str(tmp_path)])
    assert isinstance(done.exception, UsageError)


def test_the_runs_of_a_store_become_the_same_site(tmp_path: Path) -> None:
    run = make_run(tmp_path / "results")
    write_manifest(run)
    push(run, f"file://{tmp_path}/store")
    options = build.Options(reports=0)
    build.build(tmp_path / "a", [FolderRuns([tmp_path / "results"], None)], options)
    build.build(tmp_path / "b", [StoreRuns(f"file://{tmp_path}/store")], options)
    pages = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.html")]
    assert len(pages) > 10
    for page in pages:
        assert (tmp_path / "a" / page).read_text() == (tmp_path / "b" / page).read_text()
