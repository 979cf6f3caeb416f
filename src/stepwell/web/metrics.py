"""Metrics, derived from the database when somebody asks: nothing is counted twice or forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from stepwell.node import Node
from stepwell.repository.tallies import queue
from stepwell.repository.zero_rows import ZeroRowUpdates
from stepwell.sync.lag import Lag
from stepwell.web.lately import Lately
from stepwell.web.tallies import Labels, Tallies

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one node. Threads share it; they are asked one at a time."""

    def __init__(self, node: Node, lately: Lately | None = None) -> None:
        self._node = node
        self._lately = lately or Lately(node.database, node.clock)
        self._tallies = Tallies()
        self._lock = Lock()

    def text(self) -> str:
        """All of them in the text format of Prometheus."""
        with self._lock:
            registry = CollectorRegistry(auto_describe=False)
            registry.register(self)
            return generate_latest(registry).decode()

    def collect(self) -> Iterator[Metric]:
        """Read the database; for the registry."""
        yield from self._executions()
        yield from self._sums()
        yield from self._findings()
        yield from self._sync()
        yield _single(
            "stepwell_wal_bytes",
            "The write-ahead log of a SQLite database; 0 on a server.",
            self._node.database.info().wal_bytes,
        )

    def _executions(self) -> Iterator[Metric]:
        now = self._node.clock.now()
        with self._node.database.read() as reader:
            found = queue(reader, now)
        yield _labelled(
            "stepwell_executions",
            "Of the last 10,000 executions, how many each job has with each status.",
            ["job", "status"],
            {(job, status): count for job, status, count in self._lately.counts()},
        )
        yield _single("stepwell_running", "Executions that a process runs.", found.running)
        yield _single(
            "stepwell_queue_depth",
            "Registered executions that wait for a worker and are due.",
            found.due,
        )
        oldest = found.oldest_due_at or now
        yield _single(
            "stepwell_queue_age_seconds",
            "How long the oldest of them has been due.",
            max(0.0, (now - oldest).total_seconds()),
        )

    def _sums(self) -> Iterator[Metric]:
        with self._node.database.read() as reader:
            self._tallies.add(reader)
        found = self._tallies
        yield _summary(
            "stepwell_execution_seconds",
            "How long executions took.",
            ["job"],
            found.execution_seconds,
        )
        yield _summary(
            "stepwell_step_seconds", "How long steps took.", ["job", "step"], found.step_seconds
        )
        yield _summary(
            "stepwell_partition_seconds",
            "How long partitions took, added when their step has ended.",
            ["job", "step"],
            found.partition_seconds,
        )
        items = CounterMetricFamily(
            "stepwell_items",
            "Items of chunks: read, written, filtered, skipped.",
            labels=["job", "step", "kind"],
        )
        for labels, number in sorted(found.items.items()):
            items.add_metric(labels, number)
        yield items
        zero_rows = CounterMetricFamily(
            "stepwell_zero_row_updates",
            "Updates of this process that hit no row.",
            value=ZeroRowUpdates.count,
        )
        yield zero_rows

    def _findings(self) -> Iterator[Metric]:
        doctor = self._node.doctor
        yield _labelled(
            "stepwell_doctor_findings",
            "What the doctor has found when it looked last in this process.",
            ["code"],
            {(code,): count for code, count in doctor.counts().items()},
        )
        for name, count in sorted(doctor.metrics().items()):
            yield _single(name, "Of an invariant of the project, when the doctor looked.", count)

    def _sync(self) -> Iterator[Metric]:
        sync = self._node.sync
        is_node = sync.is_node
        lags: list[Lag] = sync.lags() if is_node else []
        yield _labelled(
            "stepwell_sync_lag_lsn",
            "Positions of the log that a peer has not acknowledged.",
            ["peer"],
            {(lag.peer,): lag.lsn for lag in lags},
        )
        yield _labelled(
            "stepwell_sync_lag_seconds",
            "How old the oldest change is that a peer has not acknowledged.",
            ["peer"],
            {(lag.peer,): lag.seconds for lag in lags},
        )
        yield _single(
            "stepwell_conflicts_waiting",
            "Conflicts that wait for a person.",
            sync.count_conflicts() if is_node else 0,
        )


def _single(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(name, told, value=value)


def _labelled(name: str, told: str, labels: list[str], values: dict[Labels, float]) -> Metric:
    gauge = GaugeMetricFamily(name, told, labels=labels)
    for values_of_labels, value in values.items():
        gauge.add_metric(values_of_labels, value)
    return gauge


def _summary(
    name: str, told: str, labels: list[str], sums: dict[Labels, tuple[int, float]]
) -> Metric:
    summary = SummaryMetricFamily(name, told, labels=labels)
    for values, (count, together) in sorted(sums.items()):
        summary.add_metric(values, count_value=count, sum_value=together)
    return summary
