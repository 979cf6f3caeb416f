"""The dashboard's pages: drawn by the server, complete without a script, safe to show anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import stepwell.web.executions
from stepwell import Job, Node, PartitionedStep, TaskletStep
from stepwell.repository.tokens import create_token
from stepwell.web.app import make_app
from tests.web.client import Answer, Client
from tests.web.conftest import Gate

VOID = {"meta", "link", "input", "br"}
NASTY = "<script>alert(1)</script>"


class Tree(HTMLParser):
    """Fails when an element is not closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.opened.pop()


def tree(answer: Answer) -> Tree:
    """The page, which is whole, and has nothing that its policy would not run."""
    assert 200 == answer.status, answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    found = Tree()
    found.feed(answer.text)
    assert [] == found.opened
    for tag, attributes in found.seen:
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        assert "http" not in (attributes.get("src") or attributes.get("href") or ""), tag
        assert tag != "script" or attributes["src"]
    return found


def words(page: str) -> str:
    """What stands on a page, without its markup."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def calls(page: Tree) -> list[str | None]:
    return [found["data-call"] for tag, found in page.seen if "data-call" in found]


def test_every_page_is_whole(
    client: Client, node: Node, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/api/batch/waiting")
    client.post("/api/batch/partly")
    client.post("/api/batch/broken")
    client.post("/api/register/load", {"day": "2026-11-20"})
    assert gate.begun.wait(30)
    node.operator.wait(2)
    node.operator.wait(3)
    targets = ["/", "/executions", "/jobs", "/login", "/jobs/load", "/executions?job=broken"]
    targets += ["/jobs/load/plan?day=2026-11-21", "/executions/2?step=share&partition=3"]
    targets += [f"/executions/{execution_id}" for execution_id in (1, 2, 3, 4)]
    pages = {target: client.get(target) for target in targets}
    trees = {target: tree(answer) for target, answer in pages.items()}

    assert ["/api/executions/1/stop", "/api/recover"] == calls(trees["/executions/1"])
    assert ["/api/executions/3/restart", "/api/executions/3/abandon"] == calls(
        trees["/executions/3"]
    )
    assert ["/api/executions/4/stop"] == calls(trees["/executions/4"])
    assert "the till is locked" in pages["/executions/3"].text
    assert "1 PARTIAL 4 SUCCESS" in words(pages["/executions/2"].text)
    assert "half of it" in pages["/executions/2"].text
    monkeypatch.setattr(stepwell.web.executions, "LISTED_MAX", 4)
    many = client.get("/executions/2")
    tree(many)
    cells = re.findall(r'<path class="([\w-]+)" d="([^"]+)"/>', many.text.partition("cells")[2])
    assert [("completed", "M44 4h28M84 4h8"), ("partial", "M74 6h8")] == cells


def test_the_days_are_drawn_and_told(client: Client, node: Node) -> None:
    for job in ("partly", "broken", "broken"):
        node.operator.wait(client.post(f"/api/batch/{job}").json["execution_id"])
    page = client.get("/")
    bars = [found for tag, found in tree(page).seen if tag == "rect"]
    today = re.sub("<[^>]+>", " ", page.text.partition("in numbers")[2]).split("</table>")[0]

    assert [("partial", 66.7, 33.3), ("failed", 0.0, 66.7)] == [
        (bar["class"], *(float(bar[name] or "") for name in ("y", "height"))) for bar in bars
    ]
    assert "0 1 2" in " ".join(today.split())
    assert 14 == len(re.findall(r"<td>\d{4}-\d\d-\d\d</td>", page.text))


def test_a_form_asks_for_what_the_job_takes(client: Client) -> None:
    page = tree(client.get("/jobs/load"))
    inputs = {
        str(found["name"]): found
        for tag, found in page.seen
        if tag == "input" and str(found.get("id", "")).startswith("field-")
    }

    assert ["/api/batch/load"] == calls(page)
    assert {"day": "date", "shop": "number"} == {n: f["type"] for n, f in inputs.items()}
    assert ["day"] == [name for name, found in inputs.items() if "required" in found]
    assert ["textarea"] == [
        tag for tag, _ in tree(client.get("/jobs/broken")).seen if tag == "textarea"
    ]


def test_nothing_that_is_recorded_is_taken_for_markup(client: Client, node: Node) -> None:
    def fail(step: object) -> None:
        raise RuntimeError(NASTY)

    node.registry.add(Job("nasty", [TaskletStep("fail", fail)]), origin="module jobs")
    client.post("/api/batch/nasty", {"note": NASTY})
    node.operator.wait(1)
    client.post("/api/executions/1/abandon", {"reason": NASTY})

    for target in ("/", "/executions", "/executions/1", "/jobs/nasty"):
        answer = client.get(target)
        tree(answer)
        assert NASTY not in answer.text
    assert "&lt;script&gt;" in client.get("/executions/1").text


@pytest.mark.slow
def test_ten_thousand_partitions_are_one_page(client: Client, node: Node) -> None:
    wide = PartitionedStep("wide", lambda: list(range(10_000)), lambda number: None, workers=2)
    node.registry.add(Job("wide", [wide]), origin="module jobs")
    client.post("/api/batch/wide")
    node.operator.wait(1)
    answer = client.get("/executions/1")

    rows = re.findall(r"M44 \d+h998", answer.text)
    assert 100 == len(rows)
    assert "10,000 SUCCESS" in words(answer.text)
    assert 50_000 > len(answer.text)


def test_what_runs_is_shown_although_its_job_is_not_known_here(
    client: Client, node: Node, tmp_path: Path
) -> None:
    with Node.open(f"sqlite:///{tmp_path}/web.db") as other:
        gate = Gate()
        wait = TaskletStep("wait", gate.wait)
        other.operator.start(Job("elsewhere", [wait]))
        assert gate.begun.wait(30)
        pages = [client.get(target) for target in ("/", "/executions/1")]
        gate.opened.set()
        other.operator.wait(1)

    for page in pages:
        tree(page)
        assert "STARTED" in page.text
        assert "not begun" not in page.text


def test_a_browser_signs_in_with_a_token(node: Node) -> None:
    app = make_app(node, on_loopback=False)
    secret = create_token(node.database, node.clock, "night-shift", "operator")
    stranger = Client(app)
    sent = stranger.get("/", accept="text/html")
    wrong = stranger.ask("POST", "/login", [b"token=guessed"])
    right = stranger.ask("POST", "/login", [f"token={secret}".encode()])
    cookie = right.headers["set-cookie"]
    behind = {"x-forwarded-proto": "https"}
    by_proxy = stranger.ask("POST", "/login", [f"token={secret}".encode()], behind)
    kept = {"cookie": cookie.partition(";")[0]}

    assert (303, "/login") == (sent.status, sent.headers["location"])
    assert (401, True) == (wrong.status, "nobody has this token" in wrong.text)
    assert (303, "/") == (right.status, right.headers["location"])
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert [False, True] == ["Secure" in each.headers["set-cookie"] for each in (right, by_proxy)]
    assert 200 == stranger.get("/", **kept).status
    started = stranger.post("/api/batch/load", {"day": "2026-11-20"}, **kept)
    assert (202, "night-shift") == (started.status, started.json["triggered_by"])
    foreign = stranger.post("/api/executions/1/stop", origin="https://evil.example", **kept)
    foreign.refused(403, "role_required")
    stranger.get("/", cookie="stepwell_token=guessed").refused(401, "token_required")


def test_a_refusal_is_a_page_for_whoever_looks_at_pages(client: Client) -> None:
    answer = client.get("/executions/41", accept="text/html")

    assert (404, "text/html; charset=utf-8") == (answer.status, answer.headers["content-type"])
    assert "cannot find execution 41" in answer.text


@pytest.mark.parametrize("name", ["stepwell.css", "stepwell.js"])
def test_style_and_script_come_from_here(client: Client, name: str) -> None:
    answer = client.get(f"/static/{name}")

    assert 200 == answer.status
    assert "http:" not in answer.text
    assert "https:" not in answer.text
    client.get("/static/..%2fpages.py").refused(404, "invalid_request")
    client.get("/static/pages.py").refused(404, "invalid_request")
