"""The built-in jobs ``stepwell.sync.push`` and ``.pull``: by file, or over HTTP with a hub.

Over HTTP a job stands where its last piece was committed; a restart asks the hub how far it is and
goes on from there. The token is read when it is needed and is no parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from stepwell.job.job import Job
from stepwell.job.parameters import NonIdentifying
from stepwell.job.step import TaskletStep
from stepwell.sync.exchange import Exchange, Pushed
from stepwell.sync.import_job import ImportParameters, files_of, import_job
from stepwell.sync.jobs import ExportParameters, write_file
from stepwell.sync.transport import Stopped

if TYPE_CHECKING:
    from stepwell.sync.session import Sync

PUSH = "stepwell.sync.push"
PULL = "stepwell.sync.pull"


class PushParameters(ExportParameters):
    """What a push is asked for: a file with ``to``, or else a hub.

    Attributes:
        url: Of the hub; that of the settings unless given.
        token_file: Where its token stands; that of the settings unless given.
    """

    to: str = ""
    url: str = ""
    token_file: NonIdentifying[str] = ""

    @model_validator(mode="after")
    def _is_one(self) -> PushParameters:
        _refuse_both(self.to, "to", self.url)
        return self


class PullParameters(ImportParameters):
    """What a pull is asked for: a file, or else a hub.

    Attributes:
        url, token_file: As for a push.
        client: The node that must answer there; any peer unless given.
    """

    file: str = ""
    url: str = ""
    token_file: NonIdentifying[str] = ""
    client: str = ""

    @model_validator(mode="after")
    def _is_one(self) -> PullParameters:
        _refuse_both(self.file, "file", self.url)
        return self


def _refuse_both(file: str, name: str, url: str) -> None:
    if file and url:
        raise ValueError(f"{name} and url exclude each other")


def push_job(sync: Callable[[], Sync]) -> Job:
    """Writes what a peer lacks to a file, or sends it to a hub piece by piece."""

    def send(step: Any) -> None:
        if step.parameters.to:
            write_file(step, sync())
            return

        def save(pushed: Pushed) -> None:
            with step.transaction():
                step.context = asdict(pushed)

        try:
            exchange = _exchange(step, sync())
            pushed = exchange.push(
                save=save, tell=lambda done, total: step.progress(done, total, "changes")
            )
        except Stopped:
            return
        step.context = asdict(pushed)

    return Job(
        PUSH,
        description="gives a peer the changes that it lacks, by file or over HTTP",
        parameters=PushParameters,
        identity="each-start",
        run_lock="job",
        steps=[TaskletStep("write", send)],
    )


def pull_job(sync: Callable[[], Sync]) -> Job:
    """Applies a file of a peer, or what a hub has for this node."""

    def fetch(step: Any) -> None:
        if step.parameters.file:
            return

        def save(name: str, count: int) -> None:
            with step.transaction():
                fetched = {"name": name, "count": count}
                step.job.context = {**step.job.context, "fetched": fetched}

        with suppress(Stopped):
            _exchange(step, sync()).fetch(
                step.job.context.get("fetched", {}).get("count", 0),
                save=save,
                tell=lambda done, total: step.progress(done, total, "changes"),
            )

    def clear(step: Any) -> None:
        if not step.parameters.file:
            for file in files_of(step):
                with suppress(OSError):
                    Path(file).unlink(missing_ok=True)

    return import_job(
        sync,
        name=PULL,
        parameters=PullParameters,
        before=[TaskletStep("fetch", fetch)],
        after=[TaskletStep("clear", clear)],
    )


def _exchange(step: Any, sync: Sync) -> Exchange:
    asked = step.parameters
    remote = sync.remote.given(url=asked.url, token_file=asked.token_file)
    return Exchange(sync, remote, client=asked.client, stop=lambda: step.stop_requested)
