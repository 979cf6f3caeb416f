"""How a message gets out: a program that is run, or a POST to a URL.

Guarantees: an attempt ends in time; no secret leaves by another way than the one that was named:
URL, headers, arguments and what they answer are in no message of an error and in no line of the
log, and a redirection is not followed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import msgspec

from stepwell.channels import ChannelSettings, fault_of_webhook

# What a program is told without having to read JSON. Not STEPWELL_…, because those are settings
# and the program may call `stepwell` itself.
VARIABLES = ("event", "job", "execution_id", "schedule", "due_at", "text")
VARIABLE_PREFIX = "NOTIFY_"

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class NotDelivered(Exception):
    """An attempt failed; the message says how, without what could be a secret."""


def send(channel: ChannelSettings, message: Mapping[str, Any], folder: Path) -> None:
    """Tell ``message``; returns when the receiver has taken it.

    Raises:
        NotDelivered: it has not, or nobody knows.
    """
    body = msgspec.json.encode(message)
    if channel.command is not None:
        _run(channel.command, message, body, folder, channel.timeout_s)
    else:
        _post(channel, body)


def _run(
    command: tuple[str, ...],
    message: Mapping[str, Any],
    body: bytes,
    folder: Path,
    timeout_s: float,
) -> None:
    environment = {
        VARIABLE_PREFIX + name.upper(): str(message[name]).replace("\0", "")
        for name in VARIABLES
        if message.get(name) is not None
    }
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own program, without a shell
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the job; and all of it can be ended.
        )
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        raise NotDelivered(f"the program cannot be run: {said or type(error).__name__}") from None
    try:
        process.communicate(body, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise NotDelivered(f"the program did not end within {timeout_s:g} s") from None
    except BrokenPipeError:
        process.wait()
    finally:
        _end(process)
    if process.returncode != 0:
        raise NotDelivered(f"the program ended with {process.returncode}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what still runs, the program's own children too."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Somewhere else nobody knows who listens, and the headers would go with it."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _post(channel: ChannelSettings, body: bytes) -> None:
    url = _completed(channel.webhook or "")
    headers = {name: _completed(value) for name, value in channel.headers.items()}
    fault = fault_of_webhook(url, has_headers=bool(headers))
    if fault:
        raise NotDelivered(f"the settings must {fault}")
    opener = urllib.request.build_opener(_NoRedirection)
    try:
        request = urllib.request.Request(  # noqa: S310 - http and https alone, see above
            url,
            data=body,
            headers={"Content-Type": "application/json", "User-Agent": "stepwell", **headers},
            method="POST",
        )
        with opener.open(request, timeout=channel.timeout_s) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        error.close()
        raise NotDelivered(f"the webhook answered {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise NotDelivered(f"the webhook cannot be reached: {_reason(error)}") from None


def _completed(text: str) -> str:
    """``text`` with every ``${NAME}`` taken from the environment.

    Raises:
        NotDelivered: there is no such variable.
    """

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in os.environ:
            raise NotDelivered(f"the environment has no variable {name}")
        return os.environ[name]

    return _VARIABLE.sub(value, text)


def _reason(error: BaseException) -> str:
    """What the system says, never what was asked of it: that may be a secret."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, OSError):
        error = reason
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
