"""T21 for the API: each route is explained and described, and each command has one, or a reason."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fastapi import FastAPI

from stepwell import Node
from stepwell.testing import temporary_node
from stepwell.web.app import make_app
from stepwell.web.description import describe
from stepwell.web.metrics import metrics_text
from tests.docs.pages import ROOT, page
from tests.docs.test_reference import COMMANDS
from tests.web.test_access import PAGES, ROUTES

PAGE = page("docs/api.md")
FILE = ROOT / "docs" / "openapi.json"
VERSION = "0"  # Of the description: that of the package would change the file at each release.

# What a command does over HTTP.
ROUTE_OF = {
    "run": "POST /api/batch/{job}",
    "register": "POST /api/register/{job}",
    "status": "GET /api/status",
    "why": "GET /api/executions/{execution_id}/why",
    "stop": "POST /api/executions/{execution_id}/stop",
    "restart": "POST /api/executions/{execution_id}/restart",
    "priority": "POST /api/executions/{execution_id}/priority",
    "abandon": "POST /api/executions/{execution_id}/abandon",
    "recover": "POST /api/recover",
    "history": "GET /api/executions",
    "jobs": "GET /api/jobs",
    "jobs show": "GET /api/jobs/{job}",
    "owners list": "GET /api/owners",
    "owners stop": "POST /api/owners/{owner_id}/stop",
    "lock list": "GET /api/locks",
    "skips list": "GET /api/executions/{execution_id}/skips",
    "pool list": "GET /api/pools",
    "pool set": "PUT /api/pools/{name}",
    "schedule list": "GET /api/schedules",
    "schedule pause": "POST /api/schedules/{name}/pause",
    "schedule resume": "POST /api/schedules/{name}/resume",
    "schedule remove": "DELETE /api/schedules/{name}",
}
FILES = "it reads or writes files of the machine that it is typed on"
PROCESS = "it is a process of its own; `serve` has a worker inside"
KEYS = "whoever has a token must not be able to make one"
NOT_YET = "not there yet"
REASON_OF = {
    "init": FILES,
    "import-state": FILES,
    "jobs check": FILES,
    "work": PROCESS,
    "serve": PROCESS,
    "token create": KEYS,
    "token list": KEYS,
    "token revoke": KEYS,
    "notify": "it tries out the settings of the machine that it is typed on",
    "purge": "it deletes history for ever, which a person decides at the machine",
    "db info": FILES,
    "db migrate": FILES,
    "db checkpoint": FILES,
    "skips export": FILES,
    "skips retry": NOT_YET,
    "diff": NOT_YET,
    "plan": NOT_YET,
    "lock release": NOT_YET,
    "schedule add": NOT_YET,
    "schedule preview": NOT_YET,
    "doctor": NOT_YET,
    **{f"backup {verb}": NOT_YET for verb in ("create", "list", "verify", "restore", "prune")},
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    path: Path = tmp_path_factory.mktemp("api")
    return Node.open(f"sqlite:///{path}/api.db")


@pytest.fixture(scope="module")
def app(node: Node) -> FastAPI:
    return make_app(node)


def test_every_route_is_explained_with_its_role() -> None:
    rows = re.findall(r"^\| `([A-Z]+) (/\S*)` \| (\w+) \|", PAGE.prose, re.MULTILINE)
    told = sorted((method, path, role.replace("none", "public")) for method, path, role in rows)

    assert ROUTES == told


def test_every_page_of_the_dashboard_is_explained() -> None:
    prose = page("docs/dashboard.md").prose
    looks = re.findall(r"^\| `(/\S*)` \|", prose, re.MULTILINE)
    forms = re.findall(r"^\| `POST (/\S*)` \|", prose, re.MULTILINE)
    pages = [(method, path) for method, path, role in PAGES if role != "public"]

    assert sorted(looks) == [path for method, path in pages if method == "GET"]
    assert sorted(forms) == [path for method, path in pages if method == "POST"]
    assert len(looks) + len(forms) == len(pages)


def test_every_command_has_its_route_or_a_reason() -> None:
    commands = {name.removeprefix("stepwell ") for name in COMMANDS}
    ours = {name for name in commands if not name.startswith("sync ")}  # It has routes of its own.
    routes = {f"{method} {path}" for method, path, _ in ROUTES}

    assert ours == ROUTE_OF.keys() | REASON_OF.keys()
    assert set() == ROUTE_OF.keys() & REASON_OF.keys()
    assert set() == set(ROUTE_OF.values()) - routes


def test_the_description_in_the_repository_is_that_of_the_code(app: FastAPI) -> None:
    """A difference is written by ``python -m tests.docs.test_api``."""
    assert description(app) == FILE.read_text(encoding="utf-8")


def test_every_route_describes_what_it_refuses(app: FastAPI) -> None:
    for path, item in describe(app)["paths"].items():
        for method, operation in item.items():
            needed = {"401", "403"} if path != "/health" else set()
            needed |= {"404", "422"} if "{execution_id}" in path else set()
            needed |= {"413"} if "requestBody" in operation else set()
            assert set() == needed - operation["responses"].keys(), (method, path)


def test_every_metric_is_explained(node: Node) -> None:
    names = re.findall(r"^# TYPE (\w+) ", metrics_text(node), re.MULTILINE)

    assert names == re.findall(r"^\| `(stepwell_\w+)` \|", PAGE.prose, re.MULTILINE)


def description(app: FastAPI) -> str:
    """The file's text."""
    document = describe(app)
    document["info"]["version"] = VERSION
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    with temporary_node() as here:
        FILE.write_text(description(make_app(here)), encoding="utf-8")
