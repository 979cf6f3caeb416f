"""Who wins when two nodes have changed one row, or claim one unique value; pure, no I/O.

Every policy that a node may decide by itself is a maximum or a sum over the versions that it has
seen, so that any order of delivery ends alike. What is none (``manual``, a function, ``park``) is
decided on one node and travels as a transaction of that node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec

from stepwell.database.shape import TableShape
from stepwell.errors import InvalidPolicy
from stepwell.sync.change import Values, Version

RowRule = Literal["lww", "main_wins", "columns", "manual", "function"]
ColumnRule = Literal["lww", "max", "min", "delta", "union"]
UniqueRule = Literal[
    "park", "main_wins", "newer_wins", "rename_loser", "null_loser", "merge_identity"
]
ROW_RULES = ("lww", "main_wins", "columns", "manual")

# What a function is given: base, ours, theirs; a deleted row is None, so is a base unknown here.
Resolver = Callable[[Values | None, Values | None, Values | None], Values | None]


class Policy(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How conflicts of one table are decided.

    The same on every node, else their rows differ.

    Attributes:
        rows: ``lww``: the later stamp; ``main_wins``: whoever has seen the later word of a main;
            ``columns``: each column by itself, and a delete ends whatever it meets; ``manual``: a
            person; ``function``: the one of that name, on a main.
        columns: With ``columns``: the rule of a column, ``lww`` unless given. ``max``, ``min`` and
            ``union`` (of JSON arrays) are for values that only grow; ``delta`` for counters.
        function: The name under which :func:`resolver` knows it.
        uniques: Unique index → rule; ``park`` unless given.
        delete_wins: A delete beats every update that had not seen it, also a later one.
        missing_columns: What becomes of a group with a value for a column that is not here.
    """

    rows: RowRule = "lww"
    columns: dict[str, ColumnRule] = {}
    function: str = ""
    uniques: dict[str, UniqueRule] = {}
    delete_wins: bool = False
    missing_columns: Literal["refuse", "park"] = "refuse"

    def order(self, version: Version) -> tuple[Any, ...]:
        """Of two versions of a row the one that sorts later is the row; it rises along causality.

        A causal length grows with each birth and death, so to sort by it first is to have a delete
        win against an update that had not seen it.
        """
        if self.rows == "main_wins":
            if self.delete_wins:
                return version.authority, version.causal_length, *version.by_time
            return version.by_authority
        if self.delete_wins or self.rows == "columns":
            return version.causal_length, *version.by_time
        return version.by_time

    def greater(self, one: Version, other: Version) -> Version:
        """The one that sorts later."""
        return max(one, other, key=self.order)

    @property
    def decides(self) -> bool:
        """Whether every node may decide by itself."""
        return self.rows not in ("manual", "function")


class Side(NamedTuple):
    """A version of a row; ``values`` None: deleted."""

    version: Version
    values: Values | None


class Decision(NamedTuple):
    """What becomes of two versions of a row.

    Attributes:
        winner: ``person``: nobody may decide it here.
        values: The row's values; None: it is deleted.
        version: The greater of the two.
    """

    winner: Literal["ours", "theirs", "person"]
    values: Values | None
    version: Version


def decide(policy: Policy, ours: Side, theirs: Side) -> Decision:
    """The row is the greater version, whole; for ``columns`` see ``columns.py``."""
    greater = policy.greater(ours.version, theirs.version)
    if not policy.decides:
        return Decision("person", ours.values, greater)
    if greater == theirs.version:
        return Decision("theirs", theirs.values, greater)
    return Decision("ours", ours.values, greater)


# --- as text ----------------------------------------------------------------------------------

_decoder = msgspec.json.Decoder(Policy)
_DEFAULT = Policy()


def parse_policy(text: str) -> Policy:
    """A policy from one word (``lww``, ``main_wins``, ``columns``, ``manual``) or from JSON.

    Raises:
        InvalidPolicy: names what is wrong.
    """
    if text in ROW_RULES:
        return Policy(rows=text)  # type: ignore[arg-type]
    if not text.lstrip().startswith("{"):
        raise _invalid(f"policy must be one of {', '.join(ROW_RULES)}, or JSON, got {text!r}")
    try:
        policy = _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"policy must be an object of its fields: {error}") from error
    if bool(policy.function) != (policy.rows == "function"):
        raise _invalid('policy must name a function with "rows": "function", and only then')
    if policy.columns and policy.rows != "columns":
        raise _invalid('policy must have "rows": "columns" when it has rules for columns')
    return policy


def stored_policy(text: str) -> Policy:
    """What ``sync_table.policy`` holds; a table without a policy has the default."""
    return parse_policy(text) if text and text != "{}" else _DEFAULT


def encode_policy(policy: Policy) -> str:
    """As ``sync_table.policy`` holds it."""
    return msgspec.json.encode(policy).decode("utf-8")


def check_policy(policy: Policy, shape: TableShape) -> None:
    """Refuse what a table cannot be decided by.

    Raises:
        InvalidPolicy: a column or an index is not there, or cannot follow its rule.
    """
    where = f"table {shape.name!r}"
    for name, rule in policy.columns.items():
        if name not in shape.names:
            raise _invalid(f"policy of {where} must name its columns, got {name!r}")
        column = shape.column(name)
        if name in shape.key:
            raise _invalid(f"policy of {where} must leave out the key, got {name!r}")
        if rule == "delta" and (column.kind != "integer" or column.nullable):
            raise _invalid(f"column {name!r} of {where} must be an integer and NOT NULL for delta")
        if rule == "union" and column.kind not in ("text", "json", "any"):
            raise _invalid(f"column {name!r} of {where} must hold the text of an array for union")
    indexes = {unique.name: unique for unique in shape.uniques if not unique.is_key}
    for name, unique_rule in policy.uniques.items():
        if name not in indexes:
            known = ", ".join(sorted(indexes)) or "it has none"
            raise _invalid(
                f"policy of {where} must name its unique indexes ({known}), got {name!r}"
            )
        if unique_rule == "rename_loser" and renamed_column(shape, name) is None:
            raise _invalid(f"index {name!r} of {where} must have a column of text for rename_loser")
        if unique_rule == "null_loser" and nulled_column(shape, name) is None:
            raise _invalid(f"index {name!r} of {where} must have a column for NULL for null_loser")


def renamed_column(shape: TableShape, index: str) -> str | None:
    """The column that ``rename_loser`` changes: the last of the index that holds text."""
    columns = _free_columns(shape, index)
    return next((n for n in reversed(columns) if shape.column(n).kind in ("text", "any")), None)


def nulled_column(shape: TableShape, index: str) -> str | None:
    """The column that ``null_loser`` empties: the last of the index that may be NULL."""
    if any(unique.name == index and unique.nulls_equal for unique in shape.uniques):
        return None
    columns = _free_columns(shape, index)
    return next((n for n in reversed(columns) if shape.column(n).nullable), None)


def _free_columns(shape: TableShape, index: str) -> list[str]:
    """The columns of an index that are no part of the key."""
    [unique] = [each for each in shape.uniques if each.name == index]
    return [name for name in unique.columns if name not in shape.key]


def _invalid(message: str) -> InvalidPolicy:
    return InvalidPolicy(
        message,
        hint="for example `--policy main_wins`; the guide to conflicts lists them all",
    )


# --- functions --------------------------------------------------------------------------------

_resolvers: dict[str, Resolver] = {}


def resolver(name: str) -> Callable[[Resolver], Resolver]:
    """Make a function known to policies under a name.

    A name in the database never loads code by itself: whoever imports must have imported it.

    >>> @resolver("longest note")
    ... def longest(base, ours, theirs):
    ...     return max((ours, theirs), key=lambda row: len((row or {}).get("note") or ""))
    """

    def remember(function: Resolver) -> Resolver:
        _resolvers[name] = function
        return function

    return remember


def find_resolver(name: str) -> Resolver | None:
    """The function of this name; None when this process does not know it."""
    return _resolvers.get(name)
