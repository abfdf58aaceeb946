"""known_hosts lines, read as OpenSSH reads them."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from sshd import generate_key, require_sshd

from harness.transport.ssh.known_hosts import (
    fingerprint,
    host_entry,
    judge,
    parse_line,
    read_known_hosts,
)

KEY_A = base64.b64encode(b"key a").decode()
KEY_B = base64.b64encode(b"key b").decode()


def judged(text: str, name: str, key: str, folder: Path) -> str:
    (folder / "known_hosts").write_text(text)
    return judge(read_known_hosts([folder / "known_hosts"]), name, key)[0]


@pytest.mark.parametrize(
    ("host", "port", "entry"),
    [("nano", 22, "nano"), ("Nano.Lab", 22, "nano.lab"), ("10.0.0.5", 2222, "[10.0.0.5]:2222")],
)
def test_the_port_is_part_of_the_name_unless_it_is_22(host: str, port: int, entry: str) -> None:
    assert host_entry(host, port) == entry


@pytest.mark.parametrize(
    ("line", "name", "status"),
    [
        (f"nano t {KEY_A}", "nano", "known"),
        (f"nano\tt  {KEY_A} a remark", "nano", "known"),
        (f"other,nano t {KEY_A}", "nano", "known"),
        (f"NANO t {KEY_A}", "nano", "known"),
        (f"nano t {KEY_B}", "nano", "changed"),
        (f"nano t {KEY_B}\nnano t {KEY_A}", "nano", "known"),
        (f"nano t {KEY_A}", "[nano]:2222", "unknown"),
        (f"[nano]:2222 t {KEY_A}", "[nano]:2222", "known"),
        (f"[nano]:2222 t {KEY_A}", "n:2222", "unknown"),
        (f"*.lab,!bad.lab t {KEY_A}", "good.lab", "known"),
        (f"*.lab,!bad.lab t {KEY_A}", "bad.lab", "unknown"),
        (f"nan? t {KEY_A}", "nano", "known"),
        (f"nan? t {KEY_A}", "nan", "unknown"),
        (f"@revoked * t {KEY_A}\nnano t {KEY_A}", "nano", "revoked"),
        (f"@revoked * t {KEY_B}\nnano t {KEY_A}", "nano", "known"),
        (f"@cert-authority * t {KEY_B}", "nano", "unknown"),
        (f"# nano t {KEY_A}", "nano", "unknown"),
        ("nano t not*base64", "nano", "unknown"),
        ("nano t", "nano", "unknown"),
        (f"|1|broken t {KEY_A}", "nano", "unknown"),
        ("", "nano", "unknown"),
    ],
)
def test_a_line_counts_as_it_does_for_ssh(
    line: str, name: str, status: str, tmp_path: Path
) -> None:
    assert judged(line + "\n", name, KEY_A, tmp_path) == status


def test_several_files_count_and_an_absent_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(f"nano t {KEY_B}\n")
    (tmp_path / "two").write_text(f"nano t {KEY_A}\n")
    known = read_known_hosts([tmp_path / "absent", tmp_path / "one", tmp_path / "two"])
    status, lines = judge(known, "nano", KEY_A)
    assert (status, [line.path for line in lines]) == ("known", [tmp_path / "two"])


def test_openssh_and_we_agree_on_names_hashes_and_fingerprints(tmp_path: Path) -> None:
    require_sshd()
    public = generate_key(tmp_path / "key").with_name("key.pub")
    kind, key = public.read_text().split()[:2]
    file = tmp_path / "known_hosts"
    file.write_text(f"[127.0.0.1]:2222 {kind} {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "127.0.0.1" not in file.read_text()
    assert judge(read_known_hosts([file]), host_entry("127.0.0.1", 2222), key)[0] == "known"
    assert judge(read_known_hosts([file]), host_entry("127.0.0.1", 2223), key)[0] == "unknown"
    listed = subprocess.run(["ssh-keygen", "-lf", public], check=True, capture_output=True)
    assert fingerprint(key) == listed.stdout.decode().split()[1]


def test_a_line_keeps_where_it_stands(tmp_path: Path) -> None:
    key = parse_line(f"a,b ssh-ed25519 {KEY_A}", tmp_path, 7)
    assert key is not None
    assert (key.line, key.patterns, key.key_type) == (7, ("a", "b"), "ssh-ed25519")
