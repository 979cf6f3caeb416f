"""What tests of the doctor do: break a database on purpose, look, and look again."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
import pysqlite3

from stepwell import Node
from stepwell.database.connect import Database
from stepwell.doctor.doctor import Doctor
from stepwell.finding import Finding, Severity
from stepwell.job.registry import JobRegistry

# What is found on a sound database because of the machine: two drivers are loaded in one test
# session, its disk may be full, and a frozen clock is not the server's.
OF_THE_MACHINE = {"two_sqlite_copies", "disk_space", "clock_skew"}


def doctor_of(node: Node, registry: JobRegistry | None = None) -> Doctor:
    known = registry if registry is not None else node.registry
    return Doctor(node.database, known, copy=no_copy)


def no_copy(database: Database) -> str:
    """Copies have tests of their own; of PostgreSQL one takes a second."""
    return "none: a test"


def found_by(doctor: Doctor) -> list[Finding]:
    return without_machine(doctor.examine())


def without_machine(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.code not in OF_THE_MACHINE]


def codes(findings: Iterable[Finding]) -> list[str]:
    return list(dict.fromkeys(finding.code for finding in findings))


def to_be_mended(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in without_machine(findings) if finding.severity != Severity.INFO]


def execute_unchecked(node: Node, *statements: str) -> None:
    """Somebody's SQL with foreign keys, CHECKs and triggers off, as the worst of tools has it."""
    url = node.settings.database_url
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            connection.execute("SET session_replication_role = replica")
            for sql in statements:
                connection.execute(sql.encode())
        return
    connection = pysqlite3.connect(node.database.path, isolation_level=None, timeout=10)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for sql in statements:
        connection.execute(sql)
    connection.close()


def constraint_off(node: Node, table: str, name: str) -> tuple[str, ...]:
    """What takes a CHECK away where it cannot be ignored."""
    if node.settings.database_url.startswith("postgresql"):
        return (f"ALTER TABLE {table} DROP CONSTRAINT {name}",)
    return ()
