"""What pages answer to what is asked of them: a partition, a filter, a plan, an action."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from html import unescape
from urllib.parse import quote

import pytest

import stepwell.web.history
from stepwell import Job, Node, PartitionedStep, TaskletStep
from stepwell.web.examination import EVERY_S, Examination
from tests.web.client import Client
from tests.web.test_pages import NASTY, calls, tree, words
from tests.web.test_recap import section


def ids(page: str) -> list[int]:
    """The executions of the history, as they are listed."""
    history = page.partition('<form class="filters"')[2]
    return [int(found) for found in re.findall(r'<a href="/executions/(\d+)">\1', history)]


def test_a_partition_is_shown_in_full(client: Client, node: Node) -> None:
    def share(number: int) -> None:
        if number == 1:
            raise ValueError("the <second> one is torn")

    node.registry.add(
        Job("torn", [PartitionedStep("sha re", list(range(3)), share)]), origin="module jobs"
    )
    node.operator.run("torn")
    address = f"/executions/1?step={quote('sha re')}&partition="
    page = client.get(address + "1")
    tree(page)
    part = page.text.partition('<article id="partition"')[2].partition("</article>")[0]

    assert "the &lt;second&gt; one is torn" in part
    assert "Traceback (most recent call last)" in part
    assert [
        "?step=sha%20re&amp;partition=0#partition",
        "?step=sha%20re&amp;partition=2#partition",
    ] == (re.findall(r'rel="(?:prev|next)" href="([^"]+)"', part))
    for nowhere in ("3", "999999999999"):
        assert 'id="partition"' not in client.get(address + nowhere).text
    assert 'id="partition"' not in client.get("/executions/1?step=other&partition=1").text
    client.get(address + "-1").refused(422, "invalid_request")


def test_what_a_restart_has_kept_is_not_here(client: Client, node: Node) -> None:
    torn = {2}

    def share(number: int) -> None:
        if number in torn:
            raise ValueError("torn")

    node.registry.add(
        Job("torn", [PartitionedStep("share", list(range(3)), share)]), origin="module jobs"
    )
    node.operator.run("torn")
    torn.clear()
    node.operator.wait(node.operator.restart(1))
    page = client.get("/executions/2?step=share&partition=0")

    assert "1 SUCCESS 2 not here: kept from before, or not begun" in words(page.text)
    assert "It has no attempt in this execution" in words(page.text)


def test_the_history_is_filtered_and_paged(
    client: Client, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepwell.web.history, "PAGE", 2)
    for job in ("partly", "broken", "partly", "partly", "broken"):
        node.operator.run(job, {"n": node.clock.new_id()})
    today = node.clock.now().astimezone().date()
    tomorrow = today + timedelta(days=1)
    first = client.get("/executions?job=partly&status=&since=&until=")
    tree(first)
    [older] = re.findall(r'rel="next" href="([^"]+)"', first.text)
    second = client.get("/executions" + older.replace("&amp;", "&"))

    assert [[4, 3], [1]] == [ids(page.text) for page in (first, second)]
    assert [5, 2] == ids(client.get("/executions?status=FAILED+or+STOPPED").text)
    assert [5, 2] == ids(client.get(f"/jobs/broken?status=FAILED&since={today}&until={today}").text)
    assert [] == ids(client.get(f"/jobs/broken?since={tomorrow}").text)
    assert "There are none of these." in words(client.get(f"/executions?since={tomorrow}").text)
    client.get("/executions?status=ODD").refused(422, "invalid_request")
    client.get("/executions?since=0001-01-01").refused(422, "invalid_request")


def test_a_plan_says_what_a_start_would_do_or_why_not(client: Client, node: Node) -> None:
    new = client.get("/jobs/partly/plan?stepwell.lines=shop%3D7%0D%0Amode=full")
    faulty = client.get("/jobs/load/plan?day=never&shop=")
    tree(new)
    assert [] == client.get("/api/executions").json["executions"]
    node.operator.run("load", {"day": "2026-11-20"})
    complete = client.get("/jobs/load/plan?day=2026-11-20")
    again = client.get("/jobs/load/plan?day=2026-11-20&stepwell.again=true")

    assert "It would start as a new instance." in words(new.text)
    assert "mode='full'" in unescape(words(new.text))
    assert "share partitioned run 5: 0, 1, 2, 3, 4" in words(new.text)
    assert (422, 409) == (faulty.status, complete.status)
    assert 'value="never"' in faulty.text
    assert re.search(r'id="fault-day" role="alert">input should be a valid date', faulty.text)
    assert "it is already COMPLETED" in words(complete.text)
    assert "It would start as a new instance." in words(again.text)


def test_each_action_says_what_it_will_do(client: Client, node: Node) -> None:
    keep = TaskletStep("keep", lambda: None)
    fail = TaskletStep("fail", lambda: 1 / 0)
    node.registry.add(Job("halfway", [keep, fail]), origin="module jobs")
    node.operator.run("halfway")
    waiting = client.post("/api/register/load", {"day": "2026-11-20"}).json["execution_id"]
    failed, waits = (client.get(f"/executions/{one}").text for one in (1, waiting))
    client.post("/api/executions/1/abandon")

    assert "What is COMPLETED is left out: keep." in section(failed, "actions")
    assert "it is STOPPED at once" in section(waits, "actions")
    assert "the next free worker" in section(waits, "summary")
    assert [] == calls(tree(client.get("/executions/1")))


def test_findings_are_looked_for_now_and_then(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[bool] = []
    at_s = [0.0]
    monkeypatch.setattr(node.clock, "monotonic", lambda: at_s[0])
    examine = node.doctor.examine
    monkeypatch.setattr(
        node.doctor, "examine", lambda **how: examined.append(True) or examine(**how)
    )
    examination = Examination(node)
    found = [examination.findings() for _ in range(3)]
    at_s[0] = EVERY_S + 1
    examination.findings()
    at_s[0] += EVERY_S + 1
    with examination.alone("examine"):
        pass  # Whoever has the doctor look spares the page its own look.
    examination.findings()

    assert 2 == len(examined)
    assert found[0] == found[2]


class Forgetful:
    """A job as from a file of Jakarta Batch XML."""

    name = "gone"
    reuses_parameters = False

    def load(self, parameters: Mapping[str, object]) -> Job:
        return self.preview()

    def preview(self) -> Job:
        return Job("gone", [TaskletStep("fail", lambda: 1 / 0)])


def test_a_restart_is_given_the_parameters_that_its_job_forgets(client: Client, node: Node) -> None:
    """Goal: a job in Jakarta Batch XML takes none from its last execution (S10)."""
    node.registry.add(Forgetful(), origin="module jobs")
    node.operator.run("gone", {"day": NASTY + '"'})
    page = tree(client.get("/executions/1"))
    [given] = [found["value"] for _, found in page.seen if found.get("name") == "parameters"]
    node.operator.run("broken")
    other = tree(client.get("/executions/2"))

    assert {"day": NASTY + '"'} == json.loads(given or "")
    assert not any(found.get("name") == "parameters" for _, found in other.seen)
