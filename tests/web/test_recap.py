"""Scenario B, its dashboard: examples/recap, served by the application, looked at while it runs."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stepwell import Job, Node, StepContext, TaskletStep
from stepwell.repository.tokens import create_token
from stepwell.testing import FrozenClock
from stepwell.web.app import make_app
from tests.conformance.stories import until
from tests.examples.runs import ROOT, module_of
from tests.web.client import Client
from tests.web.conftest import Gate
from tests.web.test_pages import tree, words

BEFORE = ["migrateMetadataStep", "fetch", "preprocess", "dedup", "genre", "select"]


@pytest.fixture
def recap(monkeypatch: pytest.MonkeyPatch, node: Node, gate: Gate) -> ModuleType:
    """The example; its stage of evidence waits at the gate before the last genre."""
    folder = ROOT / "examples" / "recap"
    monkeypatch.syspath_prepend(str(folder))
    found = module_of(folder / "recap.py")
    each_selected = found.each_selected

    def wait_before_the_last(name: str, step: StepContext, column: str, make: Any) -> Any:
        if (name, column) == ("culture", "evidence"):
            gate.wait()
        return each_selected(name, step, column, make)

    monkeypatch.setattr(found, "each_selected", wait_before_the_last)
    node.registry.add(found.job, origin="module recap")
    return found


def section(page: str, name: str) -> str:
    """What stands in one section of a page."""
    return words(re.split(f'<section id="{name}"[^>]*>', page)[-1].partition("</section>")[0])


def test_the_dashboard_shows_a_job_while_it_runs_and_how_it_went(
    recap: ModuleType, node: Node, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(node)
    yuki = Client(app, token=create_token(node.database, node.clock, "yuki", "operator"))
    looker = Client(app, token=create_token(node.database, node.clock, "looker", "viewer"))
    form = tree(looker.get("/jobs/recap"))
    assert "/api/batch/recap" in [found.get("data-call") for _, found in form.seen]
    looker.post("/api/batch/recap", {"day": "2026-03-01"}).refused(403, "role_required")

    # A person presses the button.
    started = yuki.post("/api/batch/recap", {"day": "2026-03-01"})
    assert (202, "user", "yuki") == (
        started.status,
        started.json["trigger_source"],
        started.json["triggered_by"],
    )
    assert gate.begun.wait(30)

    def genres_done() -> int:
        steps = yuki.get("/api/executions/1/steps").json["steps"]
        return int(steps[-1]["partitions"]["completed"])

    until(lambda: genres_done() == 3)

    # The stages, and how far the one is that runs; of it, each genre.
    bar = " ".join(f"{stage} ✓ COMPLETED" for stage in BEFORE)
    bar += " evidence ▶ STARTED 75 % 3 of 4 partitions dispatch ○ not begun persist ○ not begun"
    for target in ("/", "/jobs/recap"):
        page = looker.get(target)
        tree(page)
        assert bar in section(page.text, "running")
    page = looker.get("/executions/1").text
    assert "By user, yuki" in section(page, "summary")
    steps = section(page, "steps")
    assert re.search(r"preprocess ✓ COMPLETED 100 % (\d+) of \1 articles", steps)
    assert steps.endswith("dispatch ○ not begun persist ○ not begun")
    genres = section(page, "partitions-2")
    found = re.findall(r"\w+ [✓▶] (?:SUCCESS|STARTED)", genres)
    assert "culture ▶ STARTED" == found[0]  # What is late stands first.
    assert {"science ✓ SUCCESS", "sport ✓ SUCCESS", "business ✓ SUCCESS"} == set(found[1:])

    # A second press is refused by the server, whoever presses, and told which one runs.
    for day in ("2026-03-01", "2026-03-02"):
        refusal = yuki.post("/api/batch/recap", {"day": day})
        problem = refusal.refused(409, "job_execution_already_running")
        assert 1 == problem["fields"]["execution_id"]
        assert "execution 1 is running" in problem["message"]
    assert 1 == len(yuki.get("/api/executions").json["executions"])
    gate.opened.set()
    node.operator.wait(1)

    # One more fails: the last 24 hours, and the history.
    monkeypatch.setattr(recap.stages, "evidence", None)
    failed = yuki.post("/api/batch/recap", {"day": "2026-03-02"}).json["execution_id"]
    node.operator.wait(failed)
    page = looker.get("/jobs/recap").text
    lately = section(page, "lately")
    assert "Success rate 50 % Ended 2 Failed 1 Partial 0 Average duration" in lately
    took = looker.get("/api/stats?job=recap").json["total"]["average_s"]
    assert looker.get("/api/executions/1").json["duration_s"] == pytest.approx(took, abs=0.001)
    history = section(page, "history")
    assert re.search(r"2 recap ✕ FAILED .* user, yuki 1 recap ✓ COMPLETED .* user, yuki", history)
    assert "It does not run." in section(page, "running")
    cards = section(looker.get("/").text, "cards")
    assert "Success rate, 24 h 50 %" in cards
    assert "of 2" in cards
    assert "Failed, 24 h 1" in cards


def test_what_a_schedule_starts_is_of_the_system(tmp_path: Path) -> None:
    clock = FrozenClock()
    with Node.open(f"sqlite:///{tmp_path}/night.db", clock=clock) as node:
        node.registry.add(Job("tidy", [TaskletStep("only", lambda: None)]), origin="module jobs")
        node.schedules.add("tidy", "0 2 * * *", time_zone="UTC")
        clock.advance(3600)
        [fired] = node.schedules.fire_due()
        looker = Client(make_app(node))

        started = looker.get(f"/api/executions/{fired.execution_id}").json
        assert ("system", "schedule tidy") == (started["trigger_source"], started["triggered_by"])
        page = looker.get(f"/executions/{fired.execution_id}").text
        assert "By system, schedule tidy" in section(page, "summary")
