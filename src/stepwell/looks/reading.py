"""What the commands look at: executions with their steps, owner and progress, in one read each.

Nothing here writes, imports the user's modules or waits for a writer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.database.transaction import Reader
from stepwell.errors import DatabaseError
from stepwell.execution.records import (
    JobExecution,
    PartitionExecution,
    SkippedItem,
    StatusChange,
    StepExecution,
)
from stepwell.looks.progress import Meter, StepProgress, since_start
from stepwell.looks.restarting import Restart, restart_by_id
from stepwell.repository import browse
from stepwell.repository.executions import get_execution, list_of_instance, list_parameters
from stepwell.repository.history import list_changes
from stepwell.repository.owners import Owner, find_owner
from stepwell.repository.partitions import list_partition_executions
from stepwell.repository.steps import list_skips, list_steps

LATELY = timedelta(days=7)
FAILED_MAX = 20
WAITING_MAX = 20
COMPLETED_MAX = 5


@dataclass(frozen=True)
class Look:
    """An execution as it was at one moment.

    Attributes:
        owner_is_dead: Proven; None when nobody needs to know, because it has ended or has no owner.
        restart: Answers the command that restarts it.
    """

    execution: JobExecution
    steps: tuple[StepProgress, ...]
    at: datetime
    owner: Owner | None = None
    owner_is_dead: bool | None = None
    restart: Restart = field(default=restart_by_id, compare=False)

    @property
    def restart_command(self) -> str:
        """What a person types to restart it."""
        return self.restart(self.execution)

    @property
    def execution_id(self) -> int:
        """The id of the execution."""
        return self.execution.execution_id

    @property
    def running_steps(self) -> list[StepProgress]:
        """The steps that have not ended."""
        return [progress for progress in self.steps if progress.step.batch_status.is_running]

    @property
    def waits(self) -> bool:
        """Whether it is registered, and no worker has claimed it yet."""
        return self.execution.batch_status.is_running and self.execution.owner_id is None


@dataclass(frozen=True)
class Overview:
    """What runs, waits, failed lately and was completed last.

    Attributes:
        waiting: The first of what waits for a worker, in the order of the queue.
        waiting_count: How many wait in all.
    """

    location: str
    running: tuple[Look, ...]
    waiting: tuple[Look, ...]
    waiting_count: int
    failed: tuple[JobExecution, ...]
    completed: tuple[JobExecution, ...]


@dataclass(frozen=True)
class Details:
    """Everything that is recorded of one execution; partitions and skips up to a limit.

    Attributes:
        earlier: The ids of the instance's executions before this one.
        later_id: The last execution of the instance, when that is another one.
        partitions: Of each partitioned step, by its step execution id.
        partition_times: Of each step that has recorded results of partitions, likewise.
    """

    look: Look
    earlier: tuple[int, ...]
    later_id: int | None
    history: tuple[StatusChange, ...]
    skips: tuple[SkippedItem, ...]
    skip_count: int
    partitions: dict[int, tuple[PartitionExecution, ...]]
    partition_times: dict[int, browse.PartitionTimes]


class Watch:
    """Looks at executions again and again, and so knows their present rates.

    The first look at a step has nothing to compare with and gives the mean rate since its start.
    """

    def __init__(
        self, database: Database, clock: Clock, *, restart: Restart = restart_by_id
    ) -> None:
        self._restart = restart
        self._database = database
        self._clock = clock
        self._meter = Meter()

    def look(self, execution_id: int) -> Look:
        """One execution as it is now.

        Raises:
            NoSuchJobExecution: no execution has this id.
        """
        with self._database.read() as reader:
            execution = get_execution(reader, execution_id)
            look = self._look(reader, execution, list_steps(reader, execution_id))
        return self._with_liveness(look)

    def unended(self) -> list[Look]:
        """Everything that runs or waits, as it is now."""
        with self._database.read() as reader:
            looks = [
                self._look(reader, _with_parameters(reader, e), list_steps(reader, e.execution_id))
                for e in browse.list_running(reader)
            ]
        return [look if look.waits else self._with_liveness(look) for look in looks]

    def overview(self) -> Overview:
        """Everything that has not ended, and what ended lately."""
        since = self._clock.now() - LATELY
        with self._database.read() as reader:
            unfinished = browse.list_running(reader)
            waiting = [e for e in unfinished if e.owner_id is None]
            waiting.sort(key=lambda e: (-e.priority, e.execution_id))
            looks = [
                self._look(reader, _with_parameters(reader, e), list_steps(reader, e.execution_id))
                for e in (
                    *(e for e in unfinished if e.owner_id is not None),
                    *waiting[:WAITING_MAX],
                )
            ]
            failed = browse.list_failed_lately(reader, since=since, count=FAILED_MAX)
            completed = browse.list_completed_lately(reader, since=since, count=COMPLETED_MAX)
            failed = [_with_parameters(reader, e) for e in failed]
            completed = [_with_parameters(reader, e) for e in completed]
        return Overview(
            location=self._database.location,
            running=tuple(self._with_liveness(look) for look in looks if not look.waits),
            waiting=tuple(look for look in looks if look.waits),
            waiting_count=len(waiting),
            failed=tuple(failed),
            completed=tuple(completed),
        )

    def details(self, execution_id: int, *, partitions_max: int | None, skips_max: int) -> Details:
        """One execution with everything about it.

        ``partitions_max`` None reads every partition; a number reads so many that failed or were
        partial.

        Raises:
            NoSuchJobExecution: no execution has this id.
        """
        with self._database.read() as reader:
            execution = get_execution(reader, execution_id)
            steps = list_steps(reader, execution_id)
            ids = [e.execution_id for e in list_of_instance(reader, execution.instance_id)]
            details = Details(
                look=self._look(reader, execution, steps),
                earlier=tuple(other for other in ids if other < execution_id),
                later_id=ids[-1] if ids[-1] != execution_id else None,
                history=tuple(list_changes(reader, execution_id)),
                skips=tuple(list_skips(reader, execution_id, count=skips_max)),
                skip_count=browse.count_skips(reader, execution_id),
                partitions={
                    step.step_execution_id: _partitions(reader, step, partitions_max)
                    for step in steps
                    if step.partition_total is not None
                },
                partition_times=browse.partition_times(reader, execution_id),
            )
        return replace(details, look=self._with_liveness(details.look))

    def _look(
        self, reader: Reader, execution: JobExecution, steps: Iterable[StepExecution]
    ) -> Look:
        now, at_s = self._clock.now(), self._clock.monotonic()
        measured = []
        for step in steps:
            progress = self._meter.measure(step, at_s)
            if progress.rate_per_s is None and step.batch_status.is_running:
                progress = since_start(step, now, done_before=_done_before(reader, step))
            measured.append(progress)
        owner_id = execution.owner_id
        owner = find_owner(reader, owner_id) if owner_id is not None else None
        return Look(execution, tuple(measured), now, owner, restart=self._restart)

    def _with_liveness(self, look: Look) -> Look:
        # Outside of the read transaction: on PostgreSQL the question needs one of its own.
        execution = look.execution
        if execution.owner_id is None or not execution.batch_status.is_running:
            return look
        try:
            dead = self._database.liveness.is_dead(execution.owner_id)
        except DatabaseError:
            return look  # Not known is not dead.
        return replace(look, owner_is_dead=dead)


def _with_parameters(reader: Reader, execution: JobExecution) -> JobExecution:
    return replace(execution, parameters=list_parameters(reader, execution.execution_id))


def _done_before(reader: Reader, step: StepExecution) -> int:
    """The results that a restart has kept: they say nothing about how fast this execution is."""
    if step.partition_total is None:
        return 0
    here = browse.count_results(reader, step.step_execution_id)
    return max(0, (step.partition_completed or 0) - here)


def _partitions(
    reader: Reader, step: StepExecution, count: int | None
) -> tuple[PartitionExecution, ...]:
    if count is None:
        total = step.partition_total or 0
        return tuple(list_partition_executions(reader, step.step_execution_id, count=max(total, 1)))
    return tuple(browse.list_troubled_partitions(reader, step.step_execution_id, count=count))
