"""Restart equivalence: a job that ends at any statement and is restarted leaves the same tables."""

from __future__ import annotations

import importlib
import itertools
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepwell.errors import JobInstanceAlreadyComplete
from stepwell.job.job import Job
from stepwell.node import Node
from stepwell.testing.jobs import application_rows
from stepwell.testing.statements import KillPoint, kill_points
from stepwell.testing.warm_parent import Ended, WarmParent

RUN = "stepwell.testing.restart:run_named_job"


def assert_restart_equivalent(
    job: str,
    parameters: Mapping[str, object] | None = None,
    *,
    points: Iterable[KillPoint | Sequence[KillPoint]] | None = None,
    tables: Iterable[str] | None = None,
) -> int:
    """End ``job`` at each point in a process of its own, restart it, and compare all tables.

    >>> assert_restart_equivalent("nightly.jobs:load", {"day": "2026-11-20"})
    >>> assert_restart_equivalent("nightly.jobs:load", points=[kill_at("commit", n=3)])

    Args:
        job: ``module:attribute`` of a Job; the processes import it by name.
        parameters: Those of the run, as JSON carries them.
        points: By default before and after every statement of an undisturbed run. Several in a
            sequence end the run, its restart, the restart of that, and so on. Steps that run on
            threads execute statements in no fixed order: their own statements are not points.
        tables: Those to compare; by default all but Stepwell's own.

    Returns:
        How many points, or sequences of them, were tried. Each takes some hundredths of a second.

    Raises:
        AssertionError: names every point whose tables differ, and how; or a given one that the run
            did not come to.
    """
    given = dict(parameters or {})
    wanted = None if tables is None else list(tables)
    with (
        tempfile.TemporaryDirectory(prefix="stepwell-") as folder,
        WarmParent([job.partition(":")[0], "stepwell.testing.restart"]) as parent,
    ):
        urls = (f"sqlite:///{Path(folder) / f'{n}.db'}" for n in itertools.count())

        def run(url: str, point: KillPoint | None = None) -> Ended:
            return parent.run(RUN, kill_at=point, url=url, job=job, parameters=given)

        undisturbed = run(next(urls))
        expected = _chosen(undisturbed.result, wanted)
        every = kill_points(undisturbed.statement_count or 0)
        wrong: dict[str, str] = {}
        tried = every if points is None else list(points)
        for point in tried:
            url = next(urls)
            for one in [point] if isinstance(point, KillPoint) else point:
                # Of all points the last may lie behind the end: connections are kept, or not.
                if not run(url, one).was_killed and points is not None:
                    wrong[str(point)] = f"the run ended before it came to {one}"
            found = _chosen(run(url).result, wanted)
            if found != expected:
                wrong[str(point)] = _difference(expected, found)
    if wrong:
        listed = "\n".join(f"  {point}: {what}" for point, what in wrong.items())
        raise AssertionError(f"{len(wrong)} of {len(tried)} restarts left other tables:\n{listed}")
    return len(tried)


def run_named_job(url: str, job: str, parameters: dict[str, object]) -> dict[str, Any]:
    """What a child process does: recover what is dead, run the job, answer status and tables."""
    module, _, attribute = job.partition(":")
    definition = getattr(importlib.import_module(module), attribute)
    if not isinstance(definition, Job):
        raise TypeError(f"{job} is no Job, got {definition!r}")
    with Node.open(url) as node:
        node.operator.recover_dead()
        try:
            status = str(node.operator.run(definition, parameters).batch_status)
        except JobInstanceAlreadyComplete:
            status = "COMPLETED"
        return {"status": status, "tables": application_rows(node)}


def _chosen(result: dict[str, Any], tables: Iterable[str] | None) -> dict[str, Any]:
    rows = result["tables"]
    return {
        "status": result["status"],
        **(rows if tables is None else {t: rows[t] for t in tables}),
    }


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    return "; ".join(
        f"{name}: expected {expected.get(name)!r:.300}, got {found.get(name)!r:.300}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    )
