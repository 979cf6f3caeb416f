"""Readers and writers where they belong: in chunk steps that fail, skip and are restarted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import MalformedItem
from stepwell.items import (
    CsvReader,
    CsvWriter,
    IterableReader,
    JsonLinesReader,
    JsonLinesWriter,
    LinesReader,
    LinesWriter,
    SqlReader,
    SqlWriter,
)
from stepwell.job.job import Job
from stepwell.job.policy import Retry, Skip
from stepwell.job.step import ChunkStep
from stepwell.node import Node

ROWS = 25


@pytest.fixture
def node(database_url: str) -> Iterator[Node]:
    with Node.open(database_url) as node:
        with node.database.write() as transaction:
            transaction.connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
        yield node


def rows(node: Node) -> list[tuple[Any, ...]]:
    with node.database.read() as reader:
        return reader.connection.execute("SELECT id, name FROM item ORDER BY id").fetchall()


class FailsOnce:
    """A processor that raises at the n-th item it sees, and never again."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, item: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("the power is gone")
        return item


def run_to_the_end(node: Node, reader: Any, writer: Any, fails_at: int = 13, **options: Any) -> Any:
    """A first execution that fails, and a restart that completes."""
    job = Job("copy", steps=[ChunkStep("copy", reader, FailsOnce(fails_at), writer, 4, **options)])
    first = node.operator.run(job)
    last = node.operator.run(job)

    assert [str(first.batch_status), str(last.batch_status)] == ["FAILED", "COMPLETED"]
    return last


@pytest.mark.parametrize("fails_at", [1, 4, 13, 25])
def test_a_csv_file_is_in_the_table_once_after_a_failure_and_a_restart(
    node: Node, tmp_path: Path, fails_at: int
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,name\n" + "".join(f"{n},n{n}\n" for n in range(ROWS)))
    reader = CsvReader(path, types={"id": int}, rows="tuple")

    run_to_the_end(node, reader, SqlWriter("item", columns=["id", "name"]), fails_at)

    assert rows(node) == [(n, f"n{n}") for n in range(ROWS)]


@pytest.mark.parametrize("fails_at", [1, 5, 24])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "lines.gz"])
def test_a_table_is_in_the_file_once_after_a_failure_and_a_restart(
    node: Node, tmp_path: Path, kind: str, fails_at: int
) -> None:
    with node.database.write() as transaction:
        transaction.connection.executemany(
            "INSERT INTO item VALUES (:id, :name)", [(n, f"n{n}") for n in range(ROWS)]
        )
    path = tmp_path / f"out.{kind}"
    fields = ["name"] if kind == "lines.gz" else ["id", "name"]
    reader = SqlReader("item", columns=fields, key=["id"], page_size=3, rows="dict")
    writer: Any = {"csv": CsvWriter, "jsonl": JsonLinesWriter, "lines.gz": NamesWriter}[kind](path)

    run_to_the_end(node, reader, writer, fails_at)

    back: Any = {"csv": CsvReader, "jsonl": JsonLinesReader, "lines.gz": LinesReader}[kind](path)
    back.open(None)
    got = list(iter(back.read, None))
    back.close()
    expected: list[Any] = [{"id": n, "name": f"n{n}"} for n in range(ROWS)]
    if kind == "csv":
        expected = [{"id": str(n), "name": f"n{n}"} for n in range(ROWS)]
    if kind == "lines.gz":
        expected = [f"n{n}" for n in range(ROWS)]
    assert got == expected


class NamesWriter(LinesWriter):
    def write(self, items: Any, step: Any = None) -> None:
        super().write([item["name"] for item in items], step)


def test_malformed_records_are_skipped_and_recorded(node: Node, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,name\n1,a\nx,b\n3,c\n4\n5,e\n")
    step = ChunkStep(
        "load",
        CsvReader(path, types={"id": int}),
        None,
        SqlWriter("item", key=["id"]),
        chunk_size=2,
        skip=Skip(MalformedItem, limit=2),
    )

    execution = node.operator.run(Job("load", steps=[step]))

    assert str(execution.batch_status) == "COMPLETED"
    assert rows(node) == [(1, "a"), (3, "c"), (5, "e")]


@pytest.mark.parametrize(
    ("write_skip", "lines"),
    [("item", ["a", "b", "c", "e", "f", "g"]), ("chunk", ["a", "b", "c", "g"])],
)
def test_a_skipped_write_leaves_out_what_it_must_and_doubles_nothing(
    node: Node, tmp_path: Path, write_skip: Any, lines: list[str]
) -> None:
    path = tmp_path / "out.txt"
    step = ChunkStep(
        "write",
        IterableReader(["a", "b", "c", "d\n", "e", "f", "g"]),
        None,
        LinesWriter(path),
        chunk_size=3,
        skip=Skip(MalformedItem),
        write_skip=write_skip,
    )

    node.operator.run(Job("write", steps=[step]))

    assert path.read_text().splitlines() == lines


class FailingCommits(LinesWriter):
    """Its first checkpoints do what a failing commit does: the chunk is written, and undone."""

    def write(self, items: Any, step: Any = None) -> None:
        super().write(items, step)
        if FailingCommits.left:
            FailingCommits.left -= 1
            super().checkpoint()
            raise ConnectionError("the commit failed")

    left = 0


@pytest.mark.parametrize("policy", ["retry", "retry without rollback", "skip"])
def test_a_chunk_whose_commit_failed_is_in_the_file_once_or_not_at_all(
    node: Node, tmp_path: Path, policy: str
) -> None:
    """Goal: S118 to S122 with a file. Method: a fault behind the checkpoint of the file writer."""
    path = tmp_path / "out.txt"
    FailingCommits.left = 2
    options: dict[str, Any] = {
        "retry": {"retry": Retry(ConnectionError)},
        "retry without rollback": {
            "retry": Retry(ConnectionError, no_rollback=(ConnectionError,)),
        },
        "skip": {"skip": Skip(ConnectionError), "write_skip": "chunk"},
    }[policy]
    step = ChunkStep("write", list("abcdefg"), None, FailingCommits(path), 3, **options)

    execution = node.operator.run(Job("write", steps=[step]))

    assert str(execution.batch_status) == "COMPLETED"
    assert path.read_text().split() == list("g" if policy == "skip" else "abcdefg")
