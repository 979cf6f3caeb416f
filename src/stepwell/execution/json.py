"""JSON text of everything that is stored: checkpoints, contexts, plans, results (S28, S95).

Guarantees: what cannot be read back as it was written is refused, with the path of the key, and
nothing is stored that is larger than its limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from stepwell.errors import ContextTooLarge, ValueNotJson

CONTEXT_BYTES_MAX = 64 * 1024  # Rewritten whole at every commit.
INPUT_BYTES_MAX = 64 * 1024  # One row a partition: data belongs into tables, not into the plan.


def _plain(value: object) -> object:
    """A subclass of a JSON type as that type; the encoder asks when it does not know better."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    assert isinstance(value, float), type(value)  # `_check` has let it pass.
    return float(value)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def to_json(value: object, *, what: str, bytes_max: int = CONTEXT_BYTES_MAX) -> str:
    """The compact JSON text of ``value``; ``what`` names it in errors, e.g. ``"the checkpoint"``.

    Raises:
        ValueNotJson: a value is no JSON value; the message has its path (S28).
        ContextTooLarge: the text is over ``bytes_max`` bytes.
    """
    try:
        _check(value, what, ())
        encoded = _encode(value)
    except RecursionError:
        raise _not_json(what, (), "it holds itself, or is nested too deep") from None
    except UnicodeEncodeError as error:
        raise _not_json(what, (), f"a text is no Unicode: {error.reason}") from None
    if len(encoded) > bytes_max:
        raise ContextTooLarge(
            f"cannot store {what}: it is {len(encoded)} bytes of JSON, the limit is {bytes_max}",
            hint="keep positions and counts there, and data in a table",
            fields={"bytes": len(encoded), "bytes_max": bytes_max},
        )
    return encoded.decode()


def from_json(stored: str | None) -> object:
    """The value of a stored JSON text; None for NULL."""
    return None if stored is None else msgspec.json.decode(stored)


def _check(value: object, what: str, path: tuple[object, ...]) -> None:
    if value is None or type(value) in (str, bool, int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _not_json(what, path, f"{value} is no JSON number")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _not_json(what, path, f"the key {key!r} is no string")
            _check(inner, what, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check(inner, what, (*path, index))
    elif not isinstance(value, (str, int, float)):
        raise _not_json(what, path, f"{type(value).__name__} is no JSON type")


def _not_json(what: str, path: tuple[object, ...], fact: str) -> ValueNotJson:
    place = "".join(f"[{part!r}]" for part in path)
    return ValueNotJson(
        f"cannot store {what}{' at ' + place if place else ''}: {fact}",
        hint="store text, numbers, booleans, None, lists and dicts with text keys",
        fields={"path": list(path)},
    )
