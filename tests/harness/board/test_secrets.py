from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.board.probed import Probed
from harness.board.secrets import public_entry
from harness.fleet.live_view import LiveView
from harness.fleet.machines import Machines
from harness.fleet.session import Request, Session
from harness.payloads.payload import Payload
from harness.plan.suites import load_suite
from reports.results.records import Probe
from reports.results.write import target_folder
from reports.text import masking
from targets.inventory import Power, Target, load_inventory


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_kept", set())


def test_the_public_entry_keeps_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(
        """
targets:
  a:
    host: h
    identity_file: /keys/id_lab
    power: {command: "curl -u me https://me:w1w1w1@meter/watts"}
    env:
      API_KEY: k1
      git_token: t1
      DB_PASSWORD: p1
      MY_SECRET: s1
      AUTH: a1
      http_proxy: http://me:x1@proxy:3128
      OMP_NUM_THREADS: 4
    setup: ["login --token u1 && jetson_clocks", "enable ab12cd34ef56ab78"]
    restore: ["echo v1 | sudo -S nvpmodel -m 0"]
""",
        encoding="utf-8",
    )
    entry = public_entry(load_inventory(path).targets["a"])
    written = json.dumps(entry)
    secrets = ("k1", "t1", "p1", "s1", "a1", "x1", "w1w1w1", "u1", "ab12cd", "v1")
    assert not any(secret in written for secret in (*secrets, "/keys"))
    assert entry["env"]["OMP_NUM_THREADS"] == "4"
    assert entry["env"]["http_proxy"] == "http://***@proxy:3128"
    assert entry["identity_file"] == "id_lab"
    assert entry["power"] == {"command": "curl -u me https://***@meter/watts"}
    assert entry["setup"] == ["login --token *** && jetson_clocks", "enable ***"]
    assert entry["restore"] == ["echo *** | sudo -S nvpmodel -m 0"]
    assert set(entry) == set(Target.__dataclass_fields__)


def test_a_resumed_run_gives_the_board_the_program_of_the_inventory_not_the_masked_one(
    tmp_path: Path,
) -> None:
    program = "API_TOKEN=abcdef123 watts"
    target = Target(name="local", power=Power(kind="command", argument=program))
    request = Request(
        run=tmp_path,
        run_id="r",
        suite=load_suite("quick"),
        seed=1,
        payload=Payload(name="p", data=b"", sha256="0"),
        inventory=None,
    )
    view = LiveView(["local"], Console(stderr=True))
    session = Session(target, request, machines=Machines(), watch=view, stop=threading.Event())
    folder = target_folder(tmp_path, "local")
    probe = Probed(document={}, facts=Probe(), platform="linux-x86")

    job: dict[str, Any] = json.loads(json.dumps(session._job(probe)._asdict(), default=list))
    assert program in json.dumps(job["power"])
    path = folder / "job.json"
    assert "abcdef123" not in path.read_text(encoding="utf-8")
    assert "abcdef123" not in (folder / "power.json").read_text(encoding="utf-8")
    session.save()
    assert session._stored_job(path, probe).power == job["power"]
