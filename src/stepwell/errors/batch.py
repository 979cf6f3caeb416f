"""The batch rules: all children are direct (S176)."""

from __future__ import annotations

from stepwell.errors.error import Kind, StepwellError


class BatchError(StepwellError):
    """A rule of the batch engine forbids the call; nothing was recorded."""


class JobStartError(BatchError):
    """The definition or the parameters are invalid; no row exists (S8, S183)."""

    kind = Kind.USAGE


class JobRestartError(BatchError):
    """The execution cannot be restarted: its state, its job or the parameters forbid it (S62)."""

    kind = Kind.CONFLICT


class JobInstanceAlreadyComplete(BatchError):
    """The instance's last execution is COMPLETED (S6)."""

    kind = Kind.CONFLICT

    def __init__(self, job_name: str, execution_id: int, parameters: str) -> None:
        with_parameters = f" for {parameters}" if parameters else ""
        super().__init__(
            f"cannot start job {job_name!r}: it is already COMPLETED{with_parameters}"
            f" (execution {execution_id})",
            hint=("change an identifying parameter" if parameters else "run it with `--again`")
            + f", or see it with `stepwell status {execution_id}`",
            fields={"job": job_name, "execution_id": execution_id},
        )


class JobExecutionAlreadyComplete(BatchError):
    """``restart`` of a COMPLETED execution (section 7, condition 3)."""

    kind = Kind.CONFLICT

    def __init__(self, execution_id: int) -> None:
        super().__init__(
            f"cannot restart execution {execution_id}: it is COMPLETED",
            hint=f"see it with `stepwell status {execution_id}`",
            fields={"execution_id": execution_id},
        )


class JobExecutionAlreadyRunning(BatchError):
    """The instance, or its run lock, has an execution that has not ended (S6, S7, S184)."""

    kind = Kind.CONFLICT

    def __init__(
        self, job_name: str, execution_id: int, *, owner_is_dead: bool, waits: bool = False
    ) -> None:
        if owner_is_dead:
            fact, hint = "is running, its owner is dead", f"`stepwell recover {execution_id}`"
        elif waits:
            fact, hint = "waits for a worker", f"`stepwell stop {execution_id}`"
        else:
            fact, hint = "is running", f"`stepwell stop {execution_id}`"
        super().__init__(
            f"cannot start job {job_name!r}: execution {execution_id} {fact}",
            hint=hint + ", then start",
            fields={"job": job_name, "execution_id": execution_id, "owner_is_dead": owner_is_dead},
        )


class JobExecutionBlocked(BatchError):
    """What the job needs for itself is in use: a pool is full, or a resource is held (S197)."""

    kind = Kind.CONFLICT

    def __init__(
        self, job_name: str, fact: str, execution_id: int | None, *, is_dead: bool
    ) -> None:
        if execution_id is None:
            hint = "`stepwell pool list` shows the pools"
        elif is_dead:
            hint = f"its owner is dead: `stepwell recover {execution_id}`, then start"
        else:
            hint = f"see who has it with `stepwell status {execution_id}`"
        super().__init__(
            f"cannot start job {job_name!r}: {fact}",
            hint=hint,
            fields={"job": job_name, "execution_id": execution_id, "owner_is_dead": is_dead},
        )


class JobExecutionIsRunning(BatchError):
    """``abandon`` or ``recover`` of an execution whose owner is not proven dead (S34)."""

    kind = Kind.CONFLICT


class JobExecutionNotRunning(BatchError):
    """``stop`` or ``set_priority`` of an execution that has ended."""

    kind = Kind.CONFLICT

    def __init__(self, execution_id: int, status: str, verb: str = "stop") -> None:
        super().__init__(
            f"cannot {verb} execution {execution_id}: it is {status}",
            hint=f"see it with `stepwell status {execution_id}`",
            fields={"execution_id": execution_id, "status": status},
        )


class JobExecutionNotMostRecent(BatchError):
    """``restart`` of an execution that is not the last one of its instance (section 7)."""

    kind = Kind.CONFLICT

    def __init__(self, execution_id: int, most_recent_id: int) -> None:
        super().__init__(
            f"cannot restart execution {execution_id}:"
            f" execution {most_recent_id} of the same instance is more recent",
            hint=f"see it with `stepwell status {most_recent_id}`",
            fields={"execution_id": execution_id, "most_recent_id": most_recent_id},
        )


class IdempotencyKeyUsed(BatchError):
    """An earlier request had the same idempotency key and asked for something else."""

    kind = Kind.CONFLICT

    def __init__(self, job_name: str, execution_id: int) -> None:
        super().__init__(
            f"cannot start job {job_name!r}: its idempotency key was used for execution"
            f" {execution_id}, which is of another job or has other parameters",
            hint="a key belongs to one request; make a new one for each start",
            fields={"job": job_name, "execution_id": execution_id},
        )


class NoSuchJob(BatchError):
    """The name is neither registered nor has it an instance (S177)."""

    kind = Kind.NOT_FOUND


class NoSuchJobInstance(BatchError):
    """No instance has this id."""

    kind = Kind.NOT_FOUND

    def __init__(self, instance_id: int) -> None:
        super().__init__(
            f"cannot find instance {instance_id}: no such instance is recorded here",
            hint="`stepwell status` lists executions with their instances",
            fields={"instance_id": instance_id},
        )


class NoSuchJobExecution(BatchError):
    """No execution has this id."""

    kind = Kind.NOT_FOUND

    def __init__(self, execution_id: int) -> None:
        super().__init__(
            f"cannot find execution {execution_id}: no such execution is recorded here",
            hint="`stepwell status` lists them",
            fields={"execution_id": execution_id},
        )


class NoSuchOwner(BatchError):
    """No owner has this id."""

    kind = Kind.NOT_FOUND

    def __init__(self, owner_id: int) -> None:
        super().__init__(
            f"cannot find owner {owner_id}: no such owner is recorded here",
            hint="`stepwell owners list` lists the processes at work",
            fields={"owner_id": owner_id},
        )


class OwnerHasEnded(BatchError):
    """``owners stop`` of a process that is not there any more."""

    kind = Kind.CONFLICT

    def __init__(self, owner_id: int, name: str, *, is_dead: bool) -> None:
        super().__init__(
            f"cannot stop {name}: it {'is dead' if is_dead else 'has ended'}",
            hint="`stepwell recover` settles what it may have left"
            if is_dead
            else "`stepwell owners list` lists the processes at work",
            fields={"owner_id": owner_id, "is_dead": is_dead},
        )


class JobSecurityError(BatchError):
    """The host's access hook refuses the operation; nothing was read or written (S176)."""

    kind = Kind.USAGE

    def __init__(self, operation: str, subject: str | int | None) -> None:
        of = f"execution {subject}" if isinstance(subject, int) else f"job {subject!r}"
        super().__init__(
            f"cannot {operation.replace('_', ' ')}"
            + ("" if subject is None else f" of {of}")
            + ": the access hook of this program refuses it",
            hint="ask who runs this program for the right to do it",
            fields={"operation": operation, "subject": subject},
        )


class OptimisticLockingFailure(BatchError):
    """A versioned UPDATE hit no row under an unmoved fence, or the row is gone (S23)."""

    kind = Kind.CONFLICT


class LostOwnership(BatchError):
    """The fence has moved: another process recovered the execution (S25, S35)."""

    kind = Kind.CONFLICT


class IllegalTransition(BatchError):
    """A status change that the tables of section 3.1 do not hold (S11)."""

    kind = Kind.BUG

    def __init__(self, what: str, from_status: str | None, to_status: str) -> None:
        super().__init__(
            f"cannot change {what}: {from_status or 'none'} to {to_status} is no legal change",
            hint="please report it, with the output of `stepwell status`",
            fields={"from": from_status, "to": to_status},
        )


class ValueNotJson(BatchError):
    """A value to be stored is not JSON; the message names the path of its key (S28)."""

    kind = Kind.USAGE


class ContextTooLarge(BatchError):
    """A context or checkpoint is over its limit of JSON bytes."""

    kind = Kind.USAGE


class StepUsageError(BatchError):
    """A step's code used its context in a way that it does not allow, e.g. nested transactions."""

    kind = Kind.USAGE


class StartLimitExceeded(BatchError):
    """One more start of a step would exceed its start limit (S49)."""

    kind = Kind.CONFLICT

    def __init__(self, step_name: str, start_limit: int) -> None:
        super().__init__(
            f"cannot start step {step_name!r}: its start limit of {start_limit} is used up",
            hint="raise start_limit, or start a new instance",
            fields={"step": step_name, "start_limit": start_limit},
        )


class JobFlowFailed(BatchError):
    """A fail element, or a second visit to an element, has ended the job (S47, S48)."""

    kind = Kind.CONFLICT


class PartitionsFailed(BatchError):
    """More partitions of a step failed than it tolerates (S162)."""

    kind = Kind.CONFLICT

    def __init__(self, step_name: str, failed: int, total: int, first: str) -> None:
        super().__init__(
            f"cannot complete step {step_name!r}: {failed} of {total} partitions failed{first}",
            hint="a restart runs only those again",
            fields={"step": step_name, "failed": failed, "total": total},
        )
