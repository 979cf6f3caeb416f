"""Channels of notifications, as the settings name them: a command or a webhook."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

Event = Literal["COMPLETED", "PARTIAL", "FAILED", "STOPPED", "ABANDONED", "MISSED"]


@dataclass(frozen=True)
class ChannelSettings:
    """Who is told when an execution has ended, ``[notify.NAME]``: a command or a webhook.

    Attributes:
        command: Program and arguments; it gets the message as JSON on standard input.
        webhook: An ``https`` URL, or ``http``; it gets the same JSON by POST. ``${NAME}`` stands
            for an environment variable, so that no secret need be in the file.
        headers: Of the webhook, likewise.
        on: The events that are told of.
        timeout_s: Seconds that one attempt may take.
        attempts: How often it is tried, further and further apart.
    """

    command: tuple[str, ...] | None = field(default=None, repr=False)
    webhook: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    on: tuple[Event, ...] = ("FAILED", "PARTIAL", "MISSED")
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    attempts: Annotated[int, msgspec.Meta(ge=1)] = 8


def fault_of_channel(channel: ChannelSettings) -> str:
    """What a channel must be and is not; empty when it is. Its values are not repeated."""
    if (channel.command is None) == (channel.webhook is None):
        return "have either a command or a webhook"
    if channel.command is not None:
        if channel.headers:
            return "have no headers, because it is a command"
        return "" if channel.command and channel.command[0] else "name a program to run"
    webhook = channel.webhook or ""
    # What the environment completes is looked at when it is used.
    return "" if "${" in webhook else fault_of_webhook(webhook, has_headers=bool(channel.headers))


def fault_of_webhook(webhook: str, *, has_headers: bool) -> str:
    """What the URL must be and is not; empty when it is. It may be a secret: it is not repeated."""
    try:
        url = urlsplit(webhook)
        _ = url.port  # Asking is checking.
    except ValueError:
        return "have a webhook that is a URL"
    if url.scheme not in ("http", "https") or not url.hostname:
        return "have a webhook that begins with https:// or http:// and names a host"
    is_local = url.hostname in ("localhost", "127.0.0.1", "::1")
    if has_headers and url.scheme == "http" and not is_local:
        return "have a webhook with https:// when it has headers: others could read them"
    return ""
