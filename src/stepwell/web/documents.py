"""What the bodies of actions may say: each name, its type and its rule, in one place.

The API's description is made from these, and a body that breaks one is refused with the name of the
field, before anything is done.
"""

from __future__ import annotations

import re
from datetime import timedelta
from inspect import cleandoc
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from fastapi import Depends
from starlette.requests import Request

from stepwell.errors import InvalidRequest
from stepwell.job.age import RULE, read_age
from stepwell.web.body import json_body

ID_MAX = 2**63 - 1  # What a column of the database holds.

ExecutionId = Annotated[int, msgspec.Meta(ge=1, le=ID_MAX)]
Number = Annotated[int, msgspec.Meta(ge=0, le=ID_MAX)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Parameters = dict[str, Any]

_AT_FIELD = re.compile(r"`\$\.(\w+)|unknown field `([^`]*)`|required field `(\w+)`")


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an action: a JSON object with these names and no others."""


D = TypeVar("D", bound=Document)


class Reason(Document, frozen=True):
    """Why; it goes to the history."""

    reason: str | None = None


class Restarting(Reason, frozen=True):
    """Why, and parameters that replace all of its own."""

    parameters: Parameters | None = None


class Recovering(Reason, frozen=True):
    """Which one, by default all whose process is dead; `force` does without the proof."""

    execution_id: ExecutionId | None = None
    force: bool = False


class Releasing(Document, frozen=True):
    """Which lock; `fence` chooses one of several that read, `force` needs a reason."""

    lock: Text
    fence: Number | None = None
    force: bool = False
    reason: str | None = None


class Scheduling(Document, frozen=True):
    """A job, and when it is started; named like the job unless named."""

    job: Text
    cron: Text
    parameters: Parameters | None = None
    name: Text | None = None
    time_zone: Text | None = None
    catch_up: Literal["skip", "last", "all"] = "last"


class Repairing(Document, frozen=True):
    """`only` names the codes that may be mended, `expect` the plan that somebody has read."""

    only: list[str] | None = None
    expect: str | None = None


class Copying(Document, frozen=True):
    """The name of the copy; without one database and time."""

    name: Text | None = None


class Pruning(Document, frozen=True):
    """A copy goes that is too many and too old; without `delete` they are only shown."""

    keep: Annotated[int, msgspec.Meta(ge=1, le=ID_MAX)] | None = None
    older_than: str | None = None
    delete: bool = False


class Purging(Document, frozen=True):
    """Instances go that all of this allows; without `delete` they are only counted."""

    older_than: str | None = None
    keep: Number | None = None
    job: str | None = None
    status: list[Literal["COMPLETED", "ABANDONED", "FAILED", "STOPPED"]] | None = None
    delete: bool = False


class Resolving(Document, frozen=True):
    """Whose image the row shall have; or `values`, as files of changes write them.

    `expect` is the `state` that somebody has read; without it what a person has decided stays.
    """

    take: Literal["ours", "theirs"] | None = None
    values: Parameters | None = None
    expect: str | None = None


def body(kind: type[D]) -> Any:
    """The dependency of a route whose body is a ``kind``.

    It refuses as :func:`.json_body` does, and what breaks a rule of ``kind``.
    """

    async def read(request: Request) -> D:
        return _convert(await json_body(request), kind)

    return Depends(read)


def describes(kind: type[Document]) -> dict[str, Any]:
    """What the API's description says of the body."""
    schema = msgspec.json.schema_components([kind])[1][kind.__name__]
    told = cleandoc(schema.pop("description"))
    del schema["title"]
    return {
        "requestBody": {
            "content": {"application/json": {"schema": schema}},
            "description": told,
            "required": "required" in schema,
        }
    }


def age(name: str, text: str | None) -> timedelta | None:
    """An age such as ``90d``; None when none was given.

    Raises:
        InvalidRequest: it is no age.
    """
    found = None if text is None else read_age(text)
    if text is not None and found is None:
        raise refused(name, f"it must be {RULE}, got {text!r}", example='{"older_than": "90d"}')
    return found


def refused(name: str, rule: str, *, example: str) -> InvalidRequest:
    """The error of a field that breaks its rule."""
    return InvalidRequest(
        f"cannot read the body: {name!r}: {rule}",
        hint=f"for example {example}",
        fields={"parameters": {name: rule}},
    )


def _convert(value: dict[str, Any], kind: type[D]) -> D:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        fact = str(error)
        fact = fact[:1].lower() + fact[1:]
        at = _AT_FIELD.search(fact)
        name = next(filter(None, at.groups()), "body") if at else "body"
        known = ", ".join(repr(field) for field in kind.__struct_fields__)
        raise InvalidRequest(
            f"cannot read the body: {fact}",
            hint=f"it may hold {known}",
            fields={"parameters": {name: fact}},
        ) from None
