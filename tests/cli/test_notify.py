"""``notify``, and notifications as they go out of a program that runs a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.program import Folder
from tests.support.receiver import Receiver

SECRET = "correct-horse-battery-staple"


def with_settings(folder: Folder, text: str) -> None:
    (folder.path / "stepwell.toml").write_text(f'jobs = ["jobs"]\n{text}', encoding="utf-8")


def test_a_channel_is_tried_out(folder: Folder) -> None:
    with Receiver(204, 204, 500) as receiver:
        with_settings(folder, f'[notify.desk]\nwebhook = "{receiver.url}"\n')
        out = folder.done("notify", "desk").out
        sent = folder.json("notify", "desk")
        refused = folder.call("notify", "desk")

    assert "channel 'desk' has taken a test message\n" == out
    assert ["TEST", "TEST", "TEST"] == [message["event"] for message in receiver.messages]
    assert sent["message"] == receiver.messages[1]
    assert "this is a test of channel 'desk'" == sent["message"]["text"]
    refused.refused(1, "cannot tell channel 'desk': the webhook answered 500", "[notify.desk]")
    assert not list(folder.path.glob("stepwell.db*"))


def test_an_unknown_channel_is_refused(folder: Folder) -> None:
    with_settings(folder, '[notify.desk]\ncommand = ["true"]\n')

    folder.call("notify", "dsk").refused(2, "unknown channel 'dsk', did you mean 'desk'?")


def test_a_run_that_fails_is_told_of_before_it_returns(folder: Folder) -> None:
    """Goal: also with a receiver that refuses, whose run ends as it would without."""
    with Receiver(500) as receiver:
        with_settings(
            folder,
            f'[notify.desk]\nwebhook = "{receiver.url}"\n'
            '[notify.file]\ncommand = ["sh", "-c", "cat >> told.jsonl"]\non = ["COMPLETED"]\n'
            "[job.sevens]\nnotify = []\n",
        )
        codes = [folder.call("run", name).code for name in ("broken", "sevens", "talks")]

    told = [json.loads(line) for line in (folder.path / "told.jsonl").read_text().split("}\n{")]
    assert [1, 0, 0] == codes
    assert ["broken"] == [message["job"] for message in receiver.messages]
    assert [("COMPLETED", "talks")] == [(message["event"], message["job"]) for message in told]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[notify.desk]", "[notify.desk] must have either a command or a webhook"),
        ('[notify.desk]\ncommand = ["x"]\nwebhook = "https://x"', "either a command or a webhook"),
        ("[notify.desk]\ncommand = []", "must name a program to run"),
        ('[notify.desk]\ncommand = ["x"]\nheaders = { A = "b" }', "must have no headers"),
        ('[notify.desk]\nwebhook = "ftp://x"', "begins with https:// or http://"),
        ('[notify.desk]\nwebhook = "https://"', "and names a host"),
        ('[notify.desk]\nwebhook = "https://[x"', "must have a webhook that is a URL"),
        (
            f'[notify.desk]\nwebhook = "http://example.com"\nheaders = {{ A = "{SECRET}" }}',
            "must have a webhook with https:// when it has headers",
        ),
        (f'[notify.desk]\nwebhok = "https://{SECRET}"', "did you mean 'webhook'?"),
        (f'[notify.desk]\nwebhook = ["https://{SECRET}"]', "got something else"),
        (f'[notify.desk]\ncommand = "{SECRET}"', "got something else"),
        ('[notify.desk]\ncommand = ["x"]\non = ["FAILD"]', "hint: invalid enum value 'FAILD'"),
        ('[notify.desk]\ncommand = ["x"]\nattempts = 0', "hint: "),
        ('[job.load]\nnotify = ["desk"]', "notify must name channels, got 'desk'"),
        (
            '[notify.desk]\ncommand = ["x"]\n[job.load]\nnotify = { dsk = ["FAILED"] }',
            "got 'dsk'",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_and_tell_no_secret(
    text: str, said: str, folder: Folder
) -> None:
    with_settings(folder, text + "\n")
    refused = folder.call("jobs")

    refused.refused(2, said)
    assert SECRET not in refused.err


def test_no_secret_is_seen_anywhere(folder: Folder) -> None:
    """Method: everything is logged; the output and every byte of the database are searched."""
    with_settings(
        folder,
        '[notify.desk]\nwebhook = "https://127.0.0.1:1/${HOOK}"\n'
        f'headers = {{ Authorization = "{SECRET}" }}\n'
        f'[notify.program]\ncommand = ["false", "{SECRET}"]\n',
    )
    ended = [
        folder.call("-vv", *words, HOOK=SECRET)
        for words in (("run", "broken"), ("notify", "desk"), ("notify", "program"), ("status", "1"))
    ]
    stored = b"".join(path.read_bytes() for path in folder.path.glob("stepwell.db*"))

    assert [1, 1, 1, 0] == [each.code for each in ended]
    assert "notification 1 ('broken' FAILED) is tried again: channel 'desk'" in ended[0].err
    for each in ended:
        assert SECRET not in each.out + each.err
    assert SECRET.encode() not in stored
    assert Path(folder.path / "stepwell.toml").exists()
