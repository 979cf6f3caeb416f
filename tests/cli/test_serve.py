"""``serve`` and ``token``: the web face of a folder, as a real process."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.error
import urllib.request

from tests.cli.program import Folder, until


def ask(url: str, document: object = None, *, token: str | None = None) -> tuple[int, object]:
    """Status and document of a request."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_server_starts_runs_and_ends_gracefully(folder: Folder) -> None:
    """Goal: one process runs what is started over HTTP and what is registered; SIGTERM stops it.

    Method: the pace lets the job run as long as the test looks; its successor is the worker's.
    """
    running = folder.start("serve", "--port", "0", PAUSE_S="0.05")
    [url] = re.findall(r"http://127\.0\.0\.1:\d+", running.until("working"))
    registered = ask(f"{url}/api/register/partly", {})[0]
    status, started = ask(f"{url}/api/batch/load", {"day": "2026-11-20"})
    until(lambda: ask(f"{url}/api/executions/1")[1]["status"] == "COMPLETED", what="the worker")
    conflict, problem = ask(f"{url}/api/batch/load", {"day": "2026-11-20"})
    with urllib.request.urlopen(f"{url}/api/events", timeout=30) as events:
        assert b"retry: 1000\n" == events.readline()
        running.send(signal.SIGTERM)
        assert b'"STOPPED"' in events.read()
    ended = running.end()
    [shown] = folder.json("history", "load")["executions"]

    assert (202, 202, "load") == (registered, status, started["job"])
    assert (409, started["execution_id"]) == (conflict, problem["fields"]["execution_id"])
    assert (0, "") == (ended.code, ended.err)
    assert "STOPPED" == shown["status"]
    assert [] == folder.json("owners", "list")["owners"]


def test_an_address_in_use_and_an_open_door_are_refused(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        folder.call("serve", "--port", str(port)).refused(2, "it is in use", "--port N")
    folder.call("serve", "--host", "0.0.0.0").refused(2, "there is no token", "token create")
    folder.call("serve", "--tls-cert", "a.pem").refused(2, "go together")
    (folder.path / "a.pem").write_text("no certificate", "utf-8")
    folder.call("serve", "--port", "0", "--tls-cert", "a.pem", "--tls-key", "a.pem").refused(
        2, "the certificate cannot be read"
    )


def test_a_token_is_shown_once_and_ends_when_it_is_revoked(folder: Folder) -> None:
    folder.done("init")
    made = folder.json("token", "create", "night-shift", "--role", "operator", "--expires", "90d")
    listed = folder.done("token", "list").out
    folder.done("token", "revoke", "night-shift")

    assert made["secret"].startswith("stepwell_")
    assert made["secret"] not in listed + folder.done("token", "list", "--json").out
    assert re.search(r"night-shift +operator +.* valid", listed)
    assert [("night-shift", False)] == [
        (token["token"], token["is_valid"]) for token in folder.json("token", "list")["tokens"]
    ]
    assert [(0,)] == folder.rows(
        f"SELECT count(*) FROM batch_token WHERE hash LIKE '%{made['secret'][-32:]}%'"
    )
    folder.call("token", "create", "night-shift").refused(4, "there is one of this name, or was")
    folder.call("token", "create", "x", "--role", "king").refused(2, "viewer, operator, sync")
    folder.call("token", "revoke", "nobody").refused(2, "there is none of this name")
