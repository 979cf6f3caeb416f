"""A worker in the foreground: what it tells, and how signals end it."""

from __future__ import annotations

import contextlib
import sys

from stepwell.cli.changes import timed
from stepwell.cli.output import DONE, FAILED, Output, end_at_once, note
from stepwell.cli.running import parameters_text
from stepwell.cli.signals import StopSignals
from stepwell.clock import Clock
from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus
from stepwell.looks.representation import execution_json
from stepwell.looks.text import duration, how_many, iso_utc, seconds_between
from stepwell.looks.wording import failure_text, status_text
from stepwell.node import Node
from stepwell.worker import Worker


class AtWork:
    """Runs a worker, tells a line for what begins and ends, and ends it when a signal comes."""

    def __init__(self, node: Node, output: Output, clock: Clock) -> None:
        self._node = node
        self._output = output
        self._clock = clock
        self._signals = StopSignals("ended at once; the next worker recovers what ran")
        self._deadline: float | None = None
        self._failed: set[int] = set()

    @property
    def is_ending(self) -> bool:
        """Whether a signal has come."""
        return self._signals.received is not None

    def run(
        self, *, parallel: int, jobs: tuple[str, ...], pools: tuple[str, ...], drain: bool
    ) -> int:
        """Work until a signal or the end of the queue; answers the exit status."""
        worker = self._node.worker(
            parallel=parallel, jobs=jobs, pools=pools, drain=drain, tell=self._tell
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._signals)
            if self._output.wants_json:
                # A job may print; stdout belongs to the documents.
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            else:
                at_a_time = f"{how_many(parallel, 'execution')} at a time"
                what = f"working, {at_a_time}" if parallel else "working on nothing registered"
                self._output.line(f"{what}; Ctrl-C ends after the current chunks")
            worker.run(each_round=self._look_for_signals)
        return FAILED if drain and self._failed else DONE

    def _look_for_signals(self, worker: Worker) -> None:
        if self._signals.received is None:
            return
        if self._deadline is None:
            self._deadline = self._clock.monotonic() + self._node.settings.shutdown_timeout_s
            if worker.running and not self._output.wants_json:
                note("stopping after the current chunks… (Ctrl-C again ends at once)")
            worker.request_stop(self._signals.received)
        elif worker.running and self._clock.monotonic() > self._deadline:
            seconds = self._node.settings.shutdown_timeout_s
            ids = ", ".join(str(execution.execution_id) for execution in worker.running)
            end_at_once(
                f"not stopped within shutdown_timeout_s = {seconds:g} s: {ids};"
                " what ran ends with this process, the next worker recovers it"
            )

    def _tell(self, what: str, execution: JobExecution) -> None:
        if what == "ended":
            mark = self._failed.add if execution.batch_status is BatchStatus.FAILED else None
            (mark or self._failed.discard)(execution.instance_id)
        now = self._clock.now()
        if self._output.wants_json:
            document = {"at": iso_utc(now), "event": what, "execution": execution_json(execution)}
            self._output.json(document, one_line=True)
        else:
            self._output.line(timed(now, _text(what, execution)))


def _text(what: str, execution: JobExecution) -> str:
    named = f"execution {execution.execution_id} of job {execution.job_name!r}"
    match what:
        case "started":
            given = parameters_text(execution.parameters)
            return f"{named} started" + (f": {given}" if given else "")
        case "lost":
            return f"{named} was taken by another process; this one wrote nothing more"
        case "recovered":
            return f"recovered {named}: {failure_text(execution.failure)}"
    took = duration(seconds_between(execution.start_time, execution.end_time))
    ended = f"{named} {status_text(execution)} after {took}"
    return ": ".join(filter(None, [ended, failure_text(execution.failure)]))
