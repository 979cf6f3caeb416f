"""``serve``: the web face of a node, and a worker beside it in the same process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Output
    from stepwell.cli.session import Session
    from stepwell.node import Node


def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; others than this machine: token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="0 takes any free one.")
    ] = 9093,
    workers: Annotated[
        int, typer.Option(min=0, metavar="N", help="Registered executions at a time; 0: none.")
    ] = 1,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate, PEM; with --tls-key.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its key, PEM; with --tls-cert.")
    ] = None,
    wants_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, a document a line for what happens.")
    ] = False,
) -> None:
    """Answer over HTTP: start, watch and stop jobs, health and metrics, until Ctrl-C.

    What is started over HTTP runs in this process; a worker runs registered executions beside it.
    Ctrl-C and SIGTERM stop both after the current chunks; a second one ends at once.
    """
    from stepwell.cli.output import Output, note
    from stepwell.errors import CannotServe

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    if (tls_cert is None) != (tls_key is None):
        raise CannotServe(
            f"cannot serve on {host}:{port}: a certificate and its key go together",
            hint="give both `--tls-cert` and `--tls-key`, or neither",
        )
    try:
        from stepwell.web.server import refuse_open_door, refuse_plain
    except ModuleNotFoundError as error:
        raise CannotServe(
            f"cannot serve on {host}:{port}: the package {error.name!r} is not installed",
            hint="`pip install 'stepwell[web]'`",
        ) from error
    # Only what claims registered work is a worker to those who wait.
    with session.open_node(create=True, purpose="serve" if workers else "web") as node:
        node.load_jobs()
        refuse_open_door(host, has_tokens=_has_tokens(node))
        certificate = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
        refuse_plain(
            host,
            require_tls=session.settings.require_tls,
            has_certificate=certificate is not None,
        )
        from stepwell.web.auth import is_loopback

        if certificate is None and not is_loopback(host) and not wants_json:
            note("without --tls-cert tokens travel in the clear; use it, or a proxy with TLS")
        code = _serve(session, node, output, host, port, workers, certificate)
    raise typer.Exit(code)


def _serve(
    session: Session,
    node: Node,
    output: Output,
    host: str,
    port: int,
    workers: int,
    certificate: tuple[Path, Path] | None,
) -> int:
    from stepwell.cli.at_work import AtWork
    from stepwell.web.app import make_app
    from stepwell.web.auth import is_loopback
    from stepwell.web.server import Server

    at_work = AtWork(node, output, session.clock)
    app = make_app(node, on_loopback=is_loopback(host), is_ending=lambda: at_work.is_ending)
    with Server(app, host, port, certificate=certificate) as server:
        if output.wants_json:
            output.json({"url": server.url, "workers": workers}, one_line=True)
        else:
            output.line(f"serving on {server.url}")
        code = at_work.run(parallel=workers, jobs=(), pools=(), drain=False)
        node.operator.close()  # While the server answers, so that one sees it end.
    return code


def _has_tokens(node: Node) -> bool:
    from stepwell.repository.tokens import list_tokens

    now = node.clock.now()
    with node.database.read() as reader:
        return any(token.is_valid(now) for token in list_tokens(reader))
