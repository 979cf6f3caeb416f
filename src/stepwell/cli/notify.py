"""``notify``: try out who is told when an execution has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.session import Session


def notify(
    context: typer.Context,
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="NAME of a section [notify.NAME].")
    ],
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send a test message to a channel of the settings, here and now.

    Nothing is recorded, and it is not tried again.
    """
    import difflib

    from stepwell.cli.output import Output
    from stepwell.errors import ChannelFailed, UnknownSetting
    from stepwell.notifications.channel import NotDelivered, send
    from stepwell.notifications.message import compose_test

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    known = session.settings.notify
    if channel not in known:
        close = difflib.get_close_matches(channel, known, n=1)
        meant = f", did you mean {close[0]!r}?" if close else ""
        raise UnknownSetting(
            f"unknown channel {channel!r}{meant}",
            hint=f"the sections [notify.NAME] of the settings are: {', '.join(known) or 'none'}",
            fields={"channel": channel},
        )
    message = compose_test(channel)
    try:
        send(known[channel], message, session.settings.folder)
    except NotDelivered as error:
        raise ChannelFailed(channel, str(error)) from None
    if wants_json:
        output.json({"channel": channel, "message": message})
    else:
        output.line(f"channel {channel!r} has taken a test message")
