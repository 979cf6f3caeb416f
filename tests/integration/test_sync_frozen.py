"""A hub that stands still: whoever pushes can end, and the next push goes on."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.cli.program import Folder
from tests.support.change_log import rows_of
from tests.support.hubs import meet, open_node, write


@pytest.mark.parametrize("verb", ["push", pytest.param("pull", marks=pytest.mark.slow)])
def test_ctrl_c_ends_what_waits_for_a_frozen_hub(verb: str, tmp_path: Path) -> None:
    """Goal: STOPPED at once, nothing half done; when the hub is back, the rows arrive once.

    Method: SIGSTOP for a real ``serve``; the system goes on to accept connections for it.
    """
    hub, shop = Folder(tmp_path / "hub"), Folder(tmp_path / "shop")
    for folder in (hub, shop):
        folder.path.mkdir()
    with (
        open_node(f"sqlite:///{hub.path}/stepwell.db", hub.path, "main", is_main=True) as main,
        open_node(f"sqlite:///{shop.path}/stepwell.db", shop.path, "shop-1") as node,
    ):
        [token] = meet(main, node).values()
        write(main, [1])
        write(node, [2])
        receiver, sender = (main, node) if verb == "push" else (node, main)
        serving = hub.start("serve", "--port", "0")
        [url] = re.findall(r"http://127\.0\.0\.1:\d+", serving.until("working"))
        asked = ("sync", verb, "--url", url)
        try:
            serving.send(signal.SIGSTOP)
            waiting = shop.start(*asked, STEPWELL_SYNC_TOKEN=token)
            waiting.until("started")
            waiting.send(signal.SIGINT)
            ended = waiting.end()
            serving.send(signal.SIGCONT)
            there = rows_of(receiver.database, "visit", "id")
            shop.done(*asked, STEPWELL_SYNC_TOKEN=token)
        finally:
            serving.kill()

        assert 3 == ended.code
        assert "is STOPPED" in ended.out
        assert "Traceback" not in ended.err
        assert 1 == len(there)
        assert 2 == len(rows_of(receiver.database, "visit", "id"))
        assert 1 == len(rows_of(sender.database, "visit", "id"))
        assert [] == list((shop.path / "sync-transit").glob("*"))
