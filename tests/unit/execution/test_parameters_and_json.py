"""Job keys, canonical texts, and what may be stored as JSON."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import ContextTooLarge, ValueNotJson
from stepwell.execution.json import from_json, to_json
from stepwell.execution.parameters import (
    describe_parameters,
    job_key,
    parse_parameter,
    render_parameter,
)

VALUES: list[Any] = [
    None,
    "x",
    "",
    7,
    -(2**70),
    0.1,
    1e300,
    True,
    False,
    Decimal("1.50"),
    date(2026, 2, 28),
    datetime(2026, 2, 28, 1, 2, 3, 4, UTC),
    time(1, 2),
    [1, {"b": 2, "a": [None]}],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_stored_parameter_comes_back_as_it_was(value: Any) -> None:
    assert value == parse_parameter(render_parameter("p", value))


def test_a_job_key_depends_on_name_type_and_value_and_not_on_the_order() -> None:
    """S4."""
    one, text = render_parameter("n", 1), render_parameter("n", "1")
    day, hidden = render_parameter("d", "x"), render_parameter("h", 1, identifying=False)

    assert job_key([one, day, hidden]) == job_key([day, one])
    assert len({job_key([one]), job_key([text]), job_key([]), job_key([one], mark="run 2")}) == 4
    assert "n=1, d='x'" == describe_parameters([one, day, hidden])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_what_is_json_comes_back_as_it_was(value: Any) -> None:
    assert value == from_json(to_json(value, what="the context", bytes_max=10**6))


_CIRCLE: list[Any] = []
_CIRCLE.append(_CIRCLE)


class _Text(str):  # noqa: SLOT000 - a plain subclass is what is meant
    """A subclass, as enumerations are."""


def test_subclasses_of_json_types_and_other_mappings_are_stored_as_these() -> None:
    value = {_Text("a"): [_Text("b"), True], "c": MappingProxyType({"d": 2**70})}

    assert '{"a":["b",true],"c":{"d":1180591620717411303424}}' == to_json(value, what="x")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, object()]}, "cannot store the context at ['a'][1]: object is no JSON type"),
        ({"a": {1: 2}}, "cannot store the context at ['a']: the key 1 is no string"),
        (float("nan"), "cannot store the context: nan is no JSON number"),
        ({"when": date(2026, 1, 1)}, "cannot store the context at ['when']: date is no JSON type"),
        ("\ud800", "cannot store the context: a text is no Unicode: surrogates not allowed"),
        (_CIRCLE, "cannot store the context: it holds itself, or is nested too deep"),
    ],
)
def test_what_is_not_json_is_refused_with_the_path_of_its_key(value: Any, message: str) -> None:
    """S28."""
    with pytest.raises(ValueNotJson) as raised:
        to_json(value, what="the context")

    assert message == str(raised.value)


def test_a_context_over_its_limit_is_refused() -> None:
    with pytest.raises(ContextTooLarge, match="is 102 bytes of JSON, the limit is 100"):
        to_json("x" * 100, what="the context", bytes_max=100)
