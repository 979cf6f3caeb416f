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
    from stepwell.job.chunk import CheckpointAlgorithm as CheckpointAlgorithm
    from stepwell.job.flow import Decision as Decision
    from stepwell.job.flow import Flow as Flow
    from stepwell.job.flow import Split as Split
    from stepwell.job.flow import on as on
    from stepwell.job.invariant import Invariant as Invariant
    from stepwell.job.item import ItemProcessor as ItemProcessor
    from stepwell.job.item import ItemReader as ItemReader
    from stepwell.job.item import ItemWriter as ItemWriter
    from stepwell.job.job import Job as Job
    from stepwell.job.listener import ChunkListener as ChunkListener
    from stepwell.job.listener import ItemListener as ItemListener
    from stepwell.job.listener import JobListener as JobListener
    from stepwell.job.listener import RetryListener as RetryListener
    from stepwell.job.listener import SkipListener as SkipListener
    from stepwell.job.listener import StepListener as StepListener
    from stepwell.job.parameters import NonIdentifying as NonIdentifying
    from stepwell.job.parameters import Parameters as Parameters
    from stepwell.job.partition import PartitionPlan as PartitionPlan
    from stepwell.job.policy import Retry as Retry
    from stepwell.job.policy import Skip as Skip
    from stepwell.job.step import ChunkStep as ChunkStep
    from stepwell.job.step import PartitionedStep as PartitionedStep
    from stepwell.job.step import Repeat as Repeat
    from stepwell.job.step import TaskletStep as TaskletStep
    from stepwell.node import Node as Node
    from stepwell.operator import JobOperator as JobOperator
    from stepwell.runner.context import JobContext as JobContext
    from stepwell.runner.context import StepContext as StepContext
    from stepwell.runner.migration import MigrationTasklet as MigrationTasklet

_MODULES = {
    "BatchStatus": "stepwell.execution.status",
    "CheckpointAlgorithm": "stepwell.job.chunk",
    "ChunkListener": "stepwell.job.listener",
    "ChunkStep": "stepwell.job.step",
    "Decision": "stepwell.job.flow",
    "Flow": "stepwell.job.flow",
    "Invariant": "stepwell.job.invariant",
    "ItemListener": "stepwell.job.listener",
    "ItemProcessor": "stepwell.job.item",
    "ItemReader": "stepwell.job.item",
    "ItemWriter": "stepwell.job.item",
    "Job": "stepwell.job.job",
    "JobContext": "stepwell.runner.context",
    "JobExecution": "stepwell.execution.records",
    "JobInstance": "stepwell.execution.records",
    "JobListener": "stepwell.job.listener",
    "JobOperator": "stepwell.operator",
    "MigrationTasklet": "stepwell.runner.migration",
    "Node": "stepwell.node",
    "NonIdentifying": "stepwell.job.parameters",
    "Parameters": "stepwell.job.parameters",
    "PartitionPlan": "stepwell.job.partition",
    "PartitionResult": "stepwell.execution.result",
    "PartitionedStep": "stepwell.job.step",
    "Repeat": "stepwell.job.step",
    "Retry": "stepwell.job.policy",
    "RetryListener": "stepwell.job.listener",
    "Skip": "stepwell.job.policy",
    "SkipListener": "stepwell.job.listener",
    "Split": "stepwell.job.flow",
    "StepContext": "stepwell.runner.context",
    "StepExecution": "stepwell.execution.records",
    "StepListener": "stepwell.job.listener",
    "TaskletStep": "stepwell.job.step",
    "WriteReport": "stepwell.execution.result",
    "on": "stepwell.job.flow",
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
