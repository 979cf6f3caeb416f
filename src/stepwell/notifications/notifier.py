"""The notifier: finds what is to be told, tells it, and tries again what was not taken.

Guarantees: nothing that it does, or fails to do, reaches a job: it has a thread of its own, and
whatever goes wrong there is logged and tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Event, Thread

from stepwell.channels import ChannelSettings
from stepwell.errors import DatabaseError, StepwellError
from stepwell.notifications.channel import NotDelivered, send
from stepwell.notifications.message import compose_message
from stepwell.repository import notifications as table
from stepwell.repository.notifications import Notification
from stepwell.repository.repository import JobRepository
from stepwell.settings import Settings

logger = logging.getLogger("stepwell.notifications")

LOOK_S = 1.0  # Between two looks at the history.
# The pause behind each attempt; the last one stands for all that follow.
PAUSES_S = (5, 30, 120, 600, 1800, 3600)
CLOSE_WITHIN_S = 10.0  # What is not told by then, another process tells, or the next one.
WATCHED_S = 60.0


class Notifier:
    """Tells the channels of the settings; ``Node.notifier`` is one.

    Any number of processes may have one: each thing is told by one of them. ``run_once`` does all
    that there is to do; ``start`` has a thread do it again and again.
    """

    def __init__(self, repository: JobRepository, settings: Settings) -> None:
        self._repository = repository
        self._channels = settings.notify
        self._jobs = {name: job.notify for name, job in settings.job.items()}
        self._folder = settings.folder
        self._clock = repository.clock
        self._thread: Thread | None = None
        self._over = Event()
        self._abandoned = Event()
        self._begun = False
        self._made_at = self._clock.monotonic()

    def hears(self, channel: str, job_name: str, event: str) -> bool:
        """Whether a channel is told of this event of this job."""
        own = self._jobs.get(job_name)
        if own is None:
            return event in self._channels[channel].on
        if channel not in own:
            return False
        return event in (own[channel] if isinstance(own, dict) else self._channels[channel].on)

    def run_once(self) -> int:
        """Find what is new and try what is due; answers how many were told.

        Raises:
            DatabaseError: the database does not answer; nothing is lost.
        """
        if not self._channels:
            return 0
        self._begin()
        self._find()
        told = self._tell_in_turn()
        if told:
            now = self._clock.now()
            self._repository.database.run(lambda t: table.prune_notifications(t, now=now))
        return told

    def start(self) -> None:
        """Have a thread do it until ``close``; without channels there is nothing to do."""
        if self._channels and self._thread is None:
            self._guarded(self._begin)  # Whatever ends from now on is told of.
            self._thread = Thread(target=self._run, name="stepwell-notifier", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Tell what there is to tell, for a bounded time, and end."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._over.set()
        thread.join(CLOSE_WITHIN_S)
        if thread.is_alive():
            self._abandoned.set()
            logger.warning("notifications are still under way; the next process goes on with them")

    # --- how ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._clock.wait(self._over, LOOK_S):
            self._guarded(self.run_once)
        # Once more: what has ended last is to be told of before the process is gone.
        if not self._abandoned.is_set():
            self._guarded(self.run_once)

    def _guarded(self, do: Callable[[], object]) -> None:
        try:
            do()
        except StepwellError as error:
            logger.warning("notifications wait: %s", error)
        except Exception:
            logger.exception("notifications wait")

    def _begin(self) -> None:
        if not self._begun:
            database = self._repository.database
            with database.read() as reader:
                new = table.find_new_channels(reader, self._channels)
            if new:
                database.run(lambda t: table.begin_channels(t, new))
            self._begun = True

    def _find(self) -> None:
        database, now = self._repository.database, self._clock.now()
        with database.read() as reader:
            found = [
                row
                for channel in self._channels
                for row in table.find_news(
                    reader,
                    channel,
                    partial(self.hears, channel),
                    now=now,
                    also_overdue=self._has_watched(),
                )
            ]
        if found:
            database.run(lambda t: table.insert_notifications(t, found))

    def _tell_in_turn(self) -> int:
        """One of each channel, again and again: a slow one takes its turn and no more."""
        told = tried = 0
        while not self._abandoned.is_set():
            before = tried
            for channel in self._channels:
                now = self._clock.now()
                with self._repository.database.read() as reader:
                    waiting = table.find_waiting(reader, channel, now=now)
                if waiting is not None:
                    tried += 1
                    told += self._tell(waiting)
            if tried == before:
                break
        return told

    def _has_watched(self) -> bool:
        """Whether a worker that started with this process had its time to fire what is overdue."""
        return self._clock.monotonic() - self._made_at >= WATCHED_S

    def _tell(self, waiting: Notification) -> bool:
        if self._abandoned.is_set():
            return False
        channel = self._channels[waiting.channel]
        database, now = self._repository.database, self._clock.now()
        pause = PAUSES_S[min(waiting.attempts, len(PAUSES_S) - 1)]
        # If this process dies while it tells, another one tries anew behind the pause.
        again_at = now + timedelta(seconds=pause + channel.timeout_s)
        if not database.run(
            lambda t: table.claim_notification(t, waiting, next_attempt_at=again_at)
        ):
            return False
        claimed = replace(waiting, attempts=waiting.attempts + 1)
        error = self._send(channel, claimed)
        if self._abandoned.is_set():
            return False  # The database is closed; whoever goes on tells it again.
        is_last = claimed.attempts >= channel.attempts
        database.run(
            lambda t: table.settle_notification(
                t,
                claimed,
                delivered_at=self._clock.now() if error is None else None,
                next_attempt_at=None if error is None or is_last else again_at,
                error=error,
            )
        )
        if error is not None:
            _log(claimed, error, channel.attempts, is_last=is_last)
        return error is None

    def _send(self, channel: ChannelSettings, claimed: Notification) -> str | None:
        """Tell it; what went wrong, or None."""
        try:
            send(channel, compose_message(claimed, self._repository), self._folder)
        except NotDelivered as error:
            return str(error)
        except DatabaseError:
            raise  # It is no attempt of the channel's.
        except Exception as error:
            logger.exception("notification %s cannot be told", claimed.notification_id)
            return f"a fault of Stepwell's: {type(error).__name__}"
        return None


def _log(claimed: Notification, error: str, attempts: int, *, is_last: bool) -> None:
    what = f"{claimed.job_name!r} {claimed.event}"
    if is_last:
        logger.error(
            "notification %s (%s) is given up: channel %r has failed %d times: %s",
            claimed.notification_id,
            what,
            claimed.channel,
            attempts,
            error,
        )
    else:
        logger.warning(
            "notification %s (%s) is tried again: channel %r: %s",
            claimed.notification_id,
            what,
            claimed.channel,
            error,
        )
