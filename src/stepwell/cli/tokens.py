"""``token``: who may use the web face, made, shown and revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.session import Session

commands = typer.Typer(no_args_is_help=True)

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the token; goes to the history.")]


@commands.callback()
def token() -> None:
    """Make, list and revoke the tokens that `stepwell serve` asks for."""


@commands.command("create")
def create(
    context: typer.Context,
    name: Name,
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="viewer looks, operator starts and stops; or sync.")
    ] = "viewer",
    node: Annotated[
        str | None, typer.Option(metavar="NAME", help="With sync: the node that it stands for.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="AGE", help="It ends after this time, such as 90d.")
    ] = None,
    wants_json: WantsJson = False,
) -> None:
    """Make a token and show its secret, once: only a hash of it is stored."""
    from stepwell.cli.age import age
    from stepwell.cli.output import Output, note
    from stepwell.repository.tokens import create_token

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    lives = age("--expires", expires)
    if node is not None:
        from stepwell.sync.peers import check_node_id

        check_node_id(node)
    expires_at = None if lives is None else session.clock.now() + lives
    with session.open_database() as database:
        secret = create_token(database, session.clock, name, role, node=node, expires_at=expires_at)
    if wants_json:
        output.json({"token": name, "role": role, "node": node, "secret": secret})
    else:
        output.line(secret)
        # Beside, so that `> FILE` has the secret alone.
        note(f"hint: it is shown once; `stepwell token revoke {name}` ends it", indented=True)


@commands.command("list")
def list_all(context: typer.Context, wants_json: WantsJson = False) -> None:
    """List the tokens: role, since when, until when; never a secret."""
    from stepwell.cli.output import Output, Page
    from stepwell.looks.representation import token_json
    from stepwell.looks.text import local_time
    from stepwell.repository.tokens import list_tokens

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    now = session.clock.now()
    with session.open_database() as database, database.read() as reader:
        tokens = list_tokens(reader)
    if wants_json:
        output.json({"tokens": [token_json(each, at=now) for each in tokens]})
        return
    page = Page()
    if not tokens:
        page.line("no tokens")
        page.hint("`stepwell token create NAME --role operator` makes one")
    else:
        page.table(
            ["NAME", "ROLE", "NODE", "CREATED", "EXPIRES", "STATE"],
            [
                [
                    each.name,
                    each.role,
                    each.node or "",
                    local_time(each.created_at),
                    local_time(each.expires_at),
                    "valid" if each.is_valid(now) else "revoked" if each.revoked_at else "expired",
                ]
                for each in tokens
            ],
        )
    output.page(page)


@commands.command("revoke")
def revoke(context: typer.Context, name: Name, wants_json: WantsJson = False) -> None:
    """Have a token open nothing any more, from the next request on."""
    from stepwell.cli.output import Output
    from stepwell.looks.representation import token_json
    from stepwell.repository.tokens import revoke_token

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database:
        revoked = revoke_token(database, session.clock, name)
    if wants_json:
        output.json(token_json(revoked, at=session.clock.now()))
    else:
        output.line(f"token {name!r} is revoked")
