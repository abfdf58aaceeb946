from __future__ import annotations

import io
import json

import pytest

from reports.text import masking
from reports.text.masking import (
    MaskedStream,
    keep_command,
    keep_environment,
    keep_text,
    keep_value,
    masked,
    masked_document,
    masked_json,
)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_kept", set())
    for name in ("MY_TOKEN", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://me:hunter2@host/dir", "s3://***@host/dir"),
        ("http_proxy=http://me:p%40ss@proxy:3128", "http_proxy=http://***@proxy:3128"),
        ("HF_TOKEN=hf_abc run", "HF_TOKEN=*** run"),
        ("DB_PASSWORD='two words' run", "DB_PASSWORD='***' run"),
        ('AUTH="x y"; run', 'AUTH="***"; run'),
        ("?token=abc&n=1", "?token=***&n=1"),
        ("login --password hunter2 --user me", "login --password *** --user me"),
        ("login --api-key=abc", "login --api-key=***"),
        ("curl -H 'Authorization: Bearer abc.def'", "curl -H 'Authorization: Bearer ***'"),
        ("echo hunter2 | sudo -S nvpmodel -m 0", "echo *** | sudo -S nvpmodel -m 0"),
        ("sshpass -p hunter2 ssh me@host", "sshpass -p *** ssh me@host"),
    ],
)
def test_a_secret_is_masked_by_its_place(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "gfbench gate RUN --base kernel=torch --new kernel=native,method=exact",
        "case_key early/exact/torch/cpu/float32/b8",
        "author=me keyboard=de tokens 5, passes 3",
        "https://example.org/a@b me@host:22 file:///results",
        "echo 1 | sudo tee /sys/x",
        "a trade secret = nothing",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert masked(text) == text


def test_a_value_is_masked_wherever_it_appears_once_it_is_known() -> None:
    keep_environment(
        {"HF_TOKEN": "hf_value", "THREADS": "123456", "http_proxy": "http://a:bcdefg@p"}
    )
    keep_text("s3://key:s3%2Fsecret@bucket")
    assert masked("board says: hf_value, 123456, bcdefg") == "board says: ***, 123456, ***"
    assert masked("denied for s3/secret and s3%2Fsecret") == "denied for *** and ***"


def test_a_longer_secret_is_masked_before_one_that_is_part_of_it() -> None:
    keep_value("secret")
    keep_value("secret-longer")
    assert masked("secret-longer") == "***"


def test_a_short_value_is_masked_in_its_place_alone() -> None:
    keep_environment({"PIN_TOKEN": "12"})
    assert masked("12 rounds, PIN_TOKEN=12") == "12 rounds, PIN_TOKEN=***"


def test_the_words_of_a_command_that_look_like_keys_are_known_from_then_on() -> None:
    keep_command(
        "register ab12cd34ef56ab78 --board nano-1 /sys/devices/1c40000.gpu 1344000000000000"
    )
    assert masked("was ab12cd34ef56ab78 on nano-1") == "was *** on nano-1"
    assert (
        masked("/sys/devices/1c40000.gpu 1344000000000000")
        == "/sys/devices/1c40000.gpu 1344000000000000"
    )


def test_secrets_of_this_machines_own_environment_are_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_TOKEN", "of-this-machine")
    monkeypatch.setenv("MY_KEY", "/etc/hostname")  # the path of a file is none
    assert masked("of-this-machine /etc/hostname") == "*** /etc/hostname"


def test_a_document_keeps_its_names_and_numbers() -> None:
    keep_value("123456")
    document = {"123456": [123456, "x123456", None, {"a": "123456"}]}
    assert masked_document(document) == {"123456": [123456, "x***", None, {"a": "***"}]}


@pytest.mark.parametrize("secret", ["plain-secret", 'qu"ote\\back', "päss-wörd", "123456"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_line_of_json_keeps_its_length_its_names_and_its_numbers(
    secret: str, ascii_only: bool
) -> None:
    keep_value(secret)
    record = {
        "status": "failed",
        "times_s": [0.123456789, 123456],
        "reason": f"could not use {secret} at http://me:short@host",
        secret: f"HF_TOKEN={'y' * 5}",
    }
    line = json.dumps(record, ensure_ascii=ascii_only) + "\n"
    kept = masked_json(line)
    assert len(kept.encode()) == len(line.encode())
    read = json.loads(kept)
    assert read["times_s"] == record["times_s"]
    assert secret in read
    assert read[secret] == "HF_TOKEN=*****"
    assert secret not in read["reason"]
    assert read["reason"].startswith("could not use ***")
    assert read["reason"].endswith(" at http://********@host")


def test_nothing_secret_passes_a_guarded_stream() -> None:
    keep_value("the-secret")
    written = io.StringIO()
    stream = MaskedStream(written)
    print("a", "the-secret", file=stream)
    stream.writelines(["x the-secret\n"])
    assert written.getvalue() == "a ***\nx ***\n"
    assert not stream.isatty()
