"""Which commands there are; each imports what it needs only when it is called."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main

from stepwell.cli.logs import set_up_logging
from stepwell.cli.output import EXIT_STATUSES, Output
from stepwell.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator


# In the order of the help. The modules are imported when they are needed: a quick look should not
# pay for the others.
COMMANDS = {
    "init": ("stepwell.cli.init", "init"),
    "jobs": ("stepwell.cli.jobs", "commands"),
    "run": ("stepwell.cli.run", "run"),
    "plan": ("stepwell.cli.plan", "plan"),
    "register": ("stepwell.cli.work", "register"),
    "work": ("stepwell.cli.work", "work"),
    "status": ("stepwell.cli.status", "status"),
    "why": ("stepwell.cli.why", "why"),
    "stop": ("stepwell.cli.executions", "stop"),
    "restart": ("stepwell.cli.run", "restart"),
    "priority": ("stepwell.cli.executions", "priority"),
    "abandon": ("stepwell.cli.executions", "abandon"),
    "recover": ("stepwell.cli.executions", "recover"),
    "history": ("stepwell.cli.executions", "history"),
    "diff": ("stepwell.cli.diff", "diff"),
    "skips": ("stepwell.cli.skips", "commands"),
    "owners": ("stepwell.cli.owners", "commands"),
    "import-state": ("stepwell.cli.import_state", "import_state"),
    "lock": ("stepwell.cli.locks", "commands"),
    "pool": ("stepwell.cli.pools", "commands"),
    "schedule": ("stepwell.cli.schedules", "commands"),
    "sync": ("stepwell.cli.sync", "commands"),
    "backup": ("stepwell.cli.backup", "commands"),
    "notify": ("stepwell.cli.notify", "notify"),
    "serve": ("stepwell.cli.serve", "serve"),
    "token": ("stepwell.cli.tokens", "commands"),
    "doctor": ("stepwell.cli.doctor", "doctor"),
    "purge": ("stepwell.cli.purge", "purge"),
    "db": ("stepwell.cli.database", "commands"),
}


def command(named: str | None = None) -> Callable[..., Any]:
    """The command line, ready to be called with arguments.

    ``named`` is the command that they name; anything else, for a help text or a completion, makes
    all of them.
    """
    app = typer.Typer(
        no_args_is_help=True, pretty_exceptions_enable=False, context_settings=_HELP_OPTIONS
    )
    app.callback()(stepwell)
    for name in (named,) if named in COMMANDS else COMMANDS:
        module, attribute = COMMANDS[name]
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    whole = typer.main.get_command(app)
    for each in _every(whole):
        each.epilog = EXIT_STATUSES
        _convert_plainly(each)
    return whole


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        Output().line(f"stepwell {version('stepwell')}")
        raise typer.Exit


_HELP_OPTIONS: dict[str, Any] = {"help_option_names": ["--help", "-h"]}


def stepwell(
    context: typer.Context,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            help="sqlite:///FILE or postgresql://…, instead of the one in the settings.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The settings, instead of ./stepwell.toml."),
    ] = None,
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, metavar="", help="Log more, -vv everything."),
    ] = 0,
    log_format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT", help="Log lines as text or json, instead of what the settings say."
        ),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Dependable batch for Python: jobs whose recorded status is never wrong.

    `stepwell init` makes a first job, `stepwell run first` runs it, `stepwell status` shows it.
    """
    if log_format not in (None, "text", "json"):
        raise typer.BadParameter(f"must be text or json, got {log_format!r}")
    set_up_logging(verbose, log_format or "text")
    context.obj = Session(
        database_url=database_url, config=config, verbosity=verbose, log_format=log_format
    )


def _every(part: Any) -> Iterator[Any]:
    """A command and all below it."""
    yield part
    for below in getattr(part, "commands", {}).values():
        yield from _every(below)


# How a word of the command line becomes an argument; Typer's own way imports pydantic, which takes
# as long as everything else that `stepwell status` does before it opens the database.
_PLAIN: dict[Any, Callable[[Any], Any]] = {int: int, str: str, Path: Path, list[str]: list}


def _convert_plainly(part: Any) -> None:
    """Let a command's numbers and texts be converted by hand; refusals stay Typer's."""
    hints = typing.get_type_hints(inspect.unwrap(part.callback))
    help_option = part.get_help_option(typer.Context(part, **_HELP_OPTIONS))
    for parameter in (*part.params, help_option):
        # A count such as -vv is a number already.
        is_bounded = getattr(parameter, "min", None) is not None and not getattr(
            parameter, "count", 0
        )
        convert = None if is_bounded else _PLAIN.get(_without_none(hints.get(parameter.name)))
        parameter.process_value = partial(_converted, parameter.process_value, convert, parameter)


def _without_none(hint: Any) -> Any:
    """``int`` for ``int | None``."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and typing.get_origin(hint) is not list else hint


def _converted(
    by_typer: Callable[[Any, Any], Any],
    convert: Callable[[Any], Any] | None,
    parameter: Any,
    context: Any,
    value: Any,
) -> Any:
    if value is None and not parameter.required:
        return parameter.callback(context, parameter, None) if parameter.callback else None
    if convert is None or parameter.callback:
        return by_typer(context, value)
    try:
        return convert(value)
    except (TypeError, ValueError):
        return by_typer(context, value)
