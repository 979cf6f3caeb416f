"""``scripts/run-cli.sh``: the verbs of the people who carry files, on two nodes of the example."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import ENVIRONMENT, SCRIPT
from tests.examples.runs import ROOT, copy_of, rows
from tests.support.command_line import Here


def cli(folder: Path, node: str, *words: str, code: int = 0) -> str:
    done = subprocess.run(  # noqa: PLW1510 - the exit status is what is looked at
        [ROOT / "scripts" / "run-cli.sh", *words],
        cwd=folder,
        env={**ENVIRONMENT, "NODE": node, "STEPWELL": os.fspath(SCRIPT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert code == done.returncode, done
    return done.stdout + done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_the_verbs_carry_changes_both_ways(tmp_path: Path) -> None:
    folder = copy_of("shops", tmp_path)
    here = Here(folder)
    for node in ("main", "shop-1"):
        here.done("--config", f"{node}.toml", "run", "migrate")
        kind = ["--main"] if node == "main" else []
        here.done("--config", f"{node}.toml", "sync", "init", "--node", node, *kind)
        tables = ("company", "store", "visit_daily", "budget_monthly")
        here.done("--config", f"{node}.toml", "sync", "track", *tables)
    here.done("--config", "main.toml", "run", "seed", "role=main")
    cli(folder, "main", "export-change-log", "first.jsonl")
    cli(folder, "shop-1", "import-change-log", "first.jsonl")
    here.done("--config", "shop-1.toml", "run", "seed", "role=shop", "store=1")
    assert "nothing of main was imported" not in cli(folder, "shop-1", "push", "up.jsonl")
    here.done("--config", "main.toml", "sync", "import", "up.jsonl")
    here.done("--config", "main.toml", "sync", "export", "--to", "down.jsonl", "--client", "shop-1")
    cli(folder, "shop-1", "pull", "down.jsonl")

    visits = "SELECT * FROM visit_daily ORDER BY day"
    assert 3 == len(rows(folder / "main.db", visits))
    assert rows(folder / "main.db", visits) == rows(folder / "shop-1.db", visits)
    assert "needs a file" in cli(folder, "main", "push", code=2)
    assert "migrate | seed" in cli(folder, "main", "pusch", code=2)
