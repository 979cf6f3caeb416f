"""Reading and processing with their listeners; without any, the bare functions (S116)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepwell.runner.listeners import ListenerFailed, Listeners

Read = Callable[[], Any]
Process = Callable[[Any], Any]


def listened_read(read: Read, listeners: Listeners) -> Read:
    """``read`` between ``before_read`` and ``after_read`` or ``on_read_error``."""
    if not listeners.hears("before_read", "after_read", "on_read_error"):
        return read

    def listened() -> Any:
        listeners.before("before_read")
        try:
            item = read()
        except Exception as error:
            listeners.after("on_read_error", error)
            raise
        listeners.after("after_read", item)
        return item

    return listened


def listened_process(process: Process | None, listeners: Listeners) -> Process | None:
    """``process`` between ``before_process`` and ``after_process`` or ``on_process_error``."""
    if process is None:
        return None
    if not listeners.hears("before_process", "after_process", "on_process_error"):
        return process

    def listened(item: Any) -> Any:
        listeners.before("before_process", item)
        try:
            result = process(item)
        except Exception as error:
            listeners.after("on_process_error", item, error)
            raise
        listeners.after("after_process", item, result)
        return result

    return listened


class Checkpointing:
    """The custom checkpoint algorithm of a step; its exceptions fail the step (S102, S111)."""

    def __init__(self, algorithm: Any) -> None:
        self._algorithm = algorithm

    def begin(self) -> float:
        """``checkpoint_timeout()``, ``begin_checkpoint()``; the timeout in seconds, 0 for none."""
        timeout_s = float(self._call("checkpoint_timeout") or 0)
        self._call("begin_checkpoint")
        return timeout_s

    def is_ready(self) -> bool:
        """``is_ready_to_checkpoint()``."""
        return bool(self._call("is_ready_to_checkpoint"))

    def end(self) -> None:
        """``end_checkpoint()``, behind the commit."""
        self._call("end_checkpoint")

    def _call(self, name: str) -> Any:
        method = getattr(self._algorithm, name, None)
        if method is None:
            return None
        try:
            return method()
        except Exception as error:
            raise ListenerFailed(error) from error
