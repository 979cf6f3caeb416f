"""Metrics, derived from the database when somebody asks: nothing is counted twice or forgotten."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from stepwell.node import Node
from stepwell.repository import browse

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(node: Node) -> str:
    """The metrics of a node in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_OfNode(node))
    return generate_latest(registry).decode()


class _OfNode:
    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        now = self._node.clock.now()
        with self._node.database.read() as reader:
            unended = browse.list_running(reader)
            counts = browse.count_by_status(reader)
        waiting = [execution for execution in unended if execution.owner_id is None]
        due = [e for e in waiting if e.run_after is None or e.run_after <= now]
        executions = GaugeMetricFamily(
            "stepwell_executions",
            "Of the last 10,000 executions, how many each job has with each status.",
            labels=["job", "status"],
        )
        for job, status, count in counts:
            executions.add_metric([job, status], count)
        yield executions
        yield GaugeMetricFamily(
            "stepwell_running",
            "Executions that a process runs.",
            value=len(unended) - len(waiting),
        )
        yield GaugeMetricFamily(
            "stepwell_queue_depth",
            "Registered executions that wait for a worker and are due.",
            value=len(due),
        )
        oldest = min((e.run_after or e.create_time for e in due), default=now)
        yield GaugeMetricFamily(
            "stepwell_queue_age_seconds",
            "How long the oldest of them has been due.",
            value=max(0.0, (now - oldest).total_seconds()),
        )
