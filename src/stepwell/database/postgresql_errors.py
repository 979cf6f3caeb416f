"""What PostgreSQL's SQLSTATEs mean, as Stepwell's errors (postgresql.org, appendix A)."""

from __future__ import annotations

from stepwell.database.dialect import CLOSED_HINT
from stepwell.errors import (
    CannotOpenDatabase,
    ConnectionLost,
    ConstraintViolation,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFull,
    DatabaseMoved,
    DatabaseReadOnly,
    StatementFailed,
    TransactionEnded,
)

_RERUNNABLE = ("40001", "40P01")  # serialization failure, deadlock

_TRY_AGAIN = "try again; `stepwell status` shows what is at work"
_RECONNECT = "see whether the server is running, then run it again"
_RESTORE = "put it aside and restore a copy of it"

# By the whole state, or by its class of two characters.
_ERROR_BY_STATE: dict[str, tuple[type[DatabaseError], str]] = {
    "08": (ConnectionLost, _RECONNECT),
    "23": (ConstraintViolation, "correct the row"),
    "25006": (DatabaseReadOnly, "write in a write transaction, on a server that accepts writes"),
    "25P02": (TransactionEnded, "try what may fail after a SAVEPOINT and ROLLBACK TO it"),
    "25P03": (ConnectionLost, "hold no transaction open while doing something else"),
    "28": (CannotOpenDatabase, "correct user and password"),
    "3D000": (CannotOpenDatabase, "create the database, or correct its name"),
    "40001": (DatabaseBusy, _TRY_AGAIN),
    "40P01": (DatabaseBusy, _TRY_AGAIN),
    "53100": (DatabaseFull, "free some space on the server's disk, then run it again"),
    "53": (DatabaseBusy, _TRY_AGAIN),
    "55P03": (DatabaseBusy, _TRY_AGAIN),
    "57P": (ConnectionLost, _RECONNECT),
    "P0001": (ConstraintViolation, "correct the row"),  # RAISE in a trigger
    "SW001": (DatabaseMoved, CLOSED_HINT),  # moves.py
    "XX001": (DatabaseDamaged, _RESTORE),
    "XX002": (DatabaseDamaged, _RESTORE),
}

_CONSTRAINT_BY_STATE = {
    "23502": "not null",
    "23503": "foreign key",
    "23505": "unique",
    "23514": "check",
    "P0001": "trigger",
}


def translate(error: Exception, what: str, location: str) -> DatabaseError:
    """The driver's exception as "cannot ``what``: …"; the caller raises it from the original."""
    state = getattr(error, "sqlstate", None)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    fields: dict[str, object] = {"database": location}
    if state is None:
        # libpq lost the server and knows no more; the driver's own refusals are other classes.
        state = "08" if type(error).__name__ == "OperationalError" else ""
    else:
        fields["sqlstate"] = state
    error_class, hint = _by_state(state)
    if state in _CONSTRAINT_BY_STATE:
        fields["constraint"] = _CONSTRAINT_BY_STATE[state]
    if error_class is ConnectionLost:
        fields["during_commit"] = False
    return error_class(f"cannot {what}: {lines[0]}", hint=hint, fields=fields)


def is_rerunnable(error: DatabaseError) -> bool:
    """Whether the transaction was undone for the sake of another one."""
    return error.fields.get("sqlstate") in _RERUNNABLE


def first_line(error: Exception) -> str:
    """What the server or libpq said first."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _by_state(state: str) -> tuple[type[DatabaseError], str]:
    for key in (state, state[:3], state[:2]):
        if key in _ERROR_BY_STATE:
            return _ERROR_BY_STATE[key]
    return StatementFailed, "correct the statement"
