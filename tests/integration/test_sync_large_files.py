"""T20: the memory of an import does not grow with its file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from stepwell import Node
from stepwell.clock import Clock
from stepwell.sync.bundle import Meta
from stepwell.sync.bundle_writer import write_bundle_files
from stepwell.sync.change import COUNTER_BITS, Change, hlc_of
from tests.support.change_log import execute

MB = 1_000_000
ROW_BYTES = 10_000
A_GROUP = 10
GROWTH_MB_MAX = 50

IMPORT_AND_TELL_PEAK = """
import resource, subprocess, sys
database, file = sys.argv[1:]
command = [sys.executable, "-m", "stepwell", "--database", database, "sync", "import", file]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def changes(count: int, schema: str) -> Iterator[Change]:
    """New rows of ten thousand bytes each."""
    stamp, text = hlc_of(Clock().now()) - (60_000 << COUNTER_BITS), "x" * ROW_BYTES
    for number in range(count):
        group = number // A_GROUP + 1
        yield Change(
            lsn=number + 1,
            tx_id=f"t{group}",
            table_name="page",
            pk_json=msgspec.Raw(msgspec.json.encode({"id": number})),
            op="I",
            payload=msgspec.Raw(msgspec.json.encode({"id": number, "text": text})),
            created_at="2026-11-20T00:00:00.000000Z",
            source_node="shop-1",
            origin="shop-1",
            epoch=1,
            seq=group,
            hlc=stamp + group,
            causal_length=1,
            schema=schema,
        )


def peak_mb(folder: Path, size: int) -> float:
    """What an import of a file of so many bytes needs at most, from the command line."""
    folder.mkdir()
    database, file, count = folder / "main.db", folder / "shop.jsonl", size // ROW_BYTES
    with Node.open(f"sqlite:///{database}") as node:
        node.sync.init("main", is_main=True)
        execute(node.database, "CREATE TABLE page (id INTEGER NOT NULL PRIMARY KEY, text TEXT)")
        schema = node.sync.track("page").fingerprint
    meta = Meta(tx_id="f", source_node="shop-1", epoch=1, to_lsn=count)
    write_bundle_files(file, meta, changes(count, schema))
    told = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_TELL_PEAK, f"sqlite:///{database}", str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    with closing(sqlite3.connect(database)) as connection:
        assert [(count,)] == connection.execute("SELECT count(*) FROM page").fetchall()
    assert file.stat().st_size > size
    return float(told.stdout)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_file_of_a_gigabyte_needs_no_more_memory_than_one_of_thirty_megabytes(
    tmp_path: Path,
) -> None:
    small = peak_mb(tmp_path / "small", 30 * MB)
    large = peak_mb(tmp_path / "large", 1_000 * MB)

    assert large < small + GROWTH_MB_MAX, (small, large)
