"""Server-Sent Events: what was committed, to everybody who listens, read once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell import Job, Node, TaskletStep
from stepwell.errors import DatabaseBusy
from stepwell.repository.history import newest_change_id
from stepwell.settings import Settings
from stepwell.testing import each_statement
from stepwell.web import events as module
from stepwell.web.events import Events, Listener
from stepwell.web.face import Face
from tests.web.conftest import Gate

WAIT_S = 30


@pytest.fixture
def events(node: Node) -> Any:
    events = Face.of(node, on_loopback=True, is_ending=lambda: False).events
    yield events
    events.close()


class Heard:
    """A listener, and what it was told as (name, id, document)."""

    def __init__(self, told: AsyncIterator[str]) -> None:
        self._told = told
        self.all: list[tuple[str, int | None, Any]] = []

    async def until(self, stop: Callable[[str, Any], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            async for text in self._told:
                fields = dict(line.partition(": ")[::2] for line in text.strip().splitlines())
                if "event" in fields:
                    number = int(fields["id"]) if "id" in fields else None
                    document = json.loads(fields["data"])
                    self.all.append((fields["event"], number, document))
                    if stop(fields["event"], document):
                        return

    @property
    def changes(self) -> list[tuple[int, int, str]]:
        return [
            (number or 0, document["execution_id"], document["to_status"])
            for name, number, document in self.all
            if name == "change"
        ]


def is_over(name: str, document: Any) -> bool:
    return name == "look" and document["ended_at"] is not None


def history(node: Node, execution_id: int) -> list[tuple[int, int, str]]:
    return [
        (change.history_id, execution_id, str(change.to_status))
        for change in node.operator.get_history(execution_id)
    ]


def test_a_listener_is_told_how_it_stands_and_then_every_change(
    node: Node, events: Events, gate: Gate
) -> None:
    async def story() -> None:
        first = node.operator.start("waiting")
        assert gate.begun.wait(WAIT_S)
        heard = Heard(events.listen(first))
        await heard.until(lambda name, _: name == "look")
        known = len(history(node, first))
        gate.opened.set()
        await heard.until(is_over)

        assert ("look", "STARTED") == (heard.all[0][0], heard.all[0][2]["status"])
        assert "COMPLETED" == heard.all[-1][2]["status"]
        assert history(node, first)[known:] == heard.changes

    asyncio.run(story())


def test_who_comes_back_is_told_what_came_meanwhile(node: Node, events: Events) -> None:
    async def story() -> None:
        ids = [node.operator.start("load", {"day": f"2026-11-0{day}"}) for day in (1, 2)]
        for execution_id in ids:
            node.operator.wait(execution_id)
        everything = [*history(node, ids[0]), *history(node, ids[1])]
        heard = Heard(events.listen(None, after=everything[1][0]))
        await heard.until(
            lambda _, d: (
                d.get("execution_id") == ids[1]
                and d.get("step") is None
                and d.get("to_status") == "COMPLETED"
            )
        )
        one = Heard(events.listen(ids[0], after=0))
        await one.until(is_over)

        assert sorted(everything)[2:] == heard.changes
        assert history(node, ids[0]) == one.changes

    asyncio.run(story())


def test_many_listeners_have_one_poller_and_nobody_has_none(node: Node, events: Events) -> None:
    pollers = lambda: [t for t in threading.enumerate() if t.name == "stepwell-events"]

    async def story() -> None:
        execution_id = node.operator.start("load", {"day": "2026-11-01"})
        node.operator.wait(execution_id)
        told = [events.listen(execution_id) for _ in range(200)]
        await asyncio.gather(*(Heard(each).until(is_over) for each in told))

        assert 1 == len(pollers())
        for each in told:
            await each.aclose()

    asyncio.run(story())
    for thread in pollers():
        thread.join(WAIT_S)
    assert [] == pollers()


def test_one_listener_too_many_is_refused_and_the_end_is_everybodys(
    node: Node, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LISTENERS_MAX", 1)

    async def story() -> None:
        told = events.listen()
        assert "retry" in await anext(told)
        with pytest.raises(DatabaseBusy):
            events.require_room()
        await asyncio.to_thread(events.close)
        async with asyncio.timeout(WAIT_S):
            assert [] == [text async for text in told if "event" in text]
        with pytest.raises(DatabaseBusy):
            events.require_room()

    asyncio.run(story())


KINDS, BROWSERS = 4, 200


def test_however_many_listen_the_database_is_asked_once(tmp_path: Path) -> None:
    """Goal: 200 browsers that come, come back and wait cost what four cost."""
    asked: list[str] = []
    settings = Settings(f"sqlite:///{tmp_path}/a.db", folder=tmp_path)
    with (
        each_statement(lambda when, sql, _: asked.append(sql) if when == "before" else None),
        Node.open(settings) as node,
    ):
        job = Job("tidy", [TaskletStep("tidy", lambda: None)], identity="each-start")
        node.operator.run(job)
        few, many = (asyncio.run(cost_of(node, job, asked, n)) for n in (KINDS, BROWSERS))

    assert few[0] == many[0]
    assert all(few[0])
    # What one of each kind is told, all of its kind are told.
    assert few[1] * (BROWSERS // KINDS) == many[1]
    assert all(few[1])


async def cost_of(
    node: Node, job: Job, asked: list[str], browsers: int
) -> tuple[list[int], list[int]]:
    """Statements when they come, when something happens, when nothing does; what each is told."""
    events = Face.of(node, on_loopback=True, is_ending=lambda: False).events
    with node.database.read() as reader:
        newest = newest_change_id(reader)
    kinds = [(None, 2**62), (None, newest - 2), (1, 2**62), (1, 1)]
    listeners = [Listener(*kinds[number % KINDS]) for number in range(browsers)]
    events._listeners.extend(listeners)
    counts = []
    for happens in (False, True, False):
        if happens:
            await asyncio.to_thread(node.operator.run, job)
        asked.clear()
        events.run_once()
        counts.append(len(asked))
    await asyncio.sleep(0)
    return counts, [listener._waiting.qsize() for listener in listeners]
