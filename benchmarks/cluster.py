"""Partitions on a Dask cluster of two worker processes, against its bare futures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks import ours as stepwell
from benchmarks.measure import Row, compare
from stepwell import Job, PartitionedStep

COUNT = 2_000

none = nullcontext


@contextmanager
def started() -> Iterator[Any]:
    """The cluster; its client is the program's, so that Stepwell finds it."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as local,
        Client(local) as client,
    ):
        yield client


def bare(client: Any, count: int) -> float:
    """Futures a second: each partition one task, nothing recorded."""
    began = time.perf_counter()
    futures = client.map(stepwell.partition, range(count), pure=False)
    client.gather(futures)
    return count / (time.perf_counter() - began)


def ours(folder: Path, count: int) -> float:
    """Partitions a second, recorded; the cluster is there already."""
    step = PartitionedStep("count", lambda: range(count), stepwell.partition, executor="dask")
    with stepwell.open_node(folder) as node:
        began = time.perf_counter()
        stepwell.run(node, Job("partitions", steps=[step], identity="each-start"))
        return count / (time.perf_counter() - began)


def partitions_row() -> Row:
    """Small partitions: they travel together, which bare futures do not."""
    with started() as client:
        return compare(
            f"{COUNT:,} partitions on Dask, 2 workers",
            bare=lambda _folder: bare(client, COUNT),
            ours=lambda folder: ours(folder, COUNT),
            target=1.0,
            better="high",
            unit="/s",
        )
