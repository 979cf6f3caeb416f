"""One Dask cluster for all tests that need one: it takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Two worker processes of this machine; their client is the program's."""
    from distributed import Client, LocalCluster

    with (
        # Port 0 is any that is free: another cluster on this machine may have the usual one.
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
    ):
        yield cluster
