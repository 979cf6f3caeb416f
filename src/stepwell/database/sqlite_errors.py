"""What SQLite's result codes mean, as Stepwell's errors (sqlite.org/rescode.html)."""

from __future__ import annotations

from stepwell.database.dialect import CLOSED, CLOSED_HINT
from stepwell.errors import (
    CannotOpenDatabase,
    ConstraintViolation,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFull,
    DatabaseMoved,
    DatabaseReadOnly,
    StatementFailed,
)

BUSY = 5

RESTORE = "restore a copy: `stepwell backup restore NAME` keeps what is there"

_ERROR_BY_CODE: dict[int, tuple[type[DatabaseError], str]] = {
    BUSY: (DatabaseBusy, "try again; `stepwell status` shows what is at work"),
    6: (DatabaseBusy, "close results that are still open on the same connection"),  # LOCKED
    7: (DatabaseError, "the process is out of memory"),  # NOMEM
    8: (DatabaseReadOnly, "let this user write the file and its folder"),  # READONLY
    10: (DatabaseError, "look at the disk and at the system's log"),  # IOERR
    11: (DatabaseDamaged, RESTORE),
    13: (DatabaseFull, "free some space on the disk, then run it again"),  # FULL
    14: (CannotOpenDatabase, "correct the path, or the rights on the file and its folder"),
    19: (ConstraintViolation, "correct the row"),  # CONSTRAINT
    26: (DatabaseDamaged, f"correct the path, or {RESTORE}"),  # NOTADB
}

_CONSTRAINT_BY_CODE = {
    275: "check",
    787: "foreign key",
    1299: "not null",
    1555: "unique",  # PRIMARY KEY
    1811: "trigger",
    2067: "unique",
    2579: "unique",  # ROWID
    3091: "type",  # DATATYPE, in a STRICT table
}


def driver_code(error: Exception) -> int | None:
    """The primary result code; None when the driver itself refused."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def translate(error: Exception, what: str, location: str) -> DatabaseError:
    """The driver's exception as "cannot ``what``: …"; the caller raises it from the original."""
    code = driver_code(error)
    error_class, hint = _ERROR_BY_CODE.get(code or 0, (StatementFailed, "correct the statement"))
    fields: dict[str, object] = {"database": location}
    if code is not None:
        fields["sqlite_code"] = code
        fields["sqlite_name"] = getattr(error, "sqlite_errorname", "")
    if str(error).startswith(CLOSED):
        return DatabaseMoved(f"cannot {what}: {error}", hint=CLOSED_HINT, fields=fields)
    constraint = _CONSTRAINT_BY_CODE.get(getattr(error, "sqlite_errorcode", 0))
    if constraint:
        fields["constraint"] = constraint
    return error_class(f"cannot {what}: {error}", hint=hint, fields=fields)
