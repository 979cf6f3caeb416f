"""What the JobOperator answers without changing anything, and who may ask (section 14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stepwell.database.transaction import Reader
from stepwell.errors import JobSecurityError, NoSuchJob, NoSuchJobInstance
from stepwell.execution.json import from_json
from stepwell.execution.parameters import JobParameter
from stepwell.execution.records import JobExecution, JobInstance, StatusChange, StepExecution
from stepwell.job.registry import JobRegistry
from stepwell.repository import executions, instances, steps
from stepwell.repository.history import list_changes
from stepwell.repository.repository import JobRepository
from stepwell.repository.why import Why, explain

# ``access(operation, subject)``, e.g. ``("abandon", 7)``, ``("start", "billing")`` or
# ``("get_job_names", None)``: False refuses. The host knows who is asking, Stepwell does not.
Access = Callable[[str, str | int | None], bool]


class JobQuestions:
    """The questions of the JobOperator; they read, each in one short transaction."""

    def __init__(
        self, repository: JobRepository, registry: JobRegistry, access: Access | None
    ) -> None:
        self._repository = repository
        self._registry = registry
        self._access = access

    def _permit(self, operation: str, subject: str | int | None = None) -> None:
        """Ask the host, before anything is read or written (S176).

        Raises:
            JobSecurityError: the hook said no.
        """
        if self._access is not None and not self._access(operation, subject):
            raise JobSecurityError(operation, subject)

    def get_job_names(self) -> list[str]:
        """Names that are registered or have instances, sorted (S177)."""
        self._permit("get_job_names")
        with self._repository.database.read() as reader:
            recorded = {str(row[0]) for row in reader.fetch_all(instances.LIST_NAMES)}
        return sorted(recorded | {registered.name for registered in self._registry})

    def get_job_instance_count(self, job_name: str) -> int:
        """How many instances a job has.

        Raises:
            NoSuchJob: the name is neither registered nor has it an instance (S177).
        """
        self._permit("get_job_instance_count", job_name)
        return self._count_instances(job_name)

    def get_job_instances(self, job_name: str, start: int, count: int) -> list[JobInstance]:
        """The window [start, start + count) of a job's instances, newest first.

        Raises:
            NoSuchJob: see :meth:`get_job_instance_count`.
        """
        self._permit("get_job_instances", job_name)
        self._count_instances(job_name)
        with self._repository.database.read() as reader:
            return instances.list_instances(reader, job_name, start=start, count=count)

    def get_running_executions(self, job_name: str) -> list[int]:
        """Ids of the executions of a job that have not ended; empty for a known, idle name.

        Raises:
            NoSuchJob: see :meth:`get_job_instance_count`.
        """
        self._permit("get_running_executions", job_name)
        self._count_instances(job_name)
        with self._repository.database.read() as reader:
            running = executions.running_executions(reader)
        return [e.execution_id for e in running if e.job_name == job_name]

    def get_job_execution(self, execution_id: int) -> JobExecution:
        """The execution with its parameters.

        Raises:
            NoSuchJobExecution: no execution has this id.
        """
        self._permit("get_job_execution", execution_id)
        return self._repository.get_execution(execution_id)

    def get_job_instance(self, execution_id: int) -> JobInstance:
        """The instance that an execution is an attempt at.

        Raises:
            NoSuchJobExecution: no execution has this id.
        """
        self._permit("get_job_instance", execution_id)
        record = self._repository.get_execution(execution_id)
        with self._repository.database.read() as reader:
            found = instances.get_instance(reader, record.instance_id)
        assert found is not None  # An execution's row refers to it.
        return found

    def why(self, execution_id: int) -> Why:
        """What keeps an execution from running, or from having ended.

        Raises:
            NoSuchJobExecution: no execution has this id.
        """
        self._permit("why", execution_id)
        return explain(self._repository.database, execution_id, at=self._repository.clock.now())

    def get_parameters(self, execution_id: int) -> tuple[JobParameter, ...]:
        """Exactly what the execution runs with, given or used again (S9).

        Raises:
            NoSuchJobExecution: no execution has this id.
        """
        self._permit("get_parameters", execution_id)
        return self._repository.get_execution(execution_id).parameters

    def get_step_executions(self, execution_id: int) -> list[StepExecution]:
        """The steps of an execution in order of their start, with their persistent user data.

        Raises:
            NoSuchJobExecution: no execution has this id.
        """
        self._permit("get_step_executions", execution_id)
        with self._repository.database.read() as reader:
            executions.get_execution(reader, execution_id)
            return [
                replace(step, context=_stored_data(reader, step.step_execution_id))
                for step in steps.list_steps(reader, execution_id)
            ]

    def get_history(self, execution_id: int) -> list[StatusChange]:
        """Every change of status of an execution and of its steps, oldest first (S27, S179).

        Raises:
            NoSuchJobExecution: no execution has this id.
        """
        self._permit("get_history", execution_id)
        with self._repository.database.read() as reader:
            executions.get_execution(reader, execution_id)
            return list_changes(reader, execution_id)

    def get_job_executions(self, instance: JobInstance) -> list[JobExecution]:
        """The executions of an instance, oldest first.

        Raises:
            NoSuchJobInstance: no instance has this id.
        """
        self._permit("get_job_executions", instance.instance_id)
        with self._repository.database.read() as reader:
            if instances.get_instance(reader, instance.instance_id) is None:
                raise NoSuchJobInstance(instance.instance_id)
            return [
                executions.get_execution(reader, found.execution_id)
                for found in executions.list_of_instance(reader, instance.instance_id)
            ]

    def _count_instances(self, job_name: str) -> int:
        with self._repository.database.read() as reader:
            row = reader.fetch_one(instances.COUNT_INSTANCES, {"job_name": job_name})
        count = int(row[0]) if row else 0
        if not count and job_name not in self._registry:
            raise NoSuchJob(
                f"cannot find job {job_name!r}: it is not registered and has no instance",
                hint="`stepwell jobs` lists the jobs that are known",
                fields={"job": job_name},
            )
        return count


def _stored_data(reader: Reader, step_execution_id: int) -> dict[str, Any]:
    stored = from_json(steps.get_context(reader, step_execution_id))
    return stored if isinstance(stored, dict) else {}
