"""200 browsers and eight workers, as processes and sockets: the database sees one poller."""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import current_thread

import pytest

from stepwell import Node
from stepwell.settings import load_settings
from stepwell.testing import each_statement
from stepwell.web.app import make_app
from stepwell.web.server import Server

BROWSERS, WORKERS, EXECUTIONS = 200, 8, 40
CHANGES = 2 * EXECUTIONS  # That each is completed, and its step.
WAIT_S = 300
JOBS = """
from stepwell import Job, TaskletStep
job = Job("tidy", [TaskletStep("tidy", lambda: None)], identity="each-start", run_lock=None)
"""
ASKS = b"GET /api/events HTTP/1.1\r\nHost: localhost:9093\r\n\r\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_browsers_and_eight_workers_are_one_poller(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(JOBS, encoding="utf-8")
    (tmp_path / "stepwell.toml").write_text(
        'database = "sqlite:///a.db"\njobs = ["jobs"]\n', encoding="utf-8"
    )
    by_thread: Counter[str] = Counter()

    def count(when: str, _sql: str, _connection: object) -> None:
        by_thread[current_thread().name] += when == "before"

    with (
        each_statement(count),
        Node.open(load_settings(environment={}, working_folder=tmp_path)) as node,
    ):
        node.load_jobs()
        with Server(make_app(node), "127.0.0.1", 0) as server:
            browsers = [
                socket.create_connection(("127.0.0.1", server.port)) for _ in range(BROWSERS)
            ]
            for browser in browsers:
                browser.sendall(ASKS)
            for _ in range(EXECUTIONS):
                node.operator.register("tidy")
            by_thread.clear()
            workers = [
                subprocess.Popen(
                    [sys.executable, "-m", "stepwell", "work", "--drain"],
                    cwd=tmp_path,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                for _ in range(WORKERS)
            ]
            heard = hear(browsers, until=b'"to_status": "COMPLETED"', times=CHANGES)
            ended = [worker.wait(WAIT_S) for worker in workers]
            for browser in browsers:
                browser.close()

    assert [0] * WORKERS == ended
    assert {CHANGES} == set(heard)
    assert by_thread["stepwell-events"]
    # Whatever is read for those who listen, one thread reads it.
    assert set(by_thread) <= {"stepwell-events", "MainThread"}


def hear(browsers: list[socket.socket], *, until: bytes, times: int) -> list[int]:
    """How often each was told it; read as it comes, so that none is slow."""
    told = {browser.fileno(): b"" for browser in browsers}
    counts = dict.fromkeys(told, 0)
    with selectors.DefaultSelector() as selector:
        for browser in browsers:
            browser.setblocking(False)
            selector.register(browser, selectors.EVENT_READ)
        while min(counts.values()) < times:
            ready = selector.select(WAIT_S)
            assert ready, counts
            for key, _ in ready:
                part = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
                assert part, "the server has ended a connection"
                seen = told[key.fd] + part
                counts[key.fd] += seen.count(until)
                told[key.fd] = seen[-len(until) + 1 :]
    return list(counts.values())
