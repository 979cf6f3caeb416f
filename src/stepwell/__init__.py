"""Dependable batch for Python: jobs whose recorded status is never wrong.

The names listed in ``__all__`` are the public surface, with ``stepwell.items`` and
``stepwell.errors``: they keep their meaning within a major version, and what goes is announced by a
``DeprecationWarning`` for a year or two minor releases, the longer of the two. Everything else may
change. Names are imported when they are first used, so that a command that runs no job pays for
none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.execution.records import JobExecution as JobExecution
    from stepwell.execution.records import JobInstance as JobInstance
    from stepwell.execution.records import StepExecution as StepExecution
    from stepwell.execution.result import PartitionResult as PartitionResult
    from stepwell.execution.result import WriteReport as WriteReport
    from stepwell.execution.status import BatchStatus as BatchStatus
    from stepwell.job.item import ItemProcessor as ItemProcessor
    from stepwell.job.item import ItemReader as ItemReader
    from stepwell.job.item import ItemWriter as ItemWriter
    from stepwell.job.job import Job as Job
    from stepwell.job.parameters import NonIdentifying as NonIdentifying
    from stepwell.job.parameters import Parameters as Parameters
    from stepwell.job.policy import Retry as Retry
    from stepwell.job.policy import Skip as Skip
    from stepwell.job.step import ChunkStep as ChunkStep
    from stepwell.job.step import PartitionedStep as PartitionedStep
    from stepwell.job.step import Repeat as Repeat
    from stepwell.job.step import TaskletStep as TaskletStep
    from stepwell.node import Node as Node
    from stepwell.operator import JobOperator as JobOperator
    from stepwell.runner.context import StepContext as StepContext
    from stepwell.runner.migration import MigrationTasklet as MigrationTasklet

_MODULES = {
    "BatchStatus": "stepwell.execution.status",
    "ChunkStep": "stepwell.job.step",
    "ItemProcessor": "stepwell.job.item",
    "ItemReader": "stepwell.job.item",
    "ItemWriter": "stepwell.job.item",
    "Job": "stepwell.job.job",
    "JobExecution": "stepwell.execution.records",
    "JobInstance": "stepwell.execution.records",
    "JobOperator": "stepwell.operator",
    "MigrationTasklet": "stepwell.runner.migration",
    "Node": "stepwell.node",
    "NonIdentifying": "stepwell.job.parameters",
    "Parameters": "stepwell.job.parameters",
    "PartitionResult": "stepwell.execution.result",
    "PartitionedStep": "stepwell.job.step",
    "Repeat": "stepwell.job.step",
    "Retry": "stepwell.job.policy",
    "Skip": "stepwell.job.policy",
    "StepContext": "stepwell.runner.context",
    "StepExecution": "stepwell.execution.records",
    "TaskletStep": "stepwell.job.step",
    "WriteReport": "stepwell.execution.result",
}

__all__ = sorted(_MODULES)  # noqa: PLE0605 - the list is derived so that it cannot disagree


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'stepwell' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
