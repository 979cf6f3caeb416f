"""T17: the dashboard in a real Chromium, as a person uses it; pictures in build/screenshots."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from stepwell.database.connect import open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.sync.session import Sync
from tests.browser import conftest
from tests.browser.conftest import Site, Window, picture
from tests.support.change_log import execute
from tests.support.sync_nodes import rows
from tests.support.sync_nodes import send as hand_over

READY_MS = 15_000  # Generous: the machine may be busy with other tests.
DARKER_THAN = 60  # Of 255, the ground of a dark page.


def field(page: Page, name: str) -> str:
    """What was refused of one parameter, at its field."""
    return page.locator(f"#fault-{name}").inner_text()


def test_a_job_is_started_watched_stopped_and_restarted(window: Window, site: Site) -> None:
    """Goal: from the form to the last partition, and no page is loaded that nobody asked for."""
    first, second = site.hold("2026-03-01", 10, 30)
    page = window.tab("/jobs/receipts")
    form = page.locator("#start")

    # What is wrong stands at its field, whoever finds it: the browser, then the server.
    form.get_by_role("button", name="Start job").click()
    assert field(page, "day")
    page.fill("#field-day", "2026-03-01")
    assert not field(page, "day")
    page.fill("#field-mode", "lazy")
    window.refused = {422}
    form.get_by_role("button", name="Start job").click()
    expect(page.locator("#fault-mode")).to_contain_text("full|quick")
    assert "field-mode" == page.evaluate("document.activeElement.id")
    picture(page, "job")

    # The plan, then the start.
    page.fill("#field-mode", "quick")
    form.get_by_role("button", name="Show the plan").click()
    expect(page.locator("#plan")).to_contain_text("It would start as a new instance.")
    expect(page.locator("#plan")).to_contain_text("60: 0, 1, 2")
    picture(page, "plan")
    page.get_by_role("button", name="Start job").click()
    page.wait_for_url("**/executions/*")

    # Stages and partitions move while the page stays.
    summary = page.locator("#summary")
    expect(summary).to_contain_text("10 of 60 partitions")
    page.evaluate("document.body.dataset.same = 'page'")
    page.get_by_text("Stop…").click()
    page.fill("#stop input", "the till is counted again")
    first.opened.set()
    expect(summary).to_contain_text("30 of 60 partitions")
    expect(page.locator(".cells .completed")).to_have_count(1)
    assert re.search(r"check\s+✓ COMPLETED", summary.inner_text())
    assert "the till is counted again" == page.input_value("#stop input")  # While it was drawn.
    picture(page, "running")

    # Stop, with a reason; it says what it does.
    expect(page.locator("#stop")).to_contain_text("ends STOPPED")
    page.locator("#stop").get_by_role("button").click()
    expect(page.locator("#stop output")).to_contain_text("It is asked to stop")
    expect(summary).to_contain_text("STOPPING")
    second.opened.set()
    expect(summary).to_contain_text("STOPPED")
    expect(page.locator("#history")).to_contain_text("the till is counted again")
    assert "page" == page.evaluate("document.body.dataset.same")

    # Restart: what is complete is left out.
    page.get_by_text("Restart…").click()
    expect(page.locator("#restart")).to_contain_text("What is COMPLETED is left out: check.")
    picture(page, "stopped")
    page.fill("#restart input", "counted")
    stopped = page.url
    page.locator("#restart").get_by_role("button").click()
    page.wait_for_url(lambda url: url != stopped)
    expect(summary).to_contain_text("PARTIAL")
    expect(page.locator("#steps")).to_contain_text("60 of 60 partitions")
    expect(page.locator("#partitions-1")).to_contain_text("kept from before")
    picture(page, "restarted")


def test_two_tabs_press_stop(window: Window, site: Site) -> None:
    """Goal: twice is once, and the second is told so."""
    [gate] = site.hold("2026-03-02", 5)
    started = site.node.operator.start("receipts", {"day": "2026-03-02"})
    assert gate.begun.wait(30)
    tabs = [window.tab(f"/executions/{started}") for _ in range(2)]
    for number, tab in enumerate(tabs):
        tab.get_by_text("Stop…").click()
        tab.fill("#stop input", f"by tab {number}")
    for tab in tabs:
        tab.locator("#stop").get_by_role("button").click()
        expect(tab.locator("#stop output")).to_contain_text("Asking twice changes nothing.")
    gate.opened.set()
    for tab in tabs:
        expect(tab.locator("#summary")).to_contain_text("STOPPED")
        expect(tab.get_by_text("Restart…")).to_be_visible()

    assert "STOPPED" == site.node.operator.get_job_execution(started).batch_status
    told = tabs[0].locator("#history").inner_text()
    assert 1 == len(re.findall(r"the job\s+◧ STOPPING", told))
    assert "by tab 0" in told


def test_ten_thousand_partitions_can_be_used(window: Window, site: Site) -> None:
    execution = site.node.operator.run("wide")
    page = window.tab(f"/executions/{execution.execution_id}")
    grid = page.locator(".cells")
    expect(grid).to_be_visible(timeout=READY_MS)
    expect(page.locator(".legend")).to_contain_text("9,989")
    nodes = page.evaluate("document.querySelectorAll('*').length")
    assert nodes < 1_000
    listed = page.locator("#partitions-1 tbody a").all_inner_texts()
    assert ("4321", "17") == (listed[0], min(listed[1:11], key=int))  # What failed, then partial.

    # A click on the cell that failed: its result and its trace.
    grid.scroll_into_view_if_needed()
    box = grid.bounding_box()
    assert box is not None
    unit = box["width"] / (44 + 1_000)
    page.mouse.wheel(0, 300)
    grid.click(position={"x": (44 + 214) * unit, "y": 434 * unit})
    part = page.locator("#partition")
    expect(part).to_contain_text("Partition 4,321", timeout=READY_MS)
    expect(part).to_contain_text('raise ValueError("receipt 4321 is torn")')
    picture(page, "ten-thousand")

    # The same by keyboard, and back.
    grid.focus()
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(part).to_contain_text("Partition 4,422", timeout=READY_MS)
    page.go_back()
    expect(part).to_contain_text("Partition 4,321", timeout=READY_MS)


def focus_is_seen(page: Page) -> bool:
    return bool(
        page.evaluate(
            "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
            " || document.activeElement === document.body"
        )
    )


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until this has the focus; it must be seen wherever it is on the way."""
    for _ in range(60):
        page.keyboard.press("Tab")
        assert focus_is_seen(page), page.evaluate("document.activeElement.outerHTML")
        if page.evaluate("(it) => document.activeElement.matches(it)", selector):
            return
    raise AssertionError(f"Tab never leads to {selector}")


def test_everything_is_reached_by_keyboard(window: Window, site: Site) -> None:
    [gate] = site.hold("2026-03-03", 5)
    page = window.tab("/")
    tab_to(page, "nav a[href='/jobs']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs")
    tab_to(page, "#jobs a[href='/jobs/receipts']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/receipts")
    tab_to(page, "#field-day")
    page.keyboard.type("03032026")
    tab_to(page, "#start button")
    picture(page, "keyboard")
    page.keyboard.press("Enter")
    page.wait_for_url("**/executions/*")

    tab_to(page, "#stop summary")
    page.keyboard.press("Enter")
    tab_to(page, "#stop input")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("#stop output")).to_contain_text("It is asked to stop")
    gate.opened.set()
    expect(page.locator("#summary")).to_contain_text("STOPPED")
    expect(page.locator("#history")).to_contain_text("by keyboard")


def test_what_was_skipped_is_retried_from_its_page(window: Window, site: Site) -> None:
    execution = site.node.operator.run("parse")
    page = window.tab(f"/executions/{execution.execution_id}")
    expect(page.locator("#skips")).to_contain_text("invalid literal for int()")
    picture(page, "skips")
    page.get_by_text("Retry these…").click()
    page.locator("#retry").get_by_role("button").click()
    page.wait_for_url(lambda url: not url.endswith(f"/{execution.execution_id}"))
    expect(page.locator("h1")).to_contain_text("stepwell.skips")
    expect(page.locator("#summary")).to_contain_text("COMPLETED")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("phone", {"viewport": {"width": 360, "height": 740}, "has_touch": True}),
        ("dark", {"color_scheme": "dark"}),
    ],
)
def test_every_page_on_a_phone_and_in_the_dark(
    name: str, options: dict[str, object], open_window: Callable[..., Window], site: Site
) -> None:
    execution = site.node.operator.run("receipts", {"day": "2026-03-05"}, again=True)
    window = open_window(**options)
    targets = {
        "overview": "/",
        "executions": "/executions?status=COMPLETED",
        "execution": f"/executions/{execution.execution_id}?step=add-up&partition=7",
        "jobs": "/jobs",
        "job": "/jobs/receipts",
        "plan": "/jobs/receipts/plan?day=2026-03-06",
    }
    page = window.tab("/")
    for called, target in targets.items():
        page.goto(site.url + target)
        picture(page, f"{name}-{called}")
        width, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width <= room, target
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", ground)[0])
    assert (name == "dark") == (red < DARKER_THAN)


def test_without_a_browser_these_tests_say_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pytest.fail.Exception, match="`make browser` installs one"):
        conftest.browser_path()


def test_a_conflict_is_decided(window: Window, site: Site, tmp_path: Path) -> None:
    """Goal: base, ours and theirs side by side, one button, and the row is theirs."""
    main = site.node.sync
    options = DatabaseOptions(durability="normal")
    url = f"sqlite:///{tmp_path}/shop.db"
    with open_database(url, clock=site.node.clock, options=options) as there:
        shop = Sync(there, site.node.clock, actor="till")
        main.init("main", is_main=True)
        shop.init("shop-1")
        for sync in (main, shop):
            execute(sync.database, "CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER)")
            sync.track("item", policy="manual")
        at = site.node.clock.now() + timedelta(seconds=1)
        write(shop, "INSERT INTO item VALUES (1, 1)")
        hand_over(shop, main, at=at)
        write(shop, "UPDATE item SET n = 2")
        write(main, "UPDATE item SET n = 3")
        hand_over(shop, main, at=at)

    page = window.tab("/")
    page.get_by_role("link", name="Sync", exact=True).click()
    page.get_by_role("link", name="Conflicts", exact=True).click()
    page.locator("a[href='/conflicts/1']").first.click()
    expect(page.locator("#images")).to_contain_text("changed on both sides")
    picture(page, "conflict")
    page.get_by_role("button", name="Take theirs").click()
    expect(page.locator("main")).to_contain_text("Done.")
    expect(page.locator("#conflict")).to_contain_text("resolved")

    [row] = rows(main.database, "item")["item"].values()
    assert (1, 2) == tuple(row.values())


def write(sync: Sync, statement: str) -> None:
    with sync.transaction() as connection:
        connection.execute(statement)
