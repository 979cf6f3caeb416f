"""The trigger function by which PostgreSQL captures every change of every tracked table.

- It stores whole rows as ``json`` and names no column, so no change of a table's columns can make
  the host's write fail. Numbers keep every digit, text every character.
- What JSON would bend (arrays, composite values, a JSON ``null`` beside NULL) is stored a second
  time, as the text of its own type; a failure in that is no failure of the host's write.
- ``SECURITY DEFINER``: the host's user may have no right to write the raw table.
- Its triggers sort before all others, because an application's trigger that writes the row again
  is captured where it stands: behind the change that set it off.
- Real numbers are written by ``extra_float_digits`` and times by the time zone: set here.
"""

from __future__ import annotations

from stepwell.database.application import RAW
from stepwell.database.shape import Column, TableShape, literal, quoted

MAKE_RAW = (
    f"""CREATE TABLE IF NOT EXISTS {RAW} (
  position bigserial, xid xid8, at timestamptz, table_id bigint, op text, context text,
  old json, new json, old_text json, new_text json)""",
    f"CREATE INDEX IF NOT EXISTS {RAW}_xid ON {RAW} (xid, position)",
)

_FUNCTION = """CREATE OR REPLACE FUNCTION {schema}.change_capture() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 SET "TimeZone" = 'UTC'
SET "IntervalStyle" = 'postgres' SET "DateStyle" = 'ISO, YMD'
SET bytea_output = 'hex' AS $capture$
DECLARE
  old_row json; new_row json; old_text json; new_text json;
BEGIN
  IF TG_OP IN ('UPDATE', 'DELETE') THEN old_row := to_json(OLD); END IF;
  IF TG_OP IN ('UPDATE', 'INSERT') THEN new_row := to_json(NEW); END IF;
  IF TG_NARGS > 1 AND TG_OP <> 'TRUNCATE' THEN
    BEGIN
      IF old_row IS NOT NULL THEN EXECUTE TG_ARGV[1] INTO old_text USING OLD; END IF;
      IF new_row IS NOT NULL THEN EXECUTE TG_ARGV[1] INTO new_text USING NEW; END IF;
    EXCEPTION WHEN OTHERS THEN old_text := NULL; new_text := NULL;
    END;
  END IF;
  IF TG_OP = 'UPDATE' AND old_row::text = new_row::text
      AND old_text::text IS NOT DISTINCT FROM new_text::text THEN
    RETURN NULL;
  END IF;
  INSERT INTO {schema}.change_raw
    (xid, at, table_id, op, context, old, new, old_text, new_text)
  VALUES (pg_current_xact_id(), clock_timestamp(), TG_ARGV[0]::bigint, left(TG_OP, 1),
    nullif(current_setting('stepwell.context', true), ''), old_row, new_row, old_text, new_text);
  RETURN NULL;
END $capture$"""

_NOT_ECHO = "WHEN (current_setting('stepwell.echo', true) IS DISTINCT FROM 'on')"


def trigger_names(table_id: int) -> tuple[str, str]:
    """For rows, for TRUNCATE."""
    return f"!change_capture_{table_id}", f"!change_capture_{table_id}_truncate"


def is_stored_as_text(column: Column) -> bool:
    """Whether JSON alone would bend the column's values."""
    return column.kind in ("any", "json")


def trigger_arguments(shape: TableShape, table_id: int) -> tuple[str, ...]:
    """The table's id; and the query for what is stored as text, if anything is."""
    pairs = [
        f"{literal(column.name)}, ($1).{quoted(column.name)}::text"
        for column in shape.columns
        if is_stored_as_text(column)
    ]
    if not pairs:
        return (str(table_id),)
    return str(table_id), f"SELECT pg_catalog.json_build_object({', '.join(pairs)})"


def make_function(schema: str) -> str:
    """The one function; ``schema`` is where the raw table stands."""
    return _FUNCTION.format(schema=quoted(schema))


def make_triggers(shape: TableShape, table_id: int, schema: str) -> tuple[str, str]:
    """For rows, for TRUNCATE."""
    arguments = ", ".join(map(literal, trigger_arguments(shape, table_id)))
    call = f"EXECUTE FUNCTION {quoted(schema)}.change_capture({arguments})"
    rows, truncate = map(quoted, trigger_names(table_id))
    table = quoted(shape.name)
    events = "AFTER INSERT OR UPDATE OR DELETE"
    return (
        f"CREATE TRIGGER {rows} {events} ON {table} FOR EACH ROW {_NOT_ECHO} {call}",
        f"CREATE TRIGGER {truncate} AFTER TRUNCATE ON {table} {_NOT_ECHO} {call}",
    )
