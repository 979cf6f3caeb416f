"""What ``status`` and ``recover`` show of registered work: a long queue, a dead worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell import Job, Node, Parameters, TaskletStep
from stepwell.cli.pages import details_page, overview_page
from stepwell.looks.reading import Watch
from stepwell.looks.representation import overview_json
from tests.cli.program import Folder

LONG = "chapter-1/*.md,site/chapter-1.html,site/index.html,site/all-of-it.html"


class Item(Parameters):
    files: str
    id: str


item = Job("item", [TaskletStep("work", lambda: None)], parameters=Item)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node.open(f"sqlite:///{tmp_path}/stepwell.db") as node:
        node.registry.add(item, origin="the test")
        yield node


def eyes(node: Node) -> Watch:
    return Watch(node.database, node.clock)


def test_a_long_queue_is_shown_by_its_beginning_in_its_order(node: Node) -> None:
    for number in range(1, 26):
        node.operator.register("item", {"id": f"page-{number}", "files": LONG})
    node.operator.set_priority(25, 1)
    overview = eyes(node).overview()
    lines = [text for _, text in overview_page(overview).lines]
    document = overview_json(overview)

    assert "Waiting for a worker, the first 20 of 25" == lines[0]
    assert [25, *range(1, 20)] == [each["execution_id"] for each in document["waiting"]]
    assert 25 == document["waiting_count"]
    assert "files='chapter-1/*.md,site…', id='page-25'" in lines[2]


def test_what_was_registered_goes_on_by_itself_when_its_worker_is_dead(node: Node) -> None:
    node.operator.register("item", {"id": "a", "files": "b"})
    wanted = node.operator.wanted()
    assert list(node.repository.claim_executions(node.operator.owner_id, wanted, 1))
    node.database.liveness.release(node.operator.owner_id)
    told = [text for _, text in overview_page(eyes(node).overview()).lines]
    details = eyes(node).details(1, partitions_max=1, skips_max=1)
    told += [text for _, text in details_page(details).lines]
    hints = [text for text in told if "hint" in text]

    assert 2 == len(hints)
    for hint in hints:
        assert hint.endswith(
            "a running `stepwell work` goes on with it; `stepwell recover 1` settles it now"
        )


def test_recover_names_what_goes_on(folder: Folder) -> None:
    folder.done("register", "deaf")
    working = folder.start("work", GATE=str(folder.path / "gate"))
    working.until("execution 1 of job 'deaf' started")
    working.kill()

    out = folder.done("recover").out

    assert "  hint: execution 2 goes on from it, `stepwell work` runs it\n" in out
