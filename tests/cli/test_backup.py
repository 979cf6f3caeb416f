"""``backup``: from the command line to the files and back."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import SCRIPT, Folder

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def used(folder: Folder) -> Folder:
    """One execution, and a backup of it."""
    folder.done("run", "talks")
    folder.done("backup", "create", "one")
    return folder


def executions(folder: Folder) -> int:
    return int(folder.rows("SELECT COUNT(*) FROM batch_job_execution")[0][0])


def test_create_tells_what_and_where(folder: Folder) -> None:
    folder.done("run", "talks")
    told = folder.done("backup", "create", "night").out
    made = folder.json("backup", "create")

    assert re.search(
        r"^backup night is made and checked: .* rows in \d+ tables$", told, re.MULTILINE
    )
    assert f"  {folder.path}/backups/night.backup" in told
    assert re.fullmatch(r"stepwell-\d{8}T\d{6}Z", made["name"])
    assert made["path"] == f"{folder.path}/backups/{made['name']}.backup"
    assert made["tables"]["batch_job_execution"] == 1
    assert made["findings"] == []


def test_list_shows_what_is_there_and_what_is_wrong(used: Folder) -> None:
    used.done("backup", "create", "two")
    (used.path / "backups" / "two.manifest.json").unlink()
    told = used.done("backup", "list").out
    listed = used.json("backup", "list")

    assert re.search(r"^two .* it has no manifest$", told, re.MULTILINE)
    assert [("two", True), ("one", False)] == [
        (backup["name"], backup["problem"] is not None) for backup in listed["backups"]
    ]
    assert listed["folder"] == f"{used.path}/backups"


def test_an_empty_folder_says_what_makes_a_backup(folder: Folder) -> None:
    told = folder.done("backup", "list").out

    assert "no backups in " in told
    assert "hint: `stepwell backup create NAME` makes one" in told
    assert not (folder.path / "backups").exists()


def test_verify_then_restore_brings_the_state_back(used: Folder) -> None:
    used.done("run", "talks", "--again")
    assert "one can be restored: " in used.done("backup", "verify", "one").out
    told = used.done("backup", "restore", "one", "--reason", "a test").out

    assert 1 == executions(used)
    assert f"{used.path}/stepwell.db is what one holds" in told
    assert "epoch 1 begins" in told
    kept = re.search(r"kept as (before-restore-\S+)", told)
    assert kept is not None
    assert [("restore of one: a test",)] == used.rows(
        "SELECT purpose FROM batch_owner WHERE epoch = 1"
    )
    restored = used.json("backup", "restore", kept[1])
    assert (2, 2) == (restored["epoch"], executions(used))
    assert restored["kept"].startswith("before-restore-")


def test_restore_is_refused_while_a_run_is_at_work(used: Folder) -> None:
    with_gate = {"GATE": str(used.path / "gate")}
    running = used.start("run", "deaf", **with_gate)
    running.until("step 'wait' started")
    used.call("backup", "restore", "one").refused(
        4, f"(pid {running.pid}) is alive", "hint: `stepwell status` shows what is at work"
    )
    assert 2 == executions(used)
    used.call("backup", "restore", "one", "--force").refused(2, "a reason is required")
    (used.path / "gate").touch()
    assert 0 == running.end().code


def test_restore_to_another_place_leaves_this_one_alone(used: Folder) -> None:
    used.done("run", "talks", "--again")
    used.done("backup", "restore", "one", "--to", "sqlite:///elsewhere.db")

    assert 2 == executions(used)
    assert [(1,)] == used.rows("SELECT COUNT(*) FROM batch_job_execution", "elsewhere.db")


def test_a_restore_brings_back_a_database_that_is_gone(used: Folder) -> None:
    for file in used.path.glob("stepwell.db*"):
        file.unlink()
    used.done("backup", "restore", "one")

    assert 1 == executions(used)
    assert "COMPLETED" in used.done("status", "1").out


def test_bad_calls_are_refused_with_the_reason(used: Folder) -> None:
    call = used.call
    call("backup", "create", "one").refused(4, "there is one of this name")
    call("backup", "create", "a/b").refused(2, "a name has letters, digits and")
    call("backup", "create", "x", "--folder", "missing").refused(2, "does not exist")
    call("backup", "verify", "ona").refused(2, "cannot find backup 'ona'", "did you mean 'one'?")
    call("backup", "restore", "stepwell.db").refused(2, "it is the database itself")
    shutil.copy(used.path / "stepwell.db", used.path / "copy.db")
    call("backup", "verify", "copy.db").refused(2, "it is a database file alone", "--unverified")
    call("backup", "prune").refused(2, "neither a number nor an age says what is kept")
    call("backup", "prune", "--older-than", "soon").refused(2, "--older-than must be a number with")
    call("backup", "prune", "--keep", "0").refused(2, "the newest one is always kept")
    call("backup", "restore", "one", "--to", "sqlite:///no/x.db").refused(1, "no such file")
    call("backup", "create", STEPWELL_BACKUP_FOLDER="/nowhere/usb").refused(2, "does not exist")
    copy = used.path / "backups" / "one.backup"
    copy.write_bytes(copy.read_bytes()[:-1])
    call("backup", "verify", "one").refused(1, "it is torn", "`stepwell backup list` shows")

    assert ["one.backup", "one.manifest.json"] == sorted(
        path.name for path in (used.path / "backups").iterdir()
    )


def test_prune_shows_and_then_deletes(used: Folder) -> None:
    used.done("backup", "create", "two")
    shown = used.done("backup", "prune", "--keep", "1").out
    assert "1 backup would be deleted" in shown
    assert "hint: `--delete` deletes them" in shown
    deleted = used.json("backup", "prune", "--keep", "1", "--delete")

    assert (True, ["one"]) == (deleted["deleted"], [b["name"] for b in deleted["backups"]])
    assert ["two"] == [backup["name"] for backup in used.json("backup", "list")["backups"]]
    assert "nothing to delete" in used.done("backup", "prune", "--keep", "1").out


def test_the_scripts_make_prove_prune_and_restore(used: Folder) -> None:
    environment = {**used.environment, "STEPWELL": str(SCRIPT), "KEEP": "1", "OLDER_THAN": "1m"}

    def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: PLW1510 - the exit status is what is looked at
            [SCRIPTS / script, *words],
            cwd=used.path,
            env=environment,
            capture_output=True,
            text=True,
        )

    made = run("backup.sh", "nightly")
    assert 0 == made.returncode, made
    [name] = [b["name"] for b in used.json("backup", "list")["backups"] if "nightly" in b["name"]]
    used.done("run", "talks", "--again")
    restored = run("restore.sh", name, "a test")
    missing = run("restore.sh", "nowhere")

    assert (0, 1) == (restored.returncode, executions(used)), restored
    assert (2, 1) == (missing.returncode, executions(used))
    assert 2 == run("restore.sh").returncode


# --- purge


def test_purge_shows_and_then_deletes_whole_instances(used: Folder) -> None:
    used.call("run", "broken")
    used.done("run", "talks", "--again")
    used.call("purge").refused(2, "neither an age nor a number says what is kept")
    used.call("purge", "--keep", "1", "--status", "gone").refused(2, "--status must be a status")
    used.call("purge", "--keep", "1", "--status", "STARTED").refused(2, "one of an end")
    used.call("purge", "--older-than", "x").refused(2, "--older-than must be a number with")
    assert "nothing to delete" in used.done("purge", "--older-than", "1d").out
    shown = used.done("purge", "--keep", "1").out

    assert "1 instance with 1 execution would be deleted" in shown
    assert re.search(r"^talks +COMPLETED +1 +1 ", shown, re.MULTILINE)
    assert 3 == executions(used)
    deleted = used.json("purge", "--keep", "1", "--delete")
    assert (True, 1, 1) == (deleted["deleted"], deleted["instances"], deleted["executions"])
    assert deleted["rows"] > 5
    assert [(2,), (3,)] == used.rows("SELECT job_execution_id FROM batch_job_execution")
    restartable = used.done("purge", "--keep", "0", "--status", "failed", "--job", "broken").out
    assert "could still be restarted" in restartable
    assert "deleted 1 instance" in used.done("purge", "--keep", "0", "--delete").out
