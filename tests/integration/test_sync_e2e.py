"""Scenario D from the command line: migrate → seed → push → pull → compare.

Each test keeps what every command said under ``build/logs/e2e/``, so that a run that failed can be
read afterwards.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stepwell import Node
from stepwell.settings import load_settings
from stepwell.web.app import make_app
from stepwell.web.server import Server
from tests.examples.runs import ROOT, copy_of
from tests.support.command_line import Here

LOGS = ROOT / "build" / "logs" / "e2e"
SHOPS = ("shop-1", "shop-2", "shop-3")
NODES = ("main", *SHOPS)
TABLES = ("company", "store", "visit_daily", "budget_monthly")
# Found by the doctor of a machine, or of a process that other tests have used before.
OF_THE_MACHINE = {"wal_reset_bug", "two_sqlite_copies", "disk_space", "node_moved"}
POLICIES = {
    "company": "main_wins",
    "store": "main_wins",
    "visit_daily": "lww",
    "budget_monthly": '{"rows":"columns","columns":{"amount":"max"}}',
}


@dataclass
class Chain:
    """Head office and three shops in one folder."""

    folder: Path
    log: Path
    numbers: dict[str, int] = field(default_factory=dict)

    def call(self, node: str, *words: str, code: int | None = 0) -> Any:
        """A command on a node; its JSON. What it said goes to the log."""
        ended = Here(self.folder).call("--config", f"{node}.toml", *words, "--json")
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {node}: {' '.join(words)}\n{ended.out}{ended.err}[{ended.code}]\n")
        assert code in (None, ended.code), f"{node}: {words}: {ended}"
        return json.loads(ended.out)

    def sql(self, node: str, *statements: str) -> None:
        """Another program writes."""
        connection = sqlite3.connect(self.folder / f"{node}.db", isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.close()

    def rows(self, node: str, query: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self.folder / f'{node}.db'}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def tables(self, node: str) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that a node holds of the application's."""
        return {name: sorted(self.rows(node, f"SELECT * FROM {name}")) for name in TABLES}

    def carry(self, sender: str, receiver: str, *, code: int = 0) -> tuple[str, Any]:
        """A file from one node to another; its name, and what the import says."""
        number = self.numbers[sender] = self.numbers.get(sender, 0) + 1
        file = f"{sender}-{number}-for-{receiver}.jsonl.gz"
        if sender == "main":
            self.call(sender, "sync", "export", "--to", file, "--client", receiver)
            return file, self.call(receiver, "sync", "pull", "--file", file, code=code)
        self.call(sender, "sync", "push", "--file", file)
        return file, self.call(receiver, "sync", "import", file, code=code)

    def exchange(self) -> None:
        """Every shop pushes, then every shop pulls, then once more: receipts travel, too."""
        for shop in SHOPS:
            self.carry(shop, "main")
        for shop in SHOPS:
            self.carry("main", shop)

    def begin(self) -> None:
        """Tables, nodes, what is tracked, the first rows; and the first exchange."""
        for node in NODES:
            self.call(node, "run", "migrate")
            kind = ["--main"] if node == "main" else []
            self.call(node, "sync", "init", "--node", node, *kind)
            for table in TABLES:
                self.call(node, "sync", "track", table, "--policy", POLICIES[table])
        self.call("main", "run", "seed", "role=main")
        for shop in SHOPS:
            self.call("main", "sync", "peers", "add", shop)
            self.call(shop, "sync", "peers", "add", "main", "--main")
            self.carry("main", shop)
            self.call(shop, "run", "seed", "role=shop", f"store={shop[-1]}")
        self.exchange()

    def state(self, node: str, client: str, direction: str) -> int:
        """``last_lsn`` of a peer, as the node's own table has it."""
        [(lsn,)] = self.rows(
            node,
            "SELECT last_lsn FROM sync_state"
            f" WHERE client_id = '{client}' AND direction = '{direction}'",
        )
        return int(lsn)

    def last_lsn(self, node: str) -> int:
        return int(self.rows(node, "SELECT last_lsn FROM sync_node")[0][0])


@pytest.fixture(scope="module")
def first_day(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Migrated, seeded and exchanged once."""
    folder = copy_of("shops", tmp_path_factory.mktemp("first_day"))
    chain = Chain(folder, _log("first_day"))
    chain.begin()
    return chain


@pytest.fixture
def chain(first_day: Chain, tmp_path: Path, request: pytest.FixtureRequest) -> Chain:
    """A copy of the first day; what is asked of it is kept by the test's name."""
    folder = tmp_path / "shops"
    shutil.copytree(first_day.folder, folder)
    return Chain(folder, _log(request.node.name), dict(first_day.numbers))


def _log(name: str) -> Path:
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    log.unlink(missing_ok=True)
    return log


def equal(chain: Chain) -> dict[str, list[tuple[Any, ...]]]:
    """All four databases hold the same; what that is."""
    main = chain.tables("main")
    for shop in SHOPS:
        assert main == chain.tables(shop), shop
    return main


def test_simple_a_week_of_business_reaches_everybody(chain: Chain) -> None:
    for shop in SHOPS:
        chain.call(shop, "run", "week", f"store={shop[-1]}", "begins=2026-03-02")
    chain.sql("main", "UPDATE store SET name = 'Old Harbour' WHERE store_id = 1")
    chain.exchange()

    held = equal(chain)
    assert (1, 3, 30, 3) == tuple(len(held[name]) for name in TABLES)
    # What main has of a shop ends where the shop's log did when it pushed, and the other way round.
    for shop in SHOPS:
        assert chain.last_lsn("main") == chain.state(shop, "main", "in")
        assert chain.state("main", shop, "in") == chain.state(shop, "main", "out")
    # The row in head office knows which run of which job in which shop wrote it.
    [lineage] = chain.rows(
        "main",
        "SELECT lineage FROM change_log WHERE pk_json LIKE '%2026-03-05%' AND origin='shop-2'",
    )
    told = json.loads(lineage[0])
    assert ("week", "visits", "2") == (told["job_name"], told["step_name"], told["chunk"])
    for node in NODES:
        found = chain.call(node, "doctor", code=None)["counts"].keys()
        assert set() == {code for code in found if code not in OF_THE_MACHINE}, node


def test_the_same_over_http_as_the_guide_says(chain: Chain) -> None:
    """Method: the guide's commands and settings as they stand there, but for the address."""
    guide = (ROOT / "docs" / "guides" / "shops.md").read_text("utf-8")
    section = guide.partition("## Over HTTP")[2].partition("\n## ")[0]
    calls = [
        (line.split()[2].removesuffix(".toml"), line.split()[3:])
        for line in section.splitlines()
        if line.startswith("stepwell --config")
    ]
    token, serving, pull, push = calls
    assert (["serve", "main"], "shop-1") == ([serving[1][0], serving[0]], pull[0])
    made = chain.call(token[0], *token[1][:-2])
    (chain.folder / token[1][-1]).write_text(made["secret"], encoding="ascii")
    settings = load_settings(
        environment={"STEPWELL_CONFIG": "main.toml"}, working_folder=chain.folder
    )
    with Node.open(settings, purpose="serve") as main:
        main.load_jobs()
        with Server(make_app(main), "127.0.0.1", 0) as server:
            [address] = re.findall(r'^sync_url = "https://.*"$', section, re.MULTILINE)
            address = re.sub(r"https://[\w.:-]+", server.url, address)
            with (chain.folder / "shop-1.toml").open("a", encoding="utf-8") as file:
                file.write(f'{address}\nsync_token_file = "{token[1][-1]}"\n')
            chain.call("shop-1", "run", "week", "store=1", "begins=2026-03-02")
            chain.sql("main", "UPDATE store SET name = 'Old Harbour' WHERE store_id = 1")
            told = Here(chain.folder).call("--config", "shop-1.toml", *push[1])
            pulled, pushed = chain.call(pull[0], *pull[1]), chain.call(push[0], *push[1])
            again = chain.call(push[0], *push[1])
            wrong = chain.call("shop-2", "sync", "pull", "--url", server.url, code=2)
            foreign = chain.call(
                *("shop-2", "sync", "pull", "--url", server.url),
                *("--token-file", token[1][-1]),
                code=4,
            )

    assert 'sync_token_file = "shop-1.token"' in section
    assert 0 == told.code
    assert "a pull is due: main has changes that are not here" in told.err
    assert re.search(r"pushed 7 changes in \d+ groups to main\n  LSN ", told.out)
    assert (1, 1) == (pulled["groups"], pulled["applied"])
    # What is left to say is that the shop has it.
    assert (False, 0, 1) == (pushed["pull_is_due"], pushed["rows"], pushed["requests"])
    assert (0, 0) == (again["rows"], again["requests"])
    assert chain.tables("main") == chain.tables("shop-1")
    assert chain.last_lsn("shop-1") == chain.state("shop-1", "main", "out")
    assert "no_sync_token" == wrong["code"]
    assert "stands for node 'shop-1'" in foreign["failure"]["message"]
    assert "`stepwell token create NAME --role sync --node shop-2`" in foreign["hint"]


def test_a_file_that_comes_again_changes_nothing(chain: Chain) -> None:
    chain.call("shop-1", "run", "week", "store=1", "begins=2026-03-02")
    file, first = chain.carry("shop-1", "main")
    before, lsn = chain.tables("main"), chain.last_lsn("main")
    again = chain.call("main", "sync", "import", file)

    assert first["applied"] > 0
    assert (0, first["applied"]) == (again["applied"], again["skipped"])
    assert (before, lsn) == (chain.tables("main"), chain.last_lsn("main"))
    assert first["to_lsn"] == chain.state("main", "shop-1", "in")


def test_conflicts_are_decided_alike_everywhere(chain: Chain) -> None:
    # Two of each kind, each pair on rows of its own.
    chain.sql(
        "shop-1",
        "UPDATE visit_daily SET visitors = 1 WHERE store_id = 1 AND day = '2026-02-26'",
        "UPDATE visit_daily SET visitors = 1 WHERE store_id = 1 AND day = '2026-02-27'",
        "UPDATE store SET name = 'of the shop' WHERE store_id IN (1, 2)",
        "UPDATE budget_monthly SET amount = 50000, note = 'more' WHERE store_id IN (1, 2)",
        "DELETE FROM visit_daily WHERE store_id = 2 AND day IN ('2026-02-26', '2026-02-27')",
    )
    chain.sql(
        "main",
        "UPDATE visit_daily SET visitors = 2 WHERE store_id = 1 AND day = '2026-02-26'",
        "UPDATE visit_daily SET visitors = 2 WHERE store_id = 1 AND day = '2026-02-27'",
        "UPDATE store SET name = 'of head office' WHERE store_id IN (1, 2)",
        "UPDATE budget_monthly SET amount = 45000 WHERE store_id IN (1, 2)",
        "UPDATE visit_daily SET visitors = 3 WHERE store_id = 2"
        " AND day IN ('2026-02-26', '2026-02-27')",
    )
    chain.exchange()
    chain.exchange()

    held = equal(chain)
    # The later stamp wins; for master tables head office; of a column that grows the greater.
    visits = {(store, day): visitors for store, day, visitors, _ in held["visit_daily"]}
    assert [2, 2] == [visits[1, day] for day in ("2026-02-26", "2026-02-27")]
    assert [3, 3] == [visits[2, day] for day in ("2026-02-26", "2026-02-27")]
    assert ["of head office"] * 2 == [row[3] for row in held["store"][:2]]
    assert [(50000, "more")] * 2 == [row[2:] for row in held["budget_monthly"][:2]]
    recorded = chain.call("main", "sync", "conflicts", "list")["conflicts"]
    assert {"store", "visit_daily"} <= {each["table"] for each in recorded}
    assert {"decided"} == {each["status"] for each in recorded}


def test_a_broken_transaction_waits_alone(chain: Chain) -> None:
    """A visit for a store that the main gives up: parked with its line; the others are applied."""
    chain.sql("main", "DELETE FROM budget_monthly WHERE store_id = 3")
    chain.sql("main", "DELETE FROM visit_daily WHERE store_id = 3")
    chain.sql("main", "DELETE FROM store WHERE store_id = 3")
    with_shop = "INSERT INTO visit_daily VALUES ({}, '2026-03-20', 7, 1)"
    chain.call("shop-3", "sync", "status")
    chain.sql("shop-3", with_shop.format(3))
    chain.call("shop-3", "sync", "status")
    chain.sql("shop-3", with_shop.format(1))
    file, done = chain.carry("shop-3", "main", code=3)

    assert (1, 1) == (done["parked"], done["applied"])
    [error] = map(json.loads, (chain.folder / f"{file}.errors.jsonl").read_text().splitlines())
    assert ("visit_daily", {"day": "2026-03-20", "store_id": 3}) == (
        error["table"],
        error["pk_json"],
    )
    assert 2 == error["line"]
    assert [(1,)] == chain.rows("main", "SELECT store_id FROM visit_daily WHERE day = '2026-03-20'")
    [parked] = chain.call("main", "sync", "quarantine", "list")["quarantine"]
    # The cursor stands behind it: it is in quarantine, and not lost.
    assert done["to_lsn"] == chain.state("main", "shop-3", "in")
    chain.sql("main", "INSERT INTO store VALUES (3, 1, 'N03', 'Station again')")
    number = str(parked["quarantine_id"])
    assert 0 == chain.call("main", "sync", "quarantine", "retry", number)["waiting"]
    assert 2 == len(chain.rows("main", "SELECT store_id FROM visit_daily WHERE day = '2026-03-20'"))
