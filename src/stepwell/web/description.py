"""What ``/openapi.json`` says: the routes as FastAPI sees them, with refusals as they are."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from stepwell.web.problems import MEDIA_TYPE

PROBLEM = {
    "type": "object",
    "description": "A refusal.",
    "required": ["code", "message", "hint", "fields"],
    "properties": {
        "code": {"type": "string", "description": "Stable; docs/errors.md lists them."},
        "message": {"type": "string", "description": "For people; its words may change."},
        "hint": {"type": "string", "description": "What to do next; may be empty."},
        "fields": {"type": "object", "description": "The facts of the message."},
    },
}
_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_INVALID = {"description": "A value breaks its rule; `fields` names it.", "content": _CONTENT}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application."""
    document = get_openapi(
        title="Stepwell",
        version=version("stepwell"),
        description="Dependable batch for Python: the API of one node.",
        routes=app.routes,
    )
    for item in document["paths"].values():
        for operation in item.values():
            answers = operation["responses"]
            # FastAPI's own shape of a refusal is never sent.
            if "HTTPValidationError" in str(answers.get("422")):
                answers["422"] = _INVALID
            for status, answer in answers.items():
                if status >= "400" and "content" not in answer:
                    answer["content"] = _CONTENT
    document["components"] = {
        "schemas": {"Problem": PROBLEM},
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    }
    document["security"] = [{"token": []}, {}]
    return document
