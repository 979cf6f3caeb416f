"""The executor of a Dask cluster: its client's own, which is a ``concurrent.futures.Executor``.

Dask is never the source of truth: a task that it runs again, because a worker was lost, goes on
where the partition's rows say, and what has ended meanwhile does not run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def dask_executor() -> Iterator[tuple[Executor, int]]:
    """The executor of this program's client and how many threads its workers have.

    Without a client the scheduler that Dask's own configuration names is asked; when that names
    none, a cluster of this machine is started for as long as this is open.
    """
    distributed: Any = import_module("distributed")  # It has no types.
    try:
        client = distributed.default_client()
    except ValueError:
        is_elsewhere = import_module("dask.config").get("scheduler-address", None) is not None
        # Nobody asked for the page of a cluster of our own: it takes any port.
        local = {} if is_elsewhere else {"dashboard_address": "127.0.0.1:0"}
        with distributed.Client(set_as_default=False, **local) as own:
            yield _of(own)
    else:
        yield _of(client)


def _of(client: Any) -> tuple[Executor, int]:
    # Not pure: two partitions of the same input are two pieces of work.
    return client.get_executor(pure=False), max(1, sum(client.nthreads().values()))
