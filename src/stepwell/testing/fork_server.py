"""The program behind :class:`stepwell.testing.WarmParent`: forks a child for each line it reads."""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from stepwell.testing.statements import Countdown, KillPoint, each_statement

_READ_BYTES = 1 << 16


def main() -> None:
    """Serve until standard input ends, then kill what still runs."""
    sys.path[:] = json.loads(sys.argv[1])
    for module in sys.argv[2:]:
        importlib.import_module(module)
    with each_statement(Countdown()):
        pass  # It imports the drivers, once for all children.
    server = ForkServer()
    try:
        for line in sys.stdin:
            question = json.loads(line)
            if "warm_up" in question:
                answer: Any = warm_up(question["warm_up"], question["arguments"])
            elif "call" in question:
                answer = server.fork(**question)
            else:
                answer = server.wait(question["wait"], question["timeout_s"])
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    finally:
        server.kill_all()


def warm_up(call: str, arguments: dict[str, Any]) -> str | None:
    """Call a function right here; answers what it left behind that no child may inherit."""
    try:
        _function(call)(**arguments)
    except Exception:  # noqa: BLE001 - whatever it was, the test will show it
        return traceback.format_exc()
    gc.collect()
    gc.freeze()  # A child's collections touch none of this, so it stays shared memory.
    left = [thread.name for thread in threading.enumerate()][1:]
    return f"threads {', '.join(left)} still run" if left else None


class ForkServer:
    """The children, each with the pipe through which it answers."""

    def __init__(self) -> None:
        self._answers: dict[int, int] = {}
        self._received: dict[int, bytes] = {}

    def fork(self, call: str, kill_at: list[Any] | None, arguments: dict[str, Any]) -> int:
        """Fork a child that calls the function; answers its process id."""
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(readable)
            _run_child(call, KillPoint(*kill_at) if kill_at else None, arguments, writable)
        os.close(writable)
        self._answers[pid] = readable
        self._received[pid] = b""
        return pid

    def wait(self, pid: int, timeout_s: float) -> dict[str, Any] | None:
        """How the child ended, or None when it has not; its pipe ends with it."""
        readable = self._answers[pid]
        while True:
            ready, _, _ = select.select([readable], [], [], timeout_s)
            if not ready:
                return None
            received = os.read(readable, _READ_BYTES)
            if not received:
                break
            self._received[pid] += received
        os.close(readable)
        del self._answers[pid]
        _, status = os.waitpid(pid, 0)
        answer = self._received.pop(pid)
        return {
            **(json.loads(answer) if answer else {}),
            "exit_code": os.waitstatus_to_exitcode(status),
        }

    def kill_all(self) -> None:
        """End what the test has not waited for."""
        for pid in self._answers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _run_child(
    call: str, kill_at: KillPoint | None, arguments: dict[str, Any], answer_to: int
) -> None:
    """Call the function, answer, and end without what a parent's program would still do."""
    exit_code = 1
    try:
        # The parent's pipes are the parent's: a line of output would be taken for an answer.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        countdown = Countdown(kill_at)
        function = _function(call)
        with each_statement(countdown):
            result = function(**arguments)
        answer = {"result": result, "statement_count": countdown.count}
        exit_code = 0
    except BaseException:  # noqa: BLE001 - whatever it was, the test will show it
        answer = {"error": traceback.format_exc()}
    try:
        _write_all(answer_to, json.dumps(answer, default=str).encode())
        sys.stderr.flush()
    finally:
        os._exit(exit_code)


def _function(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
