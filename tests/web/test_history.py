"""A long history: what is asked of it is bounded, and what is answered is the same."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from fastapi.routing import APIRoute

from benchmarks.history import open_with_history, targets
from stepwell import Node
from stepwell.repository import browse
from stepwell.testing import each_statement
from stepwell.web import pages
from stepwell.web.app import API, make_app
from stepwell.web.desk.routes import PAGES
from tests.sql.test_statements import GROWING, PARTIAL_INDEXES, SMALL_TABLES
from tests.web.client import Client

COUNT, WALKED, FEW = 2_000, 300, 2
# The doctor reads everything, and says so; the others never end, or are the exchange of changes.
NOT_ASKED = re.compile(r"/api/doctor$|/doctor$|/doctor/plan$|/events$|/sync/|/backups")
# Whatever there is, the newest of it by its key: the first rows that are read are the answer.
_NEWEST = re.compile(r"^(?!.*WHERE).*ORDER BY \S+_id DESC\s+LIMIT", re.DOTALL)
_WHOLE = re.compile("batch_pool|batch_schema_version")  # What people have named; one row.


class Seen:
    """The different statements of this process."""

    def __init__(self) -> None:
        self.statements: set[str] = set()
        self._lock = Lock()

    def __call__(self, when: str, sql: str, connection: Any) -> None:
        with self._lock:
            self.statements.add(sql)

    def take(self) -> set[str]:
        with self._lock:
            taken, self.statements = self.statements, set()
        return taken


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, seen: Seen) -> Iterator[Node]:
    with each_statement(seen):
        node = open_with_history(tmp_path_factory.mktemp("history"), COUNT)
        node.sync.init("main", is_main=True)
        yield node
        node.close()


@pytest.fixture
def client(node: Node, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(browse, "WALKED_EXECUTIONS", WALKED)
    monkeypatch.setattr(browse, "FEW_MAX", FEW)
    return Client(make_app(node))


def asked() -> Iterator[str]:
    """Every page and question, and some of them with what they may be asked for."""
    usual = {"job": "rare", "name": "night", "execution_id": "7", "first": "7", "second": "8"}
    for part in (*API, pages, *PAGES):
        for route in part.router.routes:
            if isinstance(route, APIRoute) and "GET" in route.methods:
                path = route.path
                for name in re.findall(r"{(\w+)}", path):
                    path = path.replace(f"{{{name}}}", usual.get(name, "1"))
                yield path
    yield from targets(COUNT).values()
    yield from ("/api/diff?first=7&second=8", "/executions?job=job-7&before=900")


def test_no_page_and_no_question_reads_a_growing_table_whole(
    client: Client, node: Node, seen: Seen
) -> None:
    """Goal: also the statements that are put together when they are asked. Method: EXPLAIN."""
    scans = []
    assert node.database.path is not None
    client.get("/")  # The doctor looks at everything, but not for each page.
    with closing(sqlite3.connect(node.database.path)) as connection:
        for path in dict.fromkeys(asked()):
            if NOT_ASKED.search(path):
                continue
            seen.take()
            assert client.get(path).status < 500, path
            scans += [
                (path, step, sql)
                for sql in seen.take()
                if sql.startswith(("SELECT", "WITH"))
                for step in scans_of(connection, sql)
            ]

    assert [] == scans


def scans_of(connection: sqlite3.Connection, sql: str) -> list[str]:
    steps = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?")).fetchall()
    return [
        step[3]
        for step in steps
        if GROWING.match(step[3])
        and step[3].rpartition("USING INDEX ")[2] not in PARTIAL_INDEXES
        and not re.match(rf"{SMALL_TABLES}\b", step[3])
        and not _WHOLE.search(step[3])
        and not _NEWEST.search(sql)
    ]


def ids(node: Node, where: str) -> list[int]:
    """By a statement that nobody has made clever."""
    assert node.database.path is not None
    with closing(sqlite3.connect(node.database.path)) as connection:
        found = connection.execute(
            "SELECT job_execution_id FROM batch_job_execution JOIN batch_job_instance"
            f" USING (job_instance_id) WHERE {where} ORDER BY job_execution_id DESC"
        )
        return [row[0] for row in found]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("job=job-7", "job_name = 'job-7'"),
        ("job=rare", "job_name = 'rare'"),
        ("job=nobody", "0"),
        ("job=rare&status=COMPLETED", "job_name = 'rare' AND status = 'COMPLETED'"),
        ("job=job-7&status=ABANDONED", "0"),
        ("job=job-10&status=FAILED", "job_name = 'job-10' AND status = 'FAILED'"),
        ("status=FAILED", "status = 'FAILED'"),
        ("status=ABANDONED", "0"),
        ("status=FAILED&status=COMPLETED", "1"),
    ],
)
def test_pages_together_are_all_of_them_however_they_are_looked_for(
    client: Client, node: Node, query: str, where: str
) -> None:
    found, before = [], ""
    while True:
        page = client.get(f"/api/executions?limit=40&{query}{before}").json
        found += [execution["execution_id"] for execution in page["executions"]]
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"

    assert ids(node, where) == found


@pytest.mark.parametrize("job", ["", "&job=job-7"])
def test_of_a_rare_status_no_page_walks_the_whole_history(client: Client, job: str) -> None:
    page = client.get(f"/api/executions?status=ABANDONED{job}").json

    assert {"executions": [], "next_before": COUNT + 1 - WALKED} == page


def test_the_last_execution_of_each_job_is_found(client: Client, node: Node) -> None:
    with node.database.read() as reader:
        last = browse.last_execution_ids(reader)

    assert {name: max(ids(node, f"job_name = '{name}'")) for name in last} == last
    assert {"rare", "job-0", "job-19"} <= last.keys()


def test_who_looks_at_the_same_state_is_given_the_same_answer(
    node: Node, seen: Seen, tmp_path: Path
) -> None:
    """Goal: 200 pages fetched again at one change cost one answer, and a change is never missed."""
    lately = make_app(node).state.face.lately
    seen.take()
    first = lately.counts()
    worked_out = {sql for sql in seen.take() if "GROUP BY" in sql}
    again = lately.counts()
    kept = {sql for sql in seen.take() if "GROUP BY" in sql}
    node.operator.run("rare")
    changed = lately.counts()

    assert (1, 0) == (len(worked_out), len(kept))
    assert first == again
    assert ("rare", "COMPLETED", 1) not in [row for row in first if row[0] == "rare"]
    assert sum(row[2] for row in changed) == sum(row[2] for row in first) + 1
