"""D5, D6 and D11 of ``invariants.py`` on PostgreSQL: what its server tells about itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from stepwell.finding import Finding, Severity

OLD_TRANSACTION_S = 3600
CLOCK_SKEW_S = 60

EXPLANATIONS = {
    "old_transaction": "While it is open the server can clean up nothing that has changed since:"
    " tables grow, and everything becomes slower.",
    "integrity": "The server has read pages whose checksum was wrong: a disk or its driver has"
    " damaged them.",
    "clock_skew": "Times in the records are this machine's; liveness goes by the server's. Two"
    " clocks that differ make the order of events hard to follow.",
}


def findings(connection: Any, now: datetime) -> Iterator[Finding]:
    """Everything that a session without special rights can see."""
    cursor = connection.cursor
    cursor.execute(
        "SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)"
        " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND xact_start < clock_timestamp() - make_interval(secs => %s) ORDER BY xact_start",
        (OLD_TRANSACTION_S,),
    )
    for pid, name, age_s in cursor.fetchall():
        yield Finding(
            "old_transaction",
            Severity.WARNING,
            f"backend {pid}",
            f"{name or 'a session without a name'} has a transaction open for {age_s:,.0f} s",
            f"end it, such as with `SELECT pg_terminate_backend({pid})`",
            "D5",
            EXPLANATIONS["old_transaction"],
        )
    cursor.execute(
        "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
    )
    failures = cursor.fetchall()[0][0]
    if failures:
        yield Finding(
            "integrity",
            Severity.ERROR,
            "the server",
            f"{failures} pages had a wrong checksum",
            "restore a copy, on another disk",
            "D6",
            EXPLANATIONS["integrity"],
        )
    cursor.execute("SELECT clock_timestamp()")
    yield from clock_skew(cursor.fetchall()[0][0], now)


def clock_skew(server: datetime, now: datetime) -> Iterator[Finding]:
    """D11."""
    ahead_s = (server - now).total_seconds()
    if abs(ahead_s) > CLOCK_SKEW_S:
        yield Finding(
            "clock_skew",
            Severity.WARNING,
            "this machine's clock",
            f"the server's is {abs(ahead_s):,.0f} s {'ahead' if ahead_s > 0 else 'behind'}",
            "let both follow a time server",
            "D11",
            EXPLANATIONS["clock_skew"],
        )
