"""One Chromium and one server for the session, and jobs that a test can hold and let go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pydantic import Field

from stepwell import (
    ChunkStep,
    Job,
    Node,
    Parameters,
    PartitionedStep,
    PartitionResult,
    TaskletStep,
)
from stepwell.job.policy import Skip
from stepwell.web.app import make_app
from stepwell.web.server import Server
from tests.web.conftest import Gate

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDE = 10_000
PARTITIONS = 60
TIMEOUT_MS = 30_000
expect.set_options(timeout=TIMEOUT_MS)


class Day(Parameters):
    day: date = Field(description="Whose receipts are added up.")
    shop: int = Field(7, ge=1, le=99)
    mode: str = Field("full", pattern="^(full|quick)$")


def browser_path() -> str:
    """The browser of this machine; without one these tests fail and say how to get it."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail("there is no Chromium on this machine: `make browser` installs one")
    return found


# Of the package: Playwright keeps a loop on this thread, which other tests need for their own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = browser_path()
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        options = [*sandbox, "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


Holds = dict[str, dict[int, Gate]]


@dataclass
class Site:
    """A server with its node."""

    node: Node
    url: str
    holds: Holds

    def hold(self, day: str, *numbers: int) -> list[Gate]:
        """Have the receipts of a day wait before each of these partitions; the gates."""
        gates = {number: Gate() for number in numbers}
        self.holds[day] = gates
        return list(gates.values())


def jobs_of(holds: Holds) -> list[Job]:
    """``receipts`` waits where its day is held, ``wide`` has many partitions, ``parse`` skips."""

    def share(number: int, step: Any) -> PartitionResult:
        for first, gate in holds.get(str(step.job.parameters.day), {}).items():
            if number >= first:
                gate.wait()
        if number == 7:
            return PartitionResult.partial("two receipts are torn", rows=40)
        return PartitionResult.success(rows=42)

    def wide(number: int) -> PartitionResult:
        if number == 4_321:
            raise ValueError("receipt 4321 is torn")
        if number % 1_000 == 17:
            return PartitionResult.partial("a page is missing")
        return PartitionResult.success(rows=1)

    def parse(item: str) -> int:
        return int(item)

    items = [str(n) for n in range(40)] + ["eleven", "twelve"]
    return [
        Job(
            "receipts",
            [
                TaskletStep("check", lambda: None),
                PartitionedStep("add-up", list(range(PARTITIONS)), share, workers=2),
                TaskletStep("report", lambda: None),
            ],
            parameters=Day,
            description="Adds up the receipts of a day, shop by shop.",
        ),
        Job("wide", [PartitionedStep("count", lambda: list(range(WIDE)), wide, workers=2)]),
        Job(
            "parse",
            [
                ChunkStep(
                    "numbers", items, parse, lambda rows: None, chunk_size=10, skip=Skip(ValueError)
                )
            ],
        ),
    ]


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    holds: Holds = {}
    with Node.open(f"sqlite:///{folder}/shop.db", purpose="serve") as node:
        node.load_jobs()  # The built-in ones.
        for job in jobs_of(holds):
            node.registry.add(job, origin="module jobs")
        with Server(make_app(node), "127.0.0.1", 0) as server:
            yield Site(node, server.url, holds)
            for gate in (gate for gates in holds.values() for gate in gates.values()):
                gate.opened.set()
            node.operator.close()


class Window:
    """One browser as somebody uses it.

    Attributes:
        faults: What its console says against us, and what our policy keeps from being loaded.
        refused: The statuses of refusals that a test asks for; the console tells of each.
    """

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.context = context
        self.site = site
        self.faults: list[str] = []
        self.refused: set[int] = set()

    def tab(self, target: str) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(self.site.url + target)
        return page

    def _hear(self, message: Any) -> None:
        is_expected = any(f"status of {status}" in message.text for status in self.refused)
        if message.type in ("error", "warning") and not is_expected:
            self.faults.append(message.text)


def picture(page: Page, name: str) -> None:
    """Keep how a page looks, for people."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, animations="disabled")


@pytest.fixture
def open_window(browser: Browser, site: Site) -> Iterator[Callable[..., Window]]:
    """Opens windows; the console of none must have anything to say."""
    windows: list[Window] = []

    def open_one(**options: Any) -> Window:
        size = {"width": 1280, "height": 900}
        context = browser.new_context(**{"viewport": size, "locale": "en-GB", **options})
        windows.append(Window(context, site))
        return windows[-1]

    yield open_one
    for window in windows:
        window.context.close()
    assert [] == [fault for window in windows for fault in window.faults]


@pytest.fixture
def window(open_window: Callable[..., Window]) -> Window:
    """One of the usual size."""
    return open_window()
