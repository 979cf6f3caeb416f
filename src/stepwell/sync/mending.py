"""Columns that only grow, where a program of this node's own wrote them back.

With ``max``, ``min`` and ``union`` a column is the join of all that was ever written in the life of
its row. Another node joins what a program here wrote, so it keeps the greater value; this node does
the same, when it seals the change: else the two would differ for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stepwell.database.shape import TableShape, quoted
from stepwell.database.transaction import Transaction
from stepwell.sync.change import RowKey, Value, Values, decode_values
from stepwell.sync.columns import greatest, union
from stepwell.sync.policy import Policy


class _Mend(NamedTuple):
    """What a row shall hold, and what was written last."""

    shape: TableShape
    joined: Values
    written: Values


class Mends:
    """The joins of the rows of one transaction that seals."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._rows: dict[RowKey, _Mend] = {}

    def join(
        self,
        shape: TableShape,
        policy: Policy,
        key: RowKey,
        old: Sequence[Value],
        new: Sequence[Value],
    ) -> tuple[Value, ...]:
        """The new image of a row, with the joins of its columns."""
        names = shape.names
        known = self._rows[key].joined if key in self._rows else {}
        joined: Values = {}
        for name, rule in policy.columns.items():
            if rule in ("max", "min", "union") and name in names:
                place = names.index(name)
                before = known.get(name, old[place])
                joined[name] = (
                    union(before, new[place])
                    if rule == "union"
                    else greatest(before, new[place], is_max=rule == "max")
                )
        if joined:
            written = {name: new[names.index(name)] for name in joined}
            self._rows[key] = _Mend(shape, joined, written)
        return tuple(joined.get(n, v) for n, v in zip(names, new, strict=True))

    def forget(self, key: RowKey) -> None:
        """A row begins or ends a life."""
        self._rows.pop(key, None)

    def write(self, table_ids: Sequence[int]) -> None:
        """Put the joins into the tables, unless somebody has written the rows since."""
        wanted = {k: mend for k, mend in self._rows.items() if mend.joined != mend.written}
        if not wanted:
            return
        transaction = self._transaction
        transaction.ask(transaction.application.set_echo)
        for key, mend in wanted.items():
            self._write(mend, decode_values(key.pk_json))
        clear = transaction.application.clear_context
        transaction.ask(lambda connection: clear(connection, table_ids))

    def _write(self, mend: _Mend, key: Values) -> None:
        application = self._transaction.application
        parameters: dict[str, object] = {}

        def marked(name: str, value: Value) -> str:
            column = mend.shape.column(name)
            mark = f"p{len(parameters)}"
            parameters[mark] = application.bound(column, value)
            return application.written(column, f":{mark}", value)

        changed = {n: v for n, v in mend.joined.items() if v != mend.written[n]}
        sets = ", ".join(f"{quoted(n)} = {marked(n, v)}" for n, v in changed.items())
        tests = [f"{quoted(name)} = {marked(name, value)}" for name, value in key.items()]
        for name in changed:
            value = mend.written[name]
            if value is None:
                tests.append(f"{quoted(name)} IS NULL")
            else:
                tests.append(f"{quoted(name)} = {marked(name, value)}")
        sql = f"UPDATE {quoted(mend.shape.name)} SET {sets} WHERE {' AND '.join(tests)}"
        self._transaction.connection.execute(sql, parameters)
