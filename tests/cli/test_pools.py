"""``pool``: sizes, who is in a pool, and what is no pool."""

from __future__ import annotations

from tests.cli.program import Folder


def test_a_pool_is_made_changed_and_listed(folder: Folder) -> None:
    folder.done("run", "load", "day=2026-11-20")
    nothing = folder.done("pool", "list")
    folder.done("pool", "set", "gpu", "2")
    changed = folder.done("pool", "set", "gpu", "3")
    listed = folder.done("pool", "list")

    assert "no pools\n  hint: `stepwell pool set NAME N` makes one" in nothing.out
    assert "pool 'gpu' has size 3\n" == changed.out
    assert ["pool  size  at work  waiting", "gpu      3        0        0"] == (
        listed.out.splitlines()
    )
    assert {
        "pools": [
            {"pool": "gpu", "size": 3, "configured_size": None, "execution_ids": [], "waiting": 0}
        ]
    } == folder.json("pool", "list")


def test_the_settings_make_pools_and_a_difference_is_shown(folder: Folder) -> None:
    (folder.path / "stepwell.toml").write_text('jobs = ["jobs"]\n[pools]\ngpu = 2\n', "utf-8")
    folder.done("run", "load", "day=2026-11-20")

    folder.done("pool", "set", "gpu", "1")

    assert "(the settings say 2)" in folder.done("pool", "list").out


def test_what_is_no_pool_is_refused(folder: Folder) -> None:
    folder.done("run", "load", "day=2026-11-20")
    folder.call("pool", "set", "a b", "1").refused(2, "a pool's name must be 1 to 200 printable")
    folder.call("pool", "set", "gpu", "--", "-1").refused(2, "must be a whole number from 0 to")
    folder.call("pool", "set", "gpu", "many").refused(2, "for 'N'", "valid integer")
    (folder.path / "stepwell.toml").write_text('jobs = ["jobs"]\n[pools]\ngpu = -1\n', "utf-8")
    folder.call("pool", "list").refused(2, "pools must be a section [pools]", "got {'gpu': -1}")


def test_a_blocked_start_names_the_holder(folder: Folder) -> None:
    """Two terminals: the first is at work on the pool's only place."""
    (folder.path / "stepwell.toml").write_text(
        'jobs = ["jobs"]\n[pools]\ngpu = 1\n[job."deaf"]\npool = "gpu"\n'
        '[job."load"]\npool = "gpu"\n',
        "utf-8",
    )
    running = folder.start("run", "deaf", GATE=str(folder.path / "gate"))
    running.until("step 'wait' started")

    refused = folder.call("run", "load", "day=2026-11-20")
    document = folder.json("pool", "list")
    (folder.path / "gate").touch()
    ended = running.end()

    refused.refused(4, "pool 'gpu' is full, 1 of 1 (execution 1)", "`stepwell status 1`")
    assert [1] == document["pools"][0]["execution_ids"]
    assert 0 == ended.code
    assert 0 == folder.call("run", "load", "day=2026-11-20").code
