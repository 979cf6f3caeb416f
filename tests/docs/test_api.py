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
from stepwell.web.metrics import Metrics
from tests.docs.pages import ROOT, page
from tests.docs.test_reference import COMMANDS
from tests.web.test_access import PAGES, ROUTES

PAGE = page("docs/api.md")
FILE = ROOT / "docs" / "openapi.json"
VERSION = "0"  # Of the description: that of the package would change the file at each release.


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
    """The table of the page is the one that says so."""
    rows = re.findall(r"^\| (`[a-z][^|]*`) \| (.+) \|$", section("Commands"), re.MULTILINE)
    told = {command: what for names, what in rows for command in re.findall(r"`([^`]+)`", names)}
    routes = {f"{method} {path}" for method, path, _ in ROUTES}
    problems = [
        f"{command}: {what}"
        for command, what in told.items()
        if not (what.strip("`") in routes or what.startswith("none: "))
    ]

    assert sorted(name.removeprefix("stepwell ") for name in COMMANDS) == sorted(told)
    assert [] == problems


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
    names = re.findall(r"^# TYPE (\w+) ", Metrics(node).text(), re.MULTILINE)

    assert names == re.findall(r"^\| `(stepwell_\w+)` \|", PAGE.prose, re.MULTILINE)


def section(heading: str) -> str:
    """What stands below a heading of the page."""
    return PAGE.prose.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def description(app: FastAPI) -> str:
    """The file's text."""
    document = describe(app)
    document["info"]["version"] = VERSION
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    with temporary_node() as here:
        FILE.write_text(description(make_app(here)), encoding="utf-8")
