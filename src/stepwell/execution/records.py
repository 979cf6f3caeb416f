"""The records of what ran: frozen, without I/O; ``repository/rows.py`` maps them to rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from stepwell.execution.parameters import JobParameter
from stepwell.execution.result import Failure, PartitionError
from stepwell.execution.status import BatchStatus, PartitionOutcome, Result


@dataclass(frozen=True)
class Metrics:
    """The eight metrics of a step, committed chunks only but for rollbacks (S132, S133)."""

    read_count: int = 0
    write_count: int = 0
    filter_count: int = 0
    commit_count: int = 0
    rollback_count: int = 0
    read_skip_count: int = 0
    process_skip_count: int = 0
    write_skip_count: int = 0


@dataclass(frozen=True)
class JobInstance:
    """One logical run of a job: its name and its job key (S4)."""

    instance_id: int
    job_name: str
    job_key: str


@dataclass(frozen=True)
class JobExecution:
    """One attempt at a JobInstance (S179)."""

    execution_id: int
    instance_id: int
    job_name: str
    batch_status: BatchStatus
    version: int
    fence: int
    owner_id: int | None
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    last_updated: datetime
    exit_status: str | None
    result: Result | None
    failure: Failure | None
    current_step: str | None
    last_step: str | None
    restart_position: str | None
    trigger_source: str
    triggered_by: str | None
    trial: int | None
    run_lock_key: str | None = None
    # Its place in the queue: a higher priority goes first, not before ``run_after``, and not before
    # the instance of execution ``after_id`` is COMPLETED.
    priority: int = 0
    run_after: datetime | None = None
    after_id: int | None = None
    # Deaths that the instance has been recovered from, and how many it survives by itself; None:
    # whoever started it restarts it (S191).
    recoveries: int = 0
    max_recoveries: int | None = None
    parameters: tuple[JobParameter, ...] = ()
    stop_requested: bool = False
    # Not stored: the original of ``failure``, in the process that ran the job (S73).
    exception: BaseException | None = field(default=None, compare=False, repr=False)

    @classmethod
    def fresh(
        cls, instance_id: int, job_name: str, *, owner_id: int | None, at: datetime, **given: Any
    ) -> JobExecution:
        """An execution that is to be inserted: STARTING, with nothing done.

        Owned it has fence 1; without an owner it waits for a worker, with fence 0 (S29). The INSERT
        gives its id.
        """
        return cls(
            execution_id=0,
            instance_id=instance_id,
            job_name=job_name,
            batch_status=BatchStatus.STARTING,
            version=0,
            fence=0 if owner_id is None else 1,
            owner_id=owner_id,
            create_time=at,
            start_time=None,
            end_time=None,
            last_updated=at,
            exit_status=None,
            result=None,
            failure=None,
            current_step=None,
            last_step=None,
            restart_position=None,
            **given,
        )


@dataclass(frozen=True)
class StepExecution:
    """One started attempt at a step inside a JobExecution (S2)."""

    step_execution_id: int
    execution_id: int
    step_name: str
    batch_status: BatchStatus
    version: int
    fence: int
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    last_updated: datetime
    exit_status: str | None
    result: Result | None
    failure: Failure | None
    metrics: Metrics
    chunk_number: int
    reader_checkpoint: str | None
    writer_checkpoint: str | None
    plan_id: int | None
    partition_total: int | None
    partition_completed: int | None
    partition_failed: int | None
    partition_partial: int | None
    progress_label: str | None
    progress_done: int | None
    progress_total: int | None
    # The persistent user data that it ended with, where a decision is handed it (S59).
    context: dict[str, Any] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Partition:
    """One numbered share of a partitioned step, frozen in the plan; ``input`` is JSON (S155)."""

    plan_id: int
    number: int
    name: str
    input: str


@dataclass(frozen=True, slots=True)
class PartitionPosition:
    """How far a partition's attempt has come: what its next attempt goes on from (S145, S156)."""

    chunk_number: int = 0
    reader_checkpoint: str | None = None
    writer_checkpoint: str | None = None
    metrics: Metrics = Metrics()


@dataclass(frozen=True)
class PartitionExecution:
    """One attempt at a Partition inside a StepExecution (S155)."""

    step_execution_id: int
    number: int
    name: str
    input: str
    batch_status: BatchStatus
    fence: int
    start_time: datetime | None
    end_time: datetime | None
    outcome: PartitionOutcome | None
    exit_status: str | None
    message: str | None
    counts: dict[str, int | float] = field(default_factory=dict)
    errors: tuple[PartitionError, ...] = ()
    metrics: Metrics = Metrics()


@dataclass(frozen=True)
class StatusChange:
    """One row of the append-only history (S27). ``step_name`` None: the job's own change."""

    history_id: int
    execution_id: int
    step_execution_id: int | None
    step_name: str | None
    from_status: BatchStatus | None
    to_status: BatchStatus
    changed_at: datetime
    actor: str
    reason: str | None


@dataclass(frozen=True)
class SkippedItem:
    """One item that a chunk step left out (S117)."""

    skip_id: int
    step_execution_id: int
    step_name: str
    phase: str
    position: int
    item: str | None
    error_type: str
    error_message: str
    skipped_at: datetime
    partition_number: int | None = None
