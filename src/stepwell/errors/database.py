"""What the database answered; driver exceptions stop in ``database/``."""

from __future__ import annotations

from stepwell.errors.error import Kind, StepwellError


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


class DatabaseMoved(DatabaseError):
    """A write to a database of which a copy goes on in its place, or is being made into it."""

    kind = Kind.CONFLICT
