from __future__ import annotations

from datetime import timedelta
from threading import Event, Thread

from stepwell import Job, Node, TaskletStep
from stepwell.testing import FrozenClock


def test_it_stands_still_until_it_is_advanced() -> None:
    clock = FrozenClock()
    before = (clock.now(), clock.monotonic())
    clock.advance(90.5)

    assert (before[0] + timedelta(seconds=90.5), before[1] + 90.5) == (
        clock.now(),
        clock.monotonic(),
    )


def test_it_can_be_set_back_without_a_duration_noticing() -> None:
    clock = FrozenClock()
    before = (clock.now(), clock.monotonic())
    clock.set_back(3_600)

    assert (before[0] - timedelta(hours=1), before[1]) == (clock.now(), clock.monotonic())


def test_sleeping_passes_time_without_waiting_for_it() -> None:
    clock = FrozenClock()
    before = clock.now()
    clock.sleep(86_400)

    assert timedelta(days=1) == clock.now() - before


def test_waiting_ends_with_the_event() -> None:
    clock, event = FrozenClock(), Event()
    thread = Thread(target=event.set)
    thread.start()
    answer = clock.wait(event, 3_600)
    thread.join()

    assert answer


def test_waiting_ends_when_the_timeout_was_let_pass() -> None:
    clock, answers = FrozenClock(), []
    thread = Thread(target=lambda: answers.append(clock.wait(Event(), 60)))
    thread.start()
    while thread.is_alive():
        clock.advance(30)
        thread.join(0.005)

    assert [False] == answers


def test_ids_and_jitter_are_the_same_in_every_run() -> None:
    ids = [[clock.new_id() for _ in range(2)] for clock in (FrozenClock(), FrozenClock())]

    assert [["0" * 31 + "1", "0" * 31 + "2"]] * 2 == ids
    assert 0.25 == FrozenClock().jitter(0.125, 0.375)


def test_a_job_under_it_has_chosen_times(database_url: str) -> None:
    clock = FrozenClock()

    def an_hour() -> None:
        clock.advance(3_600)

    with Node.open(database_url, clock=clock) as node:
        began = clock.now()
        execution = node.operator.run(Job("billing", steps=[TaskletStep("only", an_hour)]))

    assert (began, began, began + timedelta(hours=1)) == (
        execution.create_time,
        execution.start_time,
        execution.end_time,
    )
