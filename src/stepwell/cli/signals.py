"""The signals that ask a foreground run to stop: the first one asks, the second one ends."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Self

from stepwell.cli.output import end_at_once

# Windows has no SIGTERM that is sent, and Ctrl-Break besides; it is not tried.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Inside its ``with``: which signal has come, if any.

    The handler only notes the signal. Who runs the job looks at :attr:`received` and asks for the
    stop outside of the handler, where no lock can be held by the very thread that waits for it.
    """

    def __init__(self, farewell: str) -> None:
        self.received: str | None = None
        self.farewell = farewell
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in STOP_SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            end_at_once(self.farewell)
        self.received = signal.Signals(number).name
