"""What the operator's pages share: who looks, forms that are known to be ours, refusals in place.

A form is plain HTML and needs no script. What it asks for is done by the same verbs as the API's
actions; then the browser is sent to the page that shows what has come of it. A refusal is drawn on
the page that the form stands on, in the words of the command line.

Guarantee: a form is heard only from an operator, and only with the form token that a page of this
server has given to the same caller: no foreign page can know it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stepwell.errors import InvalidRequest, Kind, RoleRequired, StepwellError
from stepwell.looks.representation import problem_json
from stepwell.repository.tokens import OPERATOR
from stepwell.sync.session import Sync
from stepwell.web.auth import Caller, secret_of
from stepwell.web.body import bounded_body
from stepwell.web.desk.words import DONE
from stepwell.web.documents import ID_MAX
from stepwell.web.drawing import draw_page
from stepwell.web.face import Face, Operator, Viewer, face_of
from stepwell.web.problems import status_of

# Pages that stand under another one's name.
_WITHIN = {
    "register": "queue",
    "executions": "queue",
    "recover": "owners",
    "conflicts": "sync",
    "quarantine": "sync",
    "audit": "sync",
}
FIELDS_MAX = 1_000  # A row of a conflict has so many columns at most.


class Form:
    """The fields of a form, as texts."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.given = given

    def text(self, name: str) -> str:
        """A field without the space around it; empty when it was left empty."""
        return self.given.get(name, "").strip()

    def exact(self, name: str) -> str:
        """A field as it was sent: the name of something that is there."""
        return self.given.get(name, "")

    @property
    def reason(self) -> str | None:
        """Why; None when nobody has said."""
        return self.text("reason") or None

    def is_checked(self, name: str) -> bool:
        """Whether a box was ticked."""
        return name in self.given

    def number(self, name: str, *, low: int = 1, high: int = ID_MAX) -> int | None:
        """A whole number; None when it was left empty.

        Raises:
            InvalidRequest: it is none, or out of its range.
        """
        text = self.text(name)
        if not text:
            return None
        digits = text.removeprefix("-")
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= len(str(ID_MAX))
        if not is_number or not low <= int(text) <= high:
            raise invalid(name, f"it must be a whole number from {low} to {high}, got {text!r}")
        return int(text)

    def needed(self, name: str, *, low: int = 1, high: int = ID_MAX) -> int:
        """The same, of a field that must not be empty."""
        number = self.number(name, low=low, high=high)
        if number is None:
            raise invalid(name, "it must be a whole number, and is empty")
        return number


def invalid(name: str, fact: str) -> InvalidRequest:
    """The refusal of a field."""
    return InvalidRequest(
        f"cannot read the form: {name!r}: {fact}",
        hint="correct it, and send the form again",
        fields={"parameters": {name: fact}},
    )


@dataclass(frozen=True)
class Desk:
    """One request of a person who looks at, or acts on, what happens here.

    Attributes:
        here: The page of the navigation that this one belongs to.
        form_token: Stands in every form of the page.
        done: A key of ``DONE``: what the form that led here has done; else empty.
        form: What was sent; empty for who only looks.
    """

    face: Face
    caller: Caller
    here: str
    form_token: str
    done: str = ""
    form: Form = field(default_factory=lambda: Form({}))

    @property
    def sync(self) -> Sync:
        """The change log of this node."""
        return self.face.node.sync

    def draw(self, template: str, problem: StepwellError | None = None, **values: Any) -> Response:
        """A page; with the refusal of what was just asked on it, if it was refused."""
        return draw_page(
            f"desk/{template}",
            self.face,
            200 if problem is None else status_of(problem),
            here=self.here,
            may_act=OPERATOR in self.caller.roles,
            form_token=self.form_token,
            done="" if problem is not None else DONE.get(self.done, ""),
            problem=None if problem is None else problem_json(problem),
            now=self.face.node.clock.now(),
            **values,
        )

    def carry_out(
        self, act: Callable[[], str], *, to: str, draw: Callable[[StepwellError], Response]
    ) -> Response:
        """Do what a form asks for; ``act`` answers the key of what it has done.

        Then the browser looks at the page ``to``, so that loading it again does nothing twice; a
        refusal is drawn by ``draw``.
        """
        try:
            done = act()
        except StepwellError as error:
            if error.kind is Kind.BUG:
                raise
            return draw(error)
        return RedirectResponse(f"{to}?done={done}", 303)


def _form_token(request: Request) -> str:
    """What proves that a form was drawn for this caller: by his secret, or that of this server."""
    key = secret_of(request.headers) or face_of(request).form_key
    return hmac.new(key.encode(), b"stepwell form", "sha256").hexdigest()


def _look(request: Request, caller: Viewer) -> Desk:
    done = request.query_params.get("done", "")
    return Desk(face_of(request), caller, _here(request), _form_token(request), done)


def _here(request: Request) -> str:
    first = request.url.path.split("/")[1]
    return f"/{_WITHIN.get(first, first)}"


async def _act(request: Request, caller: Operator) -> Desk:
    form = Form(_fields(await bounded_body(request)))
    expected = _form_token(request)
    if not hmac.compare_digest(form.text("form_token").encode(), expected.encode()):
        raise RoleRequired(
            f"cannot answer {request.method} {request.url.path}: the form is not one of this"
            " server's, or was drawn before the server was started or the browser has signed in",
            hint="load the page again, and send the form once more",
        )
    return Desk(face_of(request), caller, _here(request), expected, form=form)


def _fields(body: bytes) -> dict[str, str]:
    try:
        given = dict(
            parse_qsl(
                body.decode("utf-8"),
                keep_blank_values=True,
                max_num_fields=FIELDS_MAX,
                errors="strict",
            )
        )
    except ValueError as error:  # Among them what is no UTF-8.
        raise InvalidRequest(
            "cannot read the form: it is not written as a browser writes it",
            hint="send it from the page",
        ) from error
    if any("\x00" in text for pair in given.items() for text in pair):
        raise InvalidRequest(
            "cannot read the form: a text in it holds a NUL, which no database takes",
            hint="leave it out",
        )
    return given


Looking = Annotated[Desk, Depends(_look)]
Acting = Annotated[Desk, Depends(_act)]
