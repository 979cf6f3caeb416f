"""Every exception of Stepwell, drawn as a tree.

::

    StepwellError
    ├── BatchError                       the batch rules; all children are direct (S176)
    │   ├── JobStartError                ├── NoSuchJob
    │   ├── JobRestartError              ├── NoSuchJobInstance
    │   ├── JobInstanceAlreadyComplete   ├── NoSuchJobExecution
    │   ├── JobExecutionAlreadyComplete  ├── OptimisticLockingFailure
    │   ├── JobExecutionAlreadyRunning   ├── LostOwnership
    │   ├── JobExecutionIsRunning        ├── IllegalTransition
    │   ├── JobExecutionNotRunning       ├── ValueNotJson
    │   ├── JobExecutionNotMostRecent    ├── ContextTooLarge
    │   ├── StepUsageError               └── PartitionsFailed
    ├── DatabaseError                    what the database answered
    │   ├── CannotOpenDatabase           ├── DatabaseBusy
    │   ├── UnsafeFilesystem             ├── DatabaseFull
    │   ├── WalUnavailable               ├── DatabaseReadOnly
    │   ├── SchemaTooNew                 ├── DatabaseDamaged
    │   ├── ConstraintViolation          ├── ConnectionLost
    │   ├── StatementFailed              ├── TransactionEnded
    │   └── StatementRefused
    ├── ItemError                        the ready-made readers and writers
    │   ├── ItemSourceMissing            └── MalformedItem
    ├── MigrationFailed                  the application's own migrations
    └── SettingsError
        ├── UnknownSetting               └── InvalidSetting

Each error carries a stable ``code``, a ``kind`` (what the caller can do about it), a ``hint`` (the
next command) and ``fields``; a face renders them and adds nothing. The grammar of a message is
``cannot <verb> <noun> <id>: <the fact that decides, with its value>``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """What the caller can do about an error; one table a face maps it to a status."""

    USAGE = "usage"
    NOT_FOUND = "not found"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"
    CORRUPT = "corrupt"
    BUG = "bug"


class StepwellError(Exception):
    """The root of the tree: a message for people, a code for programs, a hint for both."""

    code = "stepwell_error"
    kind = Kind.BUG

    def __init_subclass__(cls) -> None:
        # The code is the class's name in snake case; docs/errors.md pins each one.
        cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(
        self, message: str, *, hint: str = "", fields: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = dict(fields or {})

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses take other arguments than the message; it must come back from processes too.
        return (_restore, (type(self), self.message, self.hint, self.fields))


def _restore(
    error_class: type[StepwellError], message: str, hint: str, fields: dict[str, object]
) -> StepwellError:
    error = error_class.__new__(error_class)
    StepwellError.__init__(error, message, hint=hint, fields=fields)
    return error


# --- the batch rules -------------------------------------------------------------------------


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
            fact, hint = "waits for a worker", "`stepwell work` runs it"
        else:
            fact, hint = "is running", f"`stepwell stop {execution_id}`"
        super().__init__(
            f"cannot start job {job_name!r}: execution {execution_id} {fact}",
            hint=hint + ", then start",
            fields={"job": job_name, "execution_id": execution_id, "owner_is_dead": owner_is_dead},
        )


class JobExecutionIsRunning(BatchError):
    """``abandon`` or ``recover`` of an execution whose owner is not proven dead (S34)."""

    kind = Kind.CONFLICT


class JobExecutionNotRunning(BatchError):
    """``stop`` of an execution that has ended."""

    kind = Kind.CONFLICT

    def __init__(self, execution_id: int, status: str) -> None:
        super().__init__(
            f"cannot stop execution {execution_id}: it is {status}",
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


class NoSuchJob(BatchError):
    """The name is neither registered nor has it an instance (S177)."""

    kind = Kind.NOT_FOUND


class NoSuchJobInstance(BatchError):
    """No instance has this id."""

    kind = Kind.NOT_FOUND


class NoSuchJobExecution(BatchError):
    """No execution has this id."""

    kind = Kind.NOT_FOUND

    def __init__(self, execution_id: int) -> None:
        super().__init__(
            f"cannot find execution {execution_id}: no such execution is recorded here",
            hint="`stepwell status` lists them",
            fields={"execution_id": execution_id},
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


class PartitionsFailed(BatchError):
    """More partitions of a step failed than it tolerates (S162)."""

    kind = Kind.CONFLICT

    def __init__(self, step_name: str, failed: int, total: int, first: str) -> None:
        super().__init__(
            f"cannot complete step {step_name!r}: {failed} of {total} partitions failed{first}",
            hint="a restart runs only those again",
            fields={"step": step_name, "failed": failed, "total": total},
        )


# --- the database ----------------------------------------------------------------------------


class DatabaseError(StepwellError):
    """What the database answered. Driver exceptions stop here; the cause holds the original."""

    kind = Kind.UNAVAILABLE


class CannotOpenDatabase(DatabaseError):
    """The path or URL is no database that can be opened: missing folder, a directory, no rights."""

    kind = Kind.USAGE


class UnsafeFilesystem(DatabaseError):
    """The file lies on a filesystem that corrupts WAL databases without an error."""

    kind = Kind.USAGE


class WalUnavailable(DatabaseError):
    """``PRAGMA journal_mode`` did not answer ``wal``; the message says what it did."""

    kind = Kind.USAGE


class SchemaTooNew(DatabaseError):
    """The database was written by a newer Stepwell."""

    kind = Kind.CORRUPT


class DatabaseBusy(DatabaseError):
    """The write lock was not free within its limit; the message names who holds the gate."""

    kind = Kind.UNAVAILABLE


class DatabaseFull(DatabaseError):
    """The disk, or the quota, is full; the transaction was rolled back."""

    kind = Kind.UNAVAILABLE


class DatabaseReadOnly(DatabaseError):
    """The file or its folder cannot be written."""

    kind = Kind.USAGE


class DatabaseDamaged(DatabaseError):
    """The file is no database, or its pages are damaged."""

    kind = Kind.CORRUPT


class ConstraintViolation(DatabaseError):
    """A statement broke a key, a CHECK, a NOT NULL or a foreign key."""

    kind = Kind.CONFLICT


class StatementFailed(DatabaseError):
    """The database refused a statement for another reason: a name, a type, its syntax."""

    kind = Kind.USAGE


class StatementRefused(DatabaseError):
    """A guarded connection refuses what would end or bend the engine's transaction (S192)."""

    kind = Kind.USAGE


class ConnectionLost(DatabaseError):
    """The connection broke; when that was during COMMIT the outcome is unknown (S37)."""

    kind = Kind.UNAVAILABLE


class TransactionEnded(DatabaseError):
    """User code ended the engine's transaction; it counts as a failed commit (S192, S120)."""

    kind = Kind.USAGE


# --- items, migrations, settings -------------------------------------------------------------


class ItemError(StepwellError):
    """A ready-made reader or writer cannot do its work."""

    kind = Kind.USAGE


class ItemSourceMissing(ItemError):
    """A file or table that a reader or writer needs is not there."""

    kind = Kind.USAGE


class MalformedItem(ItemError):
    """One record of a source cannot be read; the message names file, line and column."""

    kind = Kind.USAGE


class MigrationFailed(StepwellError):
    """A migration of the application's tables failed and was rolled back."""

    kind = Kind.USAGE


class SettingsError(StepwellError):
    """The settings are wrong; the message names the setting and where it stands."""

    kind = Kind.USAGE


class UnknownSetting(SettingsError):
    """A name in ``stepwell.toml`` or a ``STEPWELL_`` variable that no setting has."""


class InvalidSetting(SettingsError):
    """``<name> must be <rule>, got <value>``."""
