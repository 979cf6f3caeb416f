"""A hub and nodes that exchange changes with it over HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stepwell import Node
from stepwell.repository.tokens import create_token
from stepwell.settings import Settings
from stepwell.sync.digest import Verified
from tests.support.change_log import execute
from tests.web.client import Answer, Client

TABLE = "CREATE TABLE visit (id INTEGER PRIMARY KEY, note TEXT)"


@contextmanager
def open_node(
    url: str, folder: Path, name: str, *, is_main: bool = False, token: str = "", hub_url: str = ""
) -> Iterator[Node]:
    """A node that tracks ``visit``."""
    settings = Settings(database=url, folder=folder, sync_token=token, sync_url=hub_url)
    with Node.open(settings, purpose="serve" if is_main else "library") as node:
        node.load_jobs()
        execute(node.database, TABLE)
        node.sync.init(name, is_main=is_main)
        node.sync.track("visit")
        yield node


def meet(main: Node, *shops: Node) -> dict[str, str]:
    """Make them known to each other; the token of each shop."""
    tokens = {}
    for shop in shops:
        name = shop.sync.node().node_id
        main.sync.add_peer(name)
        shop.sync.add_peer("main", is_main=True)
        tokens[name] = create_token(main.database, main.clock, name, "sync", node=name)
    return tokens


def write(node: Node, ids: Iterable[int], note: str = "x") -> None:
    """A transaction for each row, so that each is a group."""
    for number in ids:
        with node.sync.transaction(actor="till") as connection:
            connection.execute(
                "INSERT INTO visit (id, note) VALUES (:id, :note)", {"id": number, "note": note}
            )


def file_of(node: Node, folder: Path, *, since: int | None = None, to: str = "main") -> bytes:
    """What a node would push."""
    path = folder / f"{node.clock.new_id()}.jsonl"
    node.sync.export(path, client=to, since=since)
    return path.read_bytes()


def push(client: Client, body: bytes, **headers: str) -> Answer:
    """A push of these bytes, in several parts."""
    size = max(1, len(body) // 3)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return client.ask("POST", "/sync/push", parts, headers)


def pull_into(node: Node, client: Client, folder: Path, query: str = "") -> dict[str, object]:
    """Pull by hand, and import the file."""
    path = folder / f"{node.clock.new_id()}.jsonl"
    path.write_text(client.get(f"/sync/pull?{query}").text, encoding="utf-8")
    return node.sync.import_(path)


def compare(main: Node, shop: Node, folder: Path) -> Verified:
    """The shop's rows against the hub's."""
    path = folder / f"{main.clock.new_id()}.hashes.jsonl"
    main.sync.write_digest(path)
    return shop.sync.verify(path)
