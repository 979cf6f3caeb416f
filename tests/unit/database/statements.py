"""The statements of a small table, and programs that are run beside a test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import BigInteger, Integer, Text, bindparam, column, insert, select, table, update

from stepwell.database.prepared import Prepared

item = table("item", column("id", BigInteger), column("name", Text), column("n", Integer))

ADD = Prepared(insert(item))
RENAME = Prepared(
    update(item).where(item.c.id == bindparam("item_id")).values(name=bindparam("to"))
)
COUNT_UP = Prepared(update(item).where(item.c.id == bindparam("item_id")).values(n=item.c.n + 1))
GET = Prepared(select(item).where(item.c.id == bindparam("item_id")))
ALL = Prepared(select(item).order_by(item.c.id))
LOCK = Prepared(select(item.c.n).where(item.c.id == bindparam("item_id")).with_for_update())


def row(number: int, name: str = "x", n: int = 0) -> dict[str, object]:
    return {"id": number, "name": name, "n": n}


@contextmanager
def program(source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program in a process of its own, killed at the end; talk by its pipes."""
    process = subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that the program prints; empty when it has ended."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
