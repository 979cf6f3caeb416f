"""Records as JSON values: the stable form of every ``--json``, described in ``docs/cli.md``.

Names are snake_case, times ISO 8601 in UTC, durations seconds. A key is never left out: what is
unknown is null. New keys may come; a key keeps its name and meaning within a major version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from stepwell.errors import StepwellError
from stepwell.execution.json import from_json
from stepwell.execution.parameters import JobParameter
from stepwell.execution.records import (
    JobExecution,
    Metrics,
    PartitionExecution,
    SkippedItem,
    StatusChange,
)
from stepwell.execution.result import Failure
from stepwell.looks.progress import StepProgress
from stepwell.looks.reading import Details, Look, Overview
from stepwell.looks.text import iso_utc, seconds_between
from stepwell.repository.owners import Owner
from stepwell.repository.statistics import Statistics, Window
from stepwell.repository.why import Why

if TYPE_CHECKING:
    from stepwell.repository.schedules import RecordedSchedule
    from stepwell.repository.tokens import Token

Json = dict[str, Any]


def execution_json(execution: JobExecution, *, at: datetime | None = None) -> Json:
    """One execution without its steps; ``at`` is now, for the duration of one that runs."""
    started = execution.start_time
    return {
        "execution_id": execution.execution_id,
        "instance_id": execution.instance_id,
        "job": execution.job_name,
        "status": str(execution.batch_status),
        "result": execution.result and str(execution.result),
        "exit_status": execution.exit_status,
        "parameters": parameters_json(execution.parameters),
        "created_at": iso_utc(execution.create_time),
        "started_at": iso_utc(started),
        "ended_at": iso_utc(execution.end_time),
        "updated_at": iso_utc(execution.last_updated),
        "duration_s": seconds_between(started, execution.end_time or at),
        "current_step": execution.current_step,
        "last_step": execution.last_step,
        "stop_requested": execution.stop_requested,
        "priority": execution.priority,
        "run_after": iso_utc(execution.run_after),
        "after_execution_id": execution.after_id,
        "recoveries": execution.recoveries,
        "trial": execution.trial,
        "trigger_source": execution.trigger_source,
        "triggered_by": execution.triggered_by,
        "failure": failure_json(execution.failure),
    }


def parameters_json(parameters: Iterable[JobParameter]) -> list[Json]:
    """What an execution runs with, or would."""
    return [
        {"name": p.name, "type": p.type, "value": p.value, "identifying": p.identifying}
        for p in parameters
    ]


def problem_json(error: StepwellError) -> Json:
    """A refusal: code, message, hint, and fields whose values that are no JSON become text."""
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "fields": _json_fields(error.fields),
    }


def look_json(look: Look) -> Json:
    """An execution with its owner and its steps."""
    return {
        **execution_json(look.execution, at=look.at),
        "owner": owner_json(look.owner, is_dead=look.owner_is_dead),
        "steps": [step_json(progress, at=look.at) for progress in look.steps],
    }


def details_json(details: Details) -> Json:
    """Everything that ``status ID`` shows."""
    return {
        **look_json(details.look),
        "earlier_execution_ids": list(details.earlier),
        "later_execution_id": details.later_id,
        "partitions": [
            {"step": progress.step.step_name, **partition_json(partition)}
            for progress in details.look.steps
            for partition in details.partitions.get(progress.step.step_execution_id, ())
        ],
        "partition_times": [
            {"step": progress.step.step_name, **times._asdict()}
            for progress in details.look.steps
            if (times := details.partition_times.get(progress.step.step_execution_id))
        ],
        "skip_count": details.skip_count,
        "skips": [skip_json(skip) for skip in details.skips],
        "history": [change_json(change) for change in details.history],
    }


def overview_json(overview: Overview) -> Json:
    """Everything that ``status`` shows."""
    return {
        "database": overview.location,
        "running": [look_json(look) for look in overview.running],
        "waiting": [look_json(look) for look in overview.waiting],
        "waiting_count": overview.waiting_count,
        "failed": [execution_json(execution) for execution in overview.failed],
        "completed": [execution_json(execution) for execution in overview.completed],
    }


def window_json(window: Window) -> Json:
    """How executions went over a window, by job and together."""
    return {
        "since": iso_utc(window.since),
        "jobs": [{"job": name, **_statistics_json(found)} for name, found in window.by_job.items()],
        "total": _statistics_json(window.total),
    }


def _statistics_json(found: Statistics) -> Json:
    return {
        "ended": found.ended,
        "completed": found.completed,
        "partial": found.partial,
        "failed": found.failed,
        "stopped": found.stopped,
        "success_rate": found.success_rate,
        "average_s": _rounded(found.average_s),
        "p50_s": _rounded(found.p50_s),
        "p95_s": _rounded(found.p95_s),
    }


def why_json(why: Why) -> Json:
    """What keeps an execution where it is."""
    return {
        "execution": execution_json(why.execution, at=why.at),
        "place": why.place,
        "reasons": [
            {
                "code": reason.code,
                "fact": reason.fact,
                "execution_id": reason.execution_id,
                "since": iso_utc(reason.since),
                "hint": reason.hint or None,
            }
            for reason in why.reasons
        ],
    }


def step_json(progress: StepProgress, *, at: datetime) -> Json:
    """One step execution with its counters and its progress."""
    step = progress.step
    return {
        "step_execution_id": step.step_execution_id,
        "step": step.step_name,
        "status": str(step.batch_status),
        "result": step.result and str(step.result),
        "exit_status": step.exit_status,
        "started_at": iso_utc(step.start_time),
        "ended_at": iso_utc(step.end_time),
        "duration_s": seconds_between(step.start_time, step.end_time or at),
        "counters": _counters(step.metrics),
        "partitions": step.partition_total
        if step.partition_total is None
        else {
            "total": step.partition_total,
            "completed": step.partition_completed,
            "failed": step.partition_failed,
            "partial": step.partition_partial,
        },
        "progress": None
        if progress.done is None
        else {
            "done": progress.done,
            "total": progress.total,
            "unit": progress.unit,
            "percent": progress.percent,
            "rate_per_s": _rounded(progress.rate_per_s),
            "eta_s": _rounded(progress.eta_s),
        },
        "failure": failure_json(step.failure),
    }


def schedule_json(recorded: RecordedSchedule) -> Json:
    """One schedule, and how far it has come."""
    schedule = recorded.schedule
    return {
        "schedule": schedule.name,
        "job": schedule.job_name,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "parameters": dict(schedule.parameters),
        "catch_up": str(schedule.catch_up),
        "defined_by": recorded.defined_by,
        "last_due_at": iso_utc(recorded.last_due_at),
        "skipped_due_at": iso_utc(recorded.skipped_due_at),
        "next_due_at": iso_utc(recorded.next_due_at),
        "paused_at": iso_utc(recorded.paused_at),
    }


def token_json(token: Token, *, at: datetime) -> Json:
    """A token without its secret, which nobody knows."""
    return {
        "token": token.name,
        "role": token.role,
        "node": token.node,
        "created_at": iso_utc(token.created_at),
        "expires_at": iso_utc(token.expires_at),
        "revoked_at": iso_utc(token.revoked_at),
        "is_valid": token.is_valid(at),
    }


def failure_json(failure: Failure | None) -> Json | None:
    """Type, message and trace of an exception."""
    if failure is None:
        return None
    return {"type": failure.type, "message": failure.message, "trace": failure.trace}


def owner_json(owner: Owner | None, *, is_dead: bool | None) -> Json | None:
    """A process; None for none."""
    if owner is None:
        return None
    return {
        "owner_id": owner.owner_id,
        "host": owner.host,
        "pid": owner.pid,
        "purpose": owner.purpose,
        "is_dead": is_dead,
    }


def _counters(metrics: Metrics) -> Json:
    return {
        "read_count": metrics.read_count,
        "write_count": metrics.write_count,
        "filter_count": metrics.filter_count,
        "commit_count": metrics.commit_count,
        "rollback_count": metrics.rollback_count,
        "read_skip_count": metrics.read_skip_count,
        "process_skip_count": metrics.process_skip_count,
        "write_skip_count": metrics.write_skip_count,
    }


def partition_json(partition: PartitionExecution) -> Json:
    """One attempt at a partition."""
    return {
        "number": partition.number,
        "name": partition.name,
        "input": from_json(partition.input),
        "status": str(partition.batch_status),
        "outcome": partition.outcome and str(partition.outcome),
        "exit_status": partition.exit_status,
        "message": partition.message,
        "counts": partition.counts,
        "started_at": iso_utc(partition.start_time),
        "ended_at": iso_utc(partition.end_time),
        "errors": [
            {"key": error.key, "failure": failure_json(error.failure)} for error in partition.errors
        ],
    }


def skip_json(skip: SkippedItem) -> Json:
    """An item that was left out."""
    return {
        "skip_id": skip.skip_id,
        "step": skip.step_name,
        "partition": skip.partition_number,
        "phase": skip.phase,
        "position": skip.position,
        "item": skip.item,
        "error_type": skip.error_type,
        "error_message": skip.error_message,
        "skipped_at": iso_utc(skip.skipped_at),
    }


def change_json(change: StatusChange) -> Json:
    """One change of status."""
    return {
        "changed_at": iso_utc(change.changed_at),
        "step": change.step_name,
        "from_status": change.from_status and str(change.from_status),
        "to_status": str(change.to_status),
        "actor": change.actor,
        "reason": change.reason,
    }


def _json_fields(fields: Mapping[str, object]) -> Json:
    shown: Json = json.loads(json.dumps(dict(fields), default=str))
    return shown


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
