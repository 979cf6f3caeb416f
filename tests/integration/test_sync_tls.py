"""A hub that speaks TLS: whom a node trusts, and how it is told whom to trust."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell import Node
from stepwell.errors import PeerRefused
from stepwell.web.app import make_app
from stepwell.web.server import Server
from tests.cli.program import Folder
from tests.support.certificates import self_signed, with_openssl
from tests.support.change_log import rows_of
from tests.support.hubs import meet, open_node, write

pytestmark = with_openssl
TRUST = "SSL_CERT_FILE"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """A hub and a shop that has the token; each has written a row."""
    (tmp_path / "hub").mkdir()
    with (
        open_node(f"sqlite:///{tmp_path}/hub/main.db", tmp_path, "main", is_main=True) as main,
        open_node(f"sqlite:///{tmp_path}/shop.db", tmp_path, "shop-1") as shop,
    ):
        [token] = meet(main, shop).values()
        (tmp_path / "token").write_text(token, encoding="ascii")
        write(main, [1])
        write(shop, [2])
        yield main, shop


def test_a_certificate_is_trusted_when_it_is_named_and_bears_the_name(
    nodes: tuple[Node, Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: what is not trusted is told at once, with the way out, and gets nothing."""
    main, shop = nodes
    certificate, key = self_signed(tmp_path, "IP:127.0.0.1")
    monkeypatch.delenv(TRUST, raising=False)
    hints = []
    with Server(make_app(main), "127.0.0.1", 0, certificate=(certificate, key)) as server:

        def refused(url: str, words: str) -> None:
            with pytest.raises(PeerRefused, match=words) as error:
                shop.sync.push(url=url, token_file="token")
            assert url in error.value.message
            hints.append(error.value.hint)

        refused(server.url, "self-signed certificate")
        monkeypatch.setenv(TRUST, str(tmp_path / "missing.pem"))
        refused(server.url, "self-signed certificate")
        monkeypatch.setenv(TRUST, str(certificate))
        refused(server.url.replace("127.0.0.1", "localhost"), "not valid for 'localhost'")
        there = len(rows_of(main.database, "visit", "id"))
        pushed = shop.sync.push(url=server.url, token_file="token")
        pulled = shop.sync.pull(url=server.url, token_file="token")

    assert [
        "the variable SSL_CERT_FILE names a file of certificates to trust",
        f"the variable SSL_CERT_FILE names '{tmp_path}/missing.pem', and there is no such file",
        "name the hub in the URL as its certificate does",
    ] == hints
    assert (1, 1, 1) == (there, pushed["applied"], pulled["applied"])
    for node in nodes:
        assert 2 == len(rows_of(node.database, "visit", "id"))


@pytest.mark.slow
def test_push_and_pull_with_serve_and_its_certificate(
    nodes: tuple[Node, Node], tmp_path: Path
) -> None:
    """Method: the three commands, as the guide has them."""
    certificate, key = self_signed(tmp_path, "IP:127.0.0.1")
    hub = Folder(tmp_path / "hub", STEPWELL_DATABASE="sqlite:///main.db")
    shop = Folder(tmp_path, STEPWELL_DATABASE="sqlite:///shop.db")
    tls = ("--tls-cert", str(certificate), "--tls-key", str(key))
    serving = hub.start("serve", "--port", "0", *tls)
    [url] = re.findall(r"https://127\.0\.0\.1:\d+", serving.until("working"))
    asked = ("--url", url, "--token-file", "token")
    try:
        refused = shop.call("sync", "push", *asked)
        pushed = shop.done("sync", "push", *asked, SSL_CERT_FILE=str(certificate))
        pulled = shop.done("sync", "pull", *asked, SSL_CERT_FILE=str(certificate))
    finally:
        serving.kill()

    assert 4 == refused.code
    assert f"PeerRefused: cannot trust '{url}': self-signed certificate" in refused.out
    assert "hint: the variable SSL_CERT_FILE names a file" in refused.out
    assert "pushed 1 change in 1 group to main" in pushed.out
    assert "imported 1 group of main" in pulled.out
