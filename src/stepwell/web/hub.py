"""What a hub does for the nodes that ask it: whose turn, and the import of a push.

Guarantees: one import at a time, the others wait for their turn or are told to come again; a push
is an execution of the job ``stepwell.sync.import`` like that of a file, and its answer is what that
execution has recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

from stepwell.errors import (
    DatabaseBusy,
    JobExecutionAlreadyRunning,
    StepwellError,
    TooManyRequests,
    WrongNode,
)
from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus
from stepwell.node import Node
from stepwell.repository.steps import get_context, list_steps
from stepwell.sync.import_job import IMPORT
from stepwell.web.auth import Caller
from stepwell.web.inbox import Inbox

TURN_S = 60.0  # For the imports before; then the node is told to come again.
COME_AGAIN_S = 5
ERRORS_SHOWN_MAX = 20

PUSH = "POST /sync/push"


class Hub:
    """One node as a hub."""

    def __init__(self, node: Node, *, is_ending: Callable[[], bool]) -> None:
        self._node = node
        self._is_ending = is_ending
        self._turn = Lock()
        self._inbox: Inbox | None = None

    @property
    def inbox(self) -> Inbox:
        """Where pushed changes lie.

        Raises:
            NoSyncNode: the database is no node.
        """
        if self._inbox is None:
            settings, name = self._node.settings, self._node.sync.node().node_id
            self._inbox = Inbox(
                settings.folder / settings.sync_folder,
                f"{name}-received-",
                self._node.clock,
                bytes_max=settings.sync_push_bytes_max,
            )
        return self._inbox

    def receive(self, caller: Caller, file: Path) -> dict[str, Any]:
        """Apply what a node has pushed; the report. The file is deleted when it is done with.

        Raises:
            WrongNode: the changes are those of another node's log.
            BundleTorn, BundleDamaged, …, GroupMissing, HistoryForked, …: it cannot be imported.
            TooManyRequests: others are imported all the time; nothing was done.
            DatabaseBusy: the server is about to end; what is not applied comes with the next push.
        """
        is_kept = False
        try:
            with self._its_turn():
                execution = self._import(caller, file)
                is_kept = execution.batch_status is BatchStatus.STOPPED
                return self._report(execution, file)
        except StepwellError as error:
            _rename(error, file, caller)
            raise
        finally:
            if not is_kept:  # `stepwell restart` goes on with it.
                for path in (file, _errors_of(file)):
                    with suppress(OSError):
                        path.unlink(missing_ok=True)

    @contextmanager
    def _its_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=TURN_S):
            raise TooManyRequests(
                PUSH, "other pushes are being applied", retry_after_s=COME_AGAIN_S
            )
        try:
            yield
        finally:
            self._turn.release()

    def _import(self, caller: Caller, file: Path) -> JobExecution:
        sync = self._node.sync
        meta = sync.meta_of(file)
        if meta.source_node != caller.node:
            raise WrongNode(
                f"cannot answer {PUSH}: token {caller.name!r} stands for node {caller.node!r}, the"
                f" changes are of {meta.source_node!r}",
                hint="send the changes of that node with a token of its own",
                fields={"token": caller.name, "node": caller.node, "of": meta.source_node},
            )
        sync.preflight(file).require()
        return self._run({"file": str(file), "checked": meta.tx_id}, caller.name)

    def _run(self, parameters: dict[str, object], token: str | None) -> JobExecution:
        operator, clock = self._node.operator, self._node.clock
        deadline = clock.monotonic() + TURN_S
        while True:
            if self._is_ending():
                raise _ending()
            try:
                execution_id = operator.start(IMPORT, parameters, triggered_by=token)
                break
            except JobExecutionAlreadyRunning as error:
                if error.fields["owner_is_dead"]:
                    operator.recover_dead()
                elif clock.monotonic() > deadline:
                    fact = "another import is running"
                    raise TooManyRequests(PUSH, fact, retry_after_s=COME_AGAIN_S) from error
                clock.sleep(0.1)  # Another process imports a file; nothing tells when it ends.
        execution = operator.wait(execution_id)
        assert execution is not None
        return execution

    def _report(self, execution: JobExecution, file: Path) -> dict[str, Any]:
        if execution.batch_status is BatchStatus.STOPPED:
            raise _ending()
        if execution.batch_status is not BatchStatus.COMPLETED:
            if isinstance(execution.exception, StepwellError):
                raise execution.exception
            raise RuntimeError(f"import {execution.execution_id} is {execution.batch_status}")
        done = self._context_of(execution)
        sync = self._node.sync
        reached = sync.state(done["source_node"], "in")
        node = sync.node()
        return {
            "execution_id": execution.execution_id,
            "node": node.node_id,
            "epoch": node.epoch,
            **{name: done[name] for name in ("source_node", "from_lsn", "to_lsn", "rows")},
            "applied": done["applied"] + done["conflict"],
            "skipped": done["skipped"],
            "conflicts": done["conflicts"],
            "quarantined": done["parked"],
            "released": done["released"],
            "waiting": done["waiting"],
            "next_lsn": (0 if reached is None else reached.last_lsn) + 1,
            "peer_epoch": 0 if reached is None else reached.peer_epoch,
            "acknowledged_lsn": done["acknowledged_lsn"],
            "errors": _first_errors(file),
        }

    def _context_of(self, execution: JobExecution) -> dict[str, Any]:
        with self._node.database.read() as reader:
            steps = list_steps(reader, execution.execution_id)
            [last] = [s.step_execution_id for s in steps if s.step_name == "finish"]
            context: dict[str, Any] = json.loads(get_context(reader, last))
        return context


def _ending() -> DatabaseBusy:
    return DatabaseBusy(
        f"cannot answer {PUSH}: this server is about to end", hint="push again when it is back"
    )


def _errors_of(file: Path) -> Path:
    return Path(f"{file}.errors.jsonl")


def _first_errors(file: Path) -> list[dict[str, Any]]:
    """The first groups that were parked."""
    try:
        with _errors_of(file).open("rb") as lines:
            return [json.loads(line) for line in islice(lines, ERRORS_SHOWN_MAX)]
    except FileNotFoundError:
        return []


def _rename(error: StepwellError, file: Path, caller: Caller) -> None:
    """Whoever pushes knows no file here."""
    name = f"the push of {caller.node}"
    for shown in (repr(str(file)), repr(file.name)):
        error.message = error.message.replace(shown, name)
        if shown in error.hint or "copy the file" in error.hint:
            error.hint = "push again"
    error.args = (error.message,)
    error.fields.pop("file", None)
