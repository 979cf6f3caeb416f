"""T16: requests made from the API's own description; every answer must be one that it describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell import ChunkStep, Job, Node, PartitionedStep, PartitionResult, Skip, TaskletStep
from stepwell.built_in_jobs import add_built_in_jobs
from stepwell.repository.tokens import SYNC, create_token
from stepwell.settings import Settings
from stepwell.web.app import make_app
from stepwell.web.server import Server
from tests.docs.pages import ROOT
from tests.web.conftest import Day

EXAMPLES, MANY_EXAMPLES = 5, 150
LONG = ("/api/doctor", "/api/backups")  # Each reads the whole database.
# What is there, in the place of what nobody has: else hardly a request would come far.
THERE: dict[str, list[Any]] = {
    "job": ["load", "partly", "tidy", "stepwell.skips"],
    "name": ["gpu", "load", "one"],
    "execution_id": [1, 2, 3],
    "owner_id": [1],
    "conflict_id": [1],
    "quarantine_id": [1],
}
WAIT_S = 60
Served = tuple[Server, str]

# As the code says it, which another test makes sure of.
DESCRIPTION = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
OPERATIONS = [
    f"{method.upper()} {path}"
    for path, item in DESCRIPTION["paths"].items()
    for method, operation in item.items()
    if "text/event-stream" not in str(operation["responses"].get("200"))  # It never ends.
]


def skip_odd(item: int) -> int:
    if item % 2:
        raise ValueError(item)
    return item


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A node where something has run, failed, skipped, waits, is scheduled; and a shop's token."""
    folder = tmp_path_factory.mktemp("schema")
    chosen = Settings(
        f"sqlite:///{folder}/a.db", durability="normal", folder=folder, requests_per_minute=0
    )
    with Node.open(chosen, purpose="serve") as node:
        odd = ChunkStep("odd", range(4), skip_odd, [].extend, skip=Skip(ValueError, limit=9))
        for job in (
            Job("load", [TaskletStep("count", lambda: None)], parameters=Day),
            Job("partly", [PartitionedStep("share", lambda: [1, 2], share)]),
            Job("tidy", [odd], identity="each-start"),
        ):
            node.registry.add(job, origin="module jobs")
        add_built_in_jobs(node.registry, lambda: node)
        node.sync.init("main", is_main=True)
        node.sync.add_peer("shop-1")
        shop = create_token(node.database, node.clock, "shop", SYNC, node="shop-1")
        for name in ("tidy", "partly"):
            node.operator.run(name)
        node.operator.register("load", {"day": "2026-11-20"})
        node.pools.set("gpu", 1)
        node.schedules.add("load", "0 2 * * *", {"day": "{today}"})
        with Server(make_app(node), "127.0.0.1", 0) as server:
            yield server, shop


def share(number: int) -> PartitionResult:
    return PartitionResult.partial("half of it", rows=number)


@pytest.fixture(scope="module")
def schema() -> Any:
    """Imported when it is needed: it takes seconds."""
    import schemathesis

    schemathesis.serializer.alias("application/x-ndjson", "text/plain")
    return schemathesis.openapi.from_dict(DESCRIPTION)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_one_that_is_described(
    name: str, schema: Any, server: Served, session: requests.Session
) -> None:
    """Method: schemathesis, with a seed that is always the same."""
    ask(schema, name, 2 if is_long(name) else EXAMPLES, server, session)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_one_of_many_answers_is_described(
    name: str, schema: Any, server: Served, session: requests.Session
) -> None:
    ask(schema, name, MANY_EXAMPLES // (10 if is_long(name) else 1), server, session)


def is_long(name: str) -> bool:
    return name.partition(" ")[2].startswith(LONG)


def ask(schema: Any, name: str, count: int, server: Served, session: requests.Session) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    method, _, path = name.partition(" ")
    url, shop = server[0].url, server[1]
    headers = {"Authorization": f"Bearer {shop}"} if path.startswith("/sync/") else {}
    checked = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy(), data=st.data())
    def asked(case: Any, data: st.DataObject) -> None:
        for parameter in case.path_parameters or {}:
            there = st.sampled_from(THERE.get(parameter, [None]))
            chosen = data.draw(st.one_of(there, st.none()))
            if chosen is not None:
                case.path_parameters[parameter] = chosen
        answer = case.call(base_url=url, headers=headers, session=session, timeout=WAIT_S)
        case.validate_response(answer, checks=checked)

    asked()
