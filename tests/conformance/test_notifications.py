"""Notifications on every database: told once, tried again, and never at the cost of a job."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, PartitionedStep, PartitionResult
from stepwell.channels import ChannelSettings
from stepwell.doctor.examine import examine
from stepwell.notifications import Notifier
from stepwell.notifications.notifier import PAUSES_S
from stepwell.repository.history import Because
from stepwell.repository.notifications import notification_findings
from stepwell.settings import JobSettings, Settings
from stepwell.testing import FrozenClock
from tests.conformance.stories import (
    Blocked,
    ended,
    nothing,
    owned,
    rows,
    tasklet_job,
    until,
)
from tests.support.receiver import Receiver

SECRET = "correct-horse-battery-staple"
ALL = ("COMPLETED", "PARTIAL", "FAILED", "STOPPED", "ABANDONED", "MISSED")
HOUR_S, DAY_S = 3600, 86_400


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def notifier(node: Node, job: dict[str, JobSettings] | None = None, **channels: Any) -> Notifier:
    """A notifier without a thread: the test says when it looks."""
    made = Notifier(node.repository, replace(node.settings, notify=channels, job=job or {}))
    made.run_once()
    return made


def fail(step: Any) -> None:
    raise ValueError("the till is locked")


def told(node: Node) -> list[tuple[Any, ...]]:
    """What is recorded of each: channel, event, job, attempts, whether it waits, is delivered."""
    return rows(
        node,
        "SELECT channel, event, job_name, attempts, next_attempt_at IS NOT NULL,"
        " delivered_at IS NOT NULL FROM batch_notification ORDER BY notification_id",
    )


# --- what is told ------------------------------------------------------------------------------


def test_a_failed_job_is_told_of_in_words_and_in_values(
    node: Node, receiver: Receiver, clock: FrozenClock
) -> None:
    sends = notifier(node, desk=ChannelSettings(webhook=receiver.url))
    node.operator.run(tasklet_job("billing", fail), {"day": "2026-11-20"})
    node.operator.run(tasklet_job("tidy", nothing))

    assert (1, 0) == (sends.run_once(), sends.run_once())
    [message] = receiver.messages
    assert {
        "text": "job 'billing' is FAILED (execution 1): the till is locked",
        "event": "FAILED",
        "job": "billing",
        "execution_id": 1,
        "parameters": {"day": "2026-11-20"},
        "started_at": "2026-11-20T01:00:00Z",
        "ended_at": "2026-11-20T01:00:00Z",
        "failure_type": "ValueError",
        "failure_message": "the till is locked",
        "schedule": None,
        "due_at": None,
        "happened_at": "2026-11-20T01:00:00Z",
        "attempt": 1,
        "database": node.database.location,
        "notification_id": 1,
    } == message
    assert "application/json" == receiver.headers[0]["Content-Type"]
    assert [("desk", "FAILED", "billing", 1, False, True)] == told(node)


def test_each_end_is_an_event(node: Node, receiver: Receiver) -> None:
    sends = notifier(node, desk=ChannelSettings(webhook=receiver.url, on=ALL))
    partly = PartitionedStep("p", [1], lambda n: PartitionResult.partial("half"))
    node.operator.run(tasklet_job("good", nothing))
    node.operator.run(tasklet_job("bad", fail))
    node.operator.run(Job("partly", steps=[partly]))
    ended(node, "stopped", BatchStatus.STOPPED)
    node.operator.abandon(2)
    sends.run_once()

    assert [
        ("COMPLETED", "good"),
        ("FAILED", "bad"),
        ("PARTIAL", "partly"),
        ("STOPPED", "stopped"),
        ("ABANDONED", "bad"),
    ] == [(m["event"], m["job"]) for m in receiver.messages]


def test_what_another_process_has_ended_is_told_of(
    node: Node, other: Node, receiver: Receiver
) -> None:
    """Goal: the notifier takes no part in ending jobs. Method: recovery, elsewhere."""
    sends = notifier(node, desk=ChannelSettings(webhook=receiver.url))
    record = owned(other, "billing")
    other.repository.recover(record.execution_id, Because("operator", "it hangs"), force=True)
    sends.run_once()

    [message] = receiver.messages
    assert ("FAILED", "billing", 1) == (message["event"], message["job"], message["execution_id"])
    assert "it hangs" in message["failure_message"]


def test_what_was_before_the_channel_is_not_told_of(node: Node, receiver: Receiver) -> None:
    node.operator.run(tasklet_job("before", fail))
    first = notifier(node, desk=ChannelSettings(webhook=receiver.url))
    node.operator.run(tasklet_job("then", fail))
    first.run_once()
    both = notifier(
        node,
        desk=ChannelSettings(webhook=receiver.url),
        phone=ChannelSettings(webhook=receiver.url + "/phone"),
    )
    node.operator.run(tasklet_job("now", fail))
    both.run_once()

    assert ["then", "now", "now"] == [message["job"] for message in receiver.messages]
    assert {"/hook", "/hook/phone"} == set(receiver.paths[1:])


def test_what_is_older_than_a_day_is_no_news(
    node: Node, receiver: Receiver, clock: FrozenClock
) -> None:
    sends = notifier(node, desk=ChannelSettings(webhook=receiver.url))
    node.operator.run(tasklet_job("old", fail))
    clock.advance(2 * DAY_S)
    node.operator.run(tasklet_job("new", fail))
    sends.run_once()

    assert ["new"] == [message["job"] for message in receiver.messages]


def test_a_job_may_have_channels_and_events_of_its_own(node: Node, receiver: Receiver) -> None:
    jobs = {
        "quiet": JobSettings(notify=()),
        "loud": JobSettings(notify={"desk": ("COMPLETED", "FAILED")}),
        "other": JobSettings(notify=("phone",)),
        "locked": JobSettings(run_lock="job"),
    }
    sends = notifier(
        node,
        jobs,
        desk=ChannelSettings(webhook=receiver.url + "/desk"),
        phone=ChannelSettings(webhook=receiver.url + "/phone", on=("COMPLETED",)),
    )
    for name in ("quiet", "loud", "other", "locked", "plain"):
        node.operator.run(tasklet_job(name, nothing))
        node.operator.run(tasklet_job(name, fail), {"bad": "yes"})
    sends.run_once()

    pairs = zip(receiver.messages, receiver.paths, strict=True)
    heard = {(m["job"], m["event"], path[6:]) for m, path in pairs}
    assert {
        ("loud", "COMPLETED", "desk"),
        ("loud", "FAILED", "desk"),
        ("other", "COMPLETED", "phone"),
        ("locked", "FAILED", "desk"),
        ("locked", "COMPLETED", "phone"),
        ("plain", "FAILED", "desk"),
        ("plain", "COMPLETED", "phone"),
    } == heard


def test_a_run_that_did_not_happen_is_told_of_once(
    node: Node, receiver: Receiver, clock: FrozenClock
) -> None:
    """Goal: skipped, and not fired at all; not what a worker that has just started will fire."""
    node.registry.add(tasklet_job("tidy", nothing), origin="the test")
    sends = notifier(node, desk=ChannelSettings(webhook=receiver.url))
    node.schedules.add("tidy", "0 2 * * *", name="a", catch_up="skip")
    node.schedules.add("tidy", "0 8 * * *", name="b")
    clock.advance(5 * HOUR_S)
    node.schedules.fire_due()
    sends.run_once()
    clock.advance(3 * HOUR_S)
    notifier(node, desk=ChannelSettings(webhook=receiver.url))
    at_first = len(receiver.messages)
    for _ in range(2):
        sends.run_once()

    assert 1 == at_first
    assert [
        "job 'tidy' did not run: schedule 'a' was due 2026-11-20T02:00:00Z",
        "job 'tidy' did not run: schedule 'b' was due 2026-11-20T08:00:00Z",
    ] == [message["text"] for message in receiver.messages]
    assert [("MISSED", "a", "2026-11-20T02:00:00Z", None)] == [
        (m["event"], m["schedule"], m["due_at"], m["execution_id"]) for m in receiver.messages[:1]
    ]


# --- how it is told ------------------------------------------------------------------------------


def test_a_command_gets_the_message_on_its_standard_input(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: and the most important of it in its environment, in the settings' folder."""
    (tmp_path / "there").mkdir()
    script = "cat > got.json; env > got.env; pwd > got.pwd"
    command = ("sh", "-c", script)
    made = Notifier(
        node.repository,
        replace(node.settings, folder=tmp_path / "there", notify={"sh": ChannelSettings(command)}),
    )
    made.run_once()
    node.operator.run(tasklet_job("billing", fail))
    monkeypatch.setenv("FROM_OUTSIDE", "yes")

    assert 1 == made.run_once()
    message = json.loads((tmp_path / "there" / "got.json").read_text())
    environment = (tmp_path / "there" / "got.env").read_text().splitlines()
    assert ("FAILED", "billing", 1) == (message["event"], message["job"], message["execution_id"])
    assert {
        "NOTIFY_EVENT=FAILED",
        "NOTIFY_JOB=billing",
        "NOTIFY_EXECUTION_ID=1",
        "NOTIFY_TEXT=job 'billing' is FAILED (execution 1): the till is locked",
        "FROM_OUTSIDE=yes",
    } <= set(environment)
    assert not [line for line in environment if line.startswith("NOTIFY_SCHEDULE")]
    assert str(tmp_path / "there") == (tmp_path / "there" / "got.pwd").read_text().strip()


def test_what_a_job_says_is_no_command(node: Node, tmp_path: Path) -> None:
    """Goal: no text of a job or of its failure is ever read by a shell."""
    mark = tmp_path / "broken-in"
    channel = ChannelSettings(("sh", "-c", f'printf "%s" "$NOTIFY_TEXT" > {tmp_path}/got'))
    sends = notifier(node, sh=channel)
    said = f'x"; touch {mark}; $(touch {mark}) `touch {mark}` %s'

    def fail_saying_so(step: Any) -> None:
        raise ValueError(said)

    node.operator.run(tasklet_job("$(touch it)", fail_saying_so))

    assert 1 == sends.run_once()
    assert not mark.exists()
    assert f"job '$(touch it)' is FAILED (execution 1): {said}" == (tmp_path / "got").read_text()


def test_secrets_come_from_the_environment_and_go_to_the_receiver_alone(
    node: Node,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Method: a receiver that takes it, one that refuses, one that is not there, one misspelt."""
    monkeypatch.setenv("HOOK_TOKEN", SECRET)
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": "Bearer ${HOOK_TOKEN}"}
    with Receiver(500) as refusing:
        sends = notifier(
            node,
            good=ChannelSettings(webhook=receiver.url + "?token=${HOOK_TOKEN}", headers=headers),
            bad=ChannelSettings(webhook=refusing.url + "?token=${HOOK_TOKEN}", headers=headers),
            gone=ChannelSettings(webhook="http://127.0.0.1:1/${HOOK_TOKEN}", headers=headers),
            odd=ChannelSettings(webhook="ftp://${HOOK_TOKEN}/", headers=headers),
            split=ChannelSettings(webhook="http://127.0.0.1:1/ ${HOOK_TOKEN}\n", headers=headers),
            away=ChannelSettings(webhook="http://example.invalid/${HOOK_TOKEN}", headers=headers),
            args=ChannelSettings(("sh", "-c", f"exit 3 # {SECRET}")),
            none=ChannelSettings(webhook=f"https://${{NO_SUCH_VARIABLE}}/{SECRET}"),
        )
        node.operator.run(tasklet_job("billing", fail))
        sends.run_once()

    errors = dict(rows(node, "SELECT channel, last_error FROM batch_notification"))
    assert f"Bearer {SECRET}" == receiver.headers[0]["Authorization"]
    assert [f"/hook?token={SECRET}"] == receiver.paths
    assert {
        "good": None,
        "bad": "the webhook answered 500",
        "gone": "the webhook cannot be reached: Connection refused",
        "odd": "the settings must have a webhook that begins with https:// or http:// and names a"
        " host",
        "split": "the webhook cannot be reached: InvalidURL",
        "away": "the settings must have a webhook with https:// when it has headers: others could"
        " read them",
        "args": "the program ended with 3",
        "none": "the environment has no variable NO_SUCH_VARIABLE",
    } == errors
    assert SECRET not in caplog.text
    assert SECRET not in repr(sends._channels)
    for (text,) in rows(node, "SELECT COALESCE(last_error, '') FROM batch_notification"):
        assert SECRET not in text


def test_a_redirection_is_not_followed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_TOKEN", SECRET)
    headers = {"Authorization": "${HOOK_TOKEN}"}
    with Receiver(307) as moved:
        sends = notifier(node, desk=ChannelSettings(webhook=moved.url, headers=headers))
        node.operator.run(tasklet_job("billing", fail))
        sends.run_once()

        assert ["/hook"] == moved.paths
    assert [("the webhook answered 307",)] == rows(
        node, "SELECT last_error FROM batch_notification"
    )


# --- trying again --------------------------------------------------------------------------------


def test_what_is_not_taken_is_tried_again_further_and_further_apart(
    node: Node, clock: FrozenClock
) -> None:
    with Receiver(503, 0, 500, 204) as receiver:
        sends = notifier(node, desk=ChannelSettings(webhook=receiver.url, timeout_s=1))
        node.operator.run(tasklet_job("billing", fail))
        told_at = []
        for _ in range(400):
            if sends.run_once():
                break
            clock.advance(1)
        told_at = [m["attempt"] for m in receiver.messages]

    assert [1, 2, 3, 4] == told_at
    assert clock.now() - timedelta(seconds=sum(PAUSES_S[:3]) + 3) == rows_time(node)
    assert [("desk", "FAILED", "billing", 4, False, True)] == told(node)


def rows_time(node: Node) -> Any:
    execution = node.operator.get_job_execution(1)
    return execution.end_time


def test_attempts_end_and_are_a_finding(
    node: Node, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver(500) as receiver:
        sends = notifier(node, desk=ChannelSettings(webhook=receiver.url, attempts=3))
        node.operator.run(tasklet_job("billing", fail))
        for _ in range(6):
            sends.run_once()
            clock.advance(HOUR_S)

        assert 3 == len(receiver.messages)
    levels = [r.levelname for r in caplog.records if r.name == "stepwell.notifications"]
    assert ["WARNING", "WARNING", "ERROR"] == levels
    with node.database.read() as reader:
        [finding] = notification_findings(reader, now=clock.now())
    assert ("notification_not_delivered", "notification 1") == (finding.code, finding.where)
    assert (
        "'billing' FAILED: channel 'desk' has failed 3 times: the webhook answered 500"
        == finding.what
    )
    assert "notification_not_delivered" in [f.code for f in examine(node.database)]


def test_a_receiver_that_hangs_costs_one_attempt(node: Node) -> None:
    with Receiver(-1) as receiver:
        sends = notifier(node, desk=ChannelSettings(webhook=receiver.url, timeout_s=0.2))
        node.operator.run(tasklet_job("billing", fail))

        assert 0 == sends.run_once()
    assert [("the webhook cannot be reached: it took too long",)] == rows(
        node, "SELECT last_error FROM batch_notification"
    )


def test_a_command_that_hangs_is_ended_with_its_children(node: Node, tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    sends = notifier(node, sh=ChannelSettings(("sh", "-c", script), timeout_s=0.5))
    node.operator.run(tasklet_job("billing", fail))

    assert 0 == sends.run_once()
    child = int((tmp_path / "child").read_text())
    until(lambda: not is_alive(child))
    assert [("the program did not end within 0.5 s",)] == rows(
        node, "SELECT last_error FROM batch_notification"
    )


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or ") Z " not in state.read_text()


def test_a_program_that_is_not_there_is_told_by_its_reason(node: Node) -> None:
    sends = notifier(node, sh=ChannelSettings((f"./{SECRET}",)))
    node.operator.run(tasklet_job("billing", fail))
    sends.run_once()

    assert [("the program cannot be run: No such file or directory",)] == rows(
        node, "SELECT last_error FROM batch_notification"
    )


def test_a_program_that_reads_nothing_has_taken_it(node: Node) -> None:
    sends = notifier(node, sh=ChannelSettings((sys.executable, "-c", "")))
    node.operator.run(tasklet_job("billing", lambda: fail("x" * 100_000)))

    assert 1 == sends.run_once()


def test_of_many_processes_one_tells(node: Node, receiver: Receiver) -> None:
    """Method: four notifiers have all found and looked up the same before one of them claims."""
    channel = ChannelSettings(webhook=receiver.url)
    many = [notifier(node, desk=channel) for _ in range(4)]
    for number in range(5):
        node.operator.run(tasklet_job(f"job-{number}", fail))
    barrier = Barrier(4)

    def tell(one: Notifier) -> None:
        barrier.wait(30)
        one.run_once()

    threads = [Thread(target=tell, args=(one,)) for one in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [f"job-{number}" for number in range(5)] == sorted(m["job"] for m in receiver.messages)


def test_who_dies_while_telling_is_followed_by_another(
    node: Node, receiver: Receiver, clock: FrozenClock
) -> None:
    """Goal: at least once. Method: the first one has claimed it, and never comes back."""
    channel = ChannelSettings(webhook=receiver.url)
    dies = notifier(node, desk=channel)
    node.operator.run(tasklet_job("billing", fail))
    dies._send = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        dies.run_once()
    follows = notifier(node, desk=channel)
    at_once = len(receiver.messages)
    clock.advance(PAUSES_S[0] + channel.timeout_s)

    assert (0, 1) == (at_once, follows.run_once())
    assert [2] == [message["attempt"] for message in receiver.messages]


def test_what_was_told_is_forgotten_after_a_week_and_not_told_again(
    node: Node, receiver: Receiver, clock: FrozenClock
) -> None:
    sends = notifier(node, desk=ChannelSettings(webhook=receiver.url))
    node.operator.run(tasklet_job("billing", fail))
    sends.run_once()
    clock.advance(8 * DAY_S)
    sends.run_once()
    node.operator.run(tasklet_job("tidy", fail))
    sends.run_once()

    assert ["billing", "tidy"] == [message["job"] for message in receiver.messages]
    assert [("desk", "FAILED", "tidy", 1, False, True)] == told(node)


def test_an_execution_that_is_gone_is_told_of_all_the_same(
    node: Node, receiver: Receiver, clock: FrozenClock
) -> None:
    """Method: the row is renamed under it, as after a purge; references do not hold it."""
    with Receiver(500) as refusing:
        sends = notifier(node, desk=ChannelSettings(webhook=refusing.url))
        node.operator.run(tasklet_job("billing", fail))
        sends.run_once()
    with node.database.write() as transaction:
        transaction.connection.execute("UPDATE batch_notification SET job_execution_id = 4711")
    clock.advance(HOUR_S)
    notifier(node, desk=ChannelSettings(webhook=receiver.url))

    [message] = receiver.messages
    assert ("billing", 4711, {}, None) == (
        message["job"],
        message["execution_id"],
        message["parameters"],
        message["failure_type"],
    )


# --- beside the jobs ---------------------------------------------------------------------------


def test_a_job_neither_waits_nor_fails(settings: Settings) -> None:
    """Goal: it has ended while the receiver still hangs. Method: the node's own thread tells."""
    with Receiver(-1, 204) as receiver:
        channel = ChannelSettings(webhook=receiver.url, on=ALL, timeout_s=20)
        with Node.open(replace(settings, notify={"desk": channel})) as node:
            first = node.operator.run(tasklet_job("billing", nothing))
            until(lambda: receiver.messages)
            second = node.operator.run(tasklet_job("tidy", nothing))
            receiver.release.set()

        assert [BatchStatus.COMPLETED] * 2 == [first.batch_status, second.batch_status]
        assert ["billing", "tidy"] == [message["job"] for message in receiver.messages]


def test_the_last_end_is_told_before_the_node_is_closed(settings: Settings) -> None:
    with Receiver() as receiver:
        channel = ChannelSettings(webhook=receiver.url)
        with Node.open(replace(settings, notify={"desk": channel})) as node:
            node.operator.run(tasklet_job("billing", fail))

        assert ["billing"] == [message["job"] for message in receiver.messages]


def test_a_receiver_that_hangs_does_not_keep_the_node_open(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a bounded end; what was not taken stays, and the next process goes on with it."""
    monkeypatch.setattr("stepwell.notifications.notifier.CLOSE_WITHIN_S", 0.2)
    with Receiver(-1, 204) as receiver:
        channel = ChannelSettings(webhook=receiver.url, timeout_s=20)
        with Node.open(replace(settings, notify={"desk": channel})) as node:
            blocked = Blocked()
            node.operator.run(tasklet_job("billing", fail))
            until(lambda: receiver.messages)
            thread = node.notifier._thread
        assert blocked is not None
        with Node.open(settings) as later:
            waits = told(later)
        receiver.release.set()
        assert thread is not None
        thread.join(30)

        assert [("desk", "FAILED", "billing", 1, True, False)] == waits


def test_a_fault_of_the_notifier_reaches_no_job(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Notifier, "_find", broken)
    channel = ChannelSettings(webhook="http://127.0.0.1:1/")
    with Node.open(replace(settings, notify={"desk": channel})) as node:
        execution = node.operator.run(tasklet_job("billing", nothing))

    assert BatchStatus.COMPLETED is execution.batch_status
    assert "a fault of ours" in caplog.text
