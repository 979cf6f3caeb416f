"""Run the console script as a person does, and look at what it left."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.warm import ENVIRONMENT as OF_A_SHELL
from tests.support.warm import SCRIPT, warm_program

TIMEOUT_S = 60
ENVIRONMENT = {**OF_A_SHELL, "TZ": "Asia/Tokyo", "COLUMNS": "100"}


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, code: int, *words: str) -> None:
        """It was refused with this exit status, in words, and without a traceback."""
        assert (code, "") == (self.code, self.out), self
        for word in words:
            assert word in self.err, self.err
        assert "Traceback" not in self.err


class Folder:
    """A folder with settings and jobs, and the command line called in it."""

    def __init__(self, path: Path, **variables: str) -> None:
        self.path = path
        self.environment = {**ENVIRONMENT, **variables}

    def call(self, *words: str, by: Sequence[str] = (), **variables: str) -> Ended:
        """Run a command to its end; ``by`` is a program that runs it."""
        is_cold = bool(by) or "STEPWELL_SQLITE_DRIVER" in variables  # The warm one has its SQLite.
        if not is_cold:
            environment = {**self.environment, **variables}
            return Ended(*warm_program().call(words, self.path, environment, TIMEOUT_S))
        done = subprocess.run(  # noqa: PLW1510 - the exit status is what is looked at
            [*by, str(SCRIPT), *words],
            cwd=self.path,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def done(self, *words: str, **variables: str) -> Ended:
        """Run a command that must succeed."""
        ended = self.call(*words, **variables)
        assert 0 == ended.code, ended
        return ended

    def json(self, *words: str) -> Any:
        """The JSON of a command that must succeed."""
        return self.done(*words, "--json").json

    def start(self, *words: str, **variables: str) -> Running:
        """Start a command and return while it runs."""
        return Running(self, words, variables)

    def rows(self, query: str, file: str = "stepwell.db") -> list[tuple[Any, ...]]:
        """Read the database as another program would."""
        connection = sqlite3.connect(f"file:{self.path / file}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


class Running:
    """A command that runs, its output read line by line."""

    def __init__(self, folder: Folder, words: tuple[str, ...], variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [str(SCRIPT), *words],
            cwd=folder.path,
            env={**folder.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.told = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    def until(self, text: str) -> str:
        """Read stdout until ``text`` is in it."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.told:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{text!r} was not told within {TIMEOUT_S} s: {self.told}"
            if select.select([self._process.stdout], [], [], left_s)[0]:
                part = os.read(self._process.stdout.fileno(), 65536).decode()
                assert part, f"it ended without {text!r}: {self.told}"
                self.told += part
        return self.told

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close_stdout(self) -> None:
        """Stop reading, as ``head`` does."""
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.stdout = None

    def end(self) -> Ended:
        """Wait for its end."""
        try:
            out, err = self._process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, err = self._process.communicate()
            raise AssertionError(f"it did not end: {self.told}{out!r} {err!r}") from None
        return Ended(self._process.returncode, self.told + (out or b"").decode(), err.decode())

    def kill(self) -> Ended:
        """End it with SIGKILL."""
        self.send(signal.SIGKILL)
        return self.end()


def until(look: Any, *, what: str) -> Any:
    """What ``look()`` answers, as soon as it is true."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (answer := look()):
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)  # Another process is waited for; there is nothing to be told by.
    return answer
