"""Where a row comes from: the node, the run, the step and the chunk that have written it last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stepwell.database.transaction import Reader
from stepwell.errors import InvalidKey, NoSuchRow
from stepwell.sync.aliases import kept_key
from stepwell.sync.change import Change, RowKey, Value, Values, Version, decode_values, key_text
from stepwell.sync.log import read_group
from stepwell.sync.rows import read_row
from stepwell.sync.table import TrackedTable, get_table
from stepwell.sync.versions import find_version


@dataclass(frozen=True)
class Provenance:
    """What a row is here, and the change that has made it so.

    Attributes:
        key: Its table and key; another one than was asked for, when two rows became one.
        values: None when it is deleted.
        version: Which write its state is.
        change: That write as the log has it, with the job's lineage; None when it was pruned, or
            when this node decided between several.
    """

    key: RowKey
    values: Values | None
    version: Version
    change: Change | None


def find_provenance(reader: Reader, table_name: str, key: Mapping[str, str]) -> Provenance:
    """Where a row comes from; ``key`` has the texts of its key columns.

    Raises:
        TableNotTracked: nothing is known of the table.
        InvalidKey: these are not the columns of its key, or a value is none of its column's kind.
        NoSuchRow: the row was never written, as far as this node knows.
    """
    table = get_table(reader, table_name)
    asked = RowKey(table.name, key_text(_values(table, key)))
    kept = kept_key(reader, asked)
    version = find_version(reader, kept)
    if version is None:
        raise NoSuchRow(
            f"cannot find row {asked.pk_json} of table {table.name!r}: nobody has written it",
            hint="`stepwell sync status` says how far each peer is; is it on its way?",
            fields={"table": table.name, "pk_json": asked.pk_json},
        )
    change = next(
        (
            change
            for change in read_group(reader, version.origin, version.epoch, version.seq)
            if kept in (change.key, _new_key(table, change))
        ),
        None,
    )
    values = read_row(reader, table.shape, decode_values(kept.pk_json))
    return Provenance(kept, values, version, change)


def _new_key(table: TrackedTable, change: Change) -> RowKey | None:
    """The key that a change gives its row."""
    if change.table_name != table.name or change.op == "D":
        return None
    values = change.new_values()
    if not values.keys() >= set(table.key):
        return None
    return RowKey(table.name, key_text({name: values[name] for name in table.key}))


def _values(table: TrackedTable, key: Mapping[str, str]) -> dict[str, Value]:
    if set(key) != set(table.key):
        columns = " ".join(f"{name}=…" for name in table.key)
        raise InvalidKey(
            f"cannot find a row of table {table.name!r}: its key is {', '.join(table.key)},"
            f" got {', '.join(key) or 'nothing'}",
            hint=f"give {columns}",
            fields={"table": table.name, "key": list(table.key)},
        )
    return {name: _value(table, name, key[name]) for name in table.key}


def _value(table: TrackedTable, name: str, text: str) -> Value:
    """A value of the column as people write it."""
    kind = table.shape.column(name).kind
    wire = {"decimal": f'{{"$d":"{text}"}}', "blob": f'{{"$b":"{text}"}}'}
    is_text = kind not in ("integer", "real", "boolean", *wire)
    try:
        if is_text:
            return text
        return decode_values(f'{{"_":{wire.get(kind, text)}}}')["_"]
    except ValueError:
        raise InvalidKey(
            f"cannot find a row of table {table.name!r}: {name!r} must be of kind {kind},"
            f" got {text!r}",
            hint="write it as `sync export` does, without quotes",
            fields={"table": table.name, "column": name},
        ) from None
