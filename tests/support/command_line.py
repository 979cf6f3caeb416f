"""The command line, called in this process: a test of a command costs no new interpreter."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell.cli.main import call
from tests.cli.program import Ended


@dataclass(frozen=True)
class Here:
    """A folder, and commands that are called in it by words."""

    path: Path

    def call(self, *words: str) -> Ended:
        """Run a command to its end."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in "oe")
        with _in(self.path), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = call(words)
        return Ended(code, _text(out), _text(err))

    def done(self, *words: str) -> Ended:
        """Run a command that must succeed."""
        ended = self.call(*words)
        assert 0 == ended.code, ended
        return ended

    def json(self, *words: str, code: int = 0) -> Any:
        """The JSON of a command that must end so."""
        ended = self.call(*words, "--json")
        assert code == ended.code, ended
        return ended.json


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8")


@contextlib.contextmanager
def _in(path: Path) -> Iterator[None]:
    """In this folder, without this machine's settings; logging and garbage are as before after."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("STEPWELL_")}
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with contextlib.chdir(path):
            yield
    finally:
        os.environ.update(kept)
        root.handlers[:] = handlers
        root.setLevel(level)
        gc.unfreeze()
