"""``pool``: named limits, who is in them and who waits; a size changed while others run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stepwell.cli.session import Session
    from stepwell.repository.pools import Pool, Pools

commands = typer.Typer(no_args_is_help=True)

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@commands.callback()
def pool() -> None:
    """Limit how many executions of the jobs that name a pool run at a time."""


@commands.command("list")
def list_pools(context: typer.Context, wants_json: WantsJson = False) -> None:
    """List the pools: size, the executions at work in each, how many wait."""
    from stepwell.cli.output import Output, Page
    from stepwell.looks.holdings import pool_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with _open(session) as pools:
        found = pools.list()
    if wants_json:
        output.json({"pools": [pool_json(each) for each in found]})
        return
    page = Page()
    if not found:
        page.line("no pools")
        page.hint("`stepwell pool set NAME N` makes one, or a section [pools] of the settings")
    else:
        page.table(
            ["pool", ">size", ">at work", ">waiting", "executions", ""],
            [_row(each) for each in found],
        )
    output.page(page)


@commands.command("set")
def set_pool(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pool.")],
    size: Annotated[int, typer.Argument(metavar="N", help="How many at a time; 0: nobody new.")],
    wants_json: WantsJson = False,
) -> None:
    """Make a pool, or change its size; at once, for every process, and until it is changed again.

    A smaller size interrupts nobody: no new execution begins until enough have ended.
    """
    from stepwell.cli.output import Output
    from stepwell.looks.holdings import pool_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with _open(session) as pools:
        pools.set(name, size)
        [now] = [each for each in pools.list() if each.name == name]
    if wants_json:
        output.json(pool_json(now))
        return
    above = len(now.holders) - now.size
    more = f"; {above} more than that are still at work" if above > 0 else ""
    output.line(f"pool {name!r} has size {now.size}{more}")


@contextmanager
def _open(session: Session) -> Iterator[Pools]:
    """The pools of the settings' database; the settings themselves are heard first."""
    from stepwell.repository.pools import Pools

    settings = session.settings
    with session.open_database() as database:
        pools = Pools(database)
        pools.configure(settings.pools)
        yield pools


def _row(pool: Pool) -> list[str]:
    differs = pool.configured_size is not None and pool.configured_size != pool.size
    return [
        pool.name,
        str(pool.size),
        str(len(pool.holders)),
        str(pool.waiting),
        ", ".join(str(holder) for holder in pool.holders),
        f"(the settings say {pool.configured_size})" if differs else "",
    ]
