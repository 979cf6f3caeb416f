"""Items, job files, locks, the application's migrations, settings."""

from __future__ import annotations

from stepwell.errors.error import Kind, StepwellError


class ItemError(StepwellError):
    """A ready-made reader or writer cannot do its work."""

    kind = Kind.USAGE


class ItemSourceMissing(ItemError):
    """A file or table that a reader or writer needs is not there."""

    kind = Kind.USAGE


class MalformedItem(ItemError):
    """One record of a source cannot be read; the message names file, line and column."""

    kind = Kind.USAGE


class JobFileUnreadable(StepwellError):
    """There is no such job file, it is a folder, or its name has no suffix of one."""

    kind = Kind.USAGE


class InvalidStateFile(StepwellError):
    """A ``state.json`` is no JSON or not of the shape that is read; nothing was recorded."""

    kind = Kind.USAGE


class StateAlreadyImported(StepwellError):
    """The same ``state.json`` was imported before; nothing was recorded again."""

    kind = Kind.CONFLICT

    def __init__(self, file: str, execution_id: int) -> None:
        super().__init__(
            f"cannot import state {file!r}: it is already imported (execution {execution_id})",
            hint=f"see what became of it with `stepwell status {execution_id}`",
            fields={"file": file, "execution_id": execution_id},
        )


class ClusterUnreachable(StepwellError):
    """No scheduler answers where a cluster should be; no partition has run."""

    kind = Kind.UNAVAILABLE


class LockError(StepwellError):
    """A lock was asked for in a way that can never work: no name, no mode, twice by one thread."""

    kind = Kind.USAGE


class LockHeld(LockError):
    """The lock did not become free in time, or its living owner is not to be robbed of it."""

    kind = Kind.CONFLICT


class LostLock(LockError):
    """The lock was taken from its owner, which was dead or robbed of it by force."""

    kind = Kind.CONFLICT

    def __init__(self, verb: str, name: str, fence: int, *, reason: str | None) -> None:
        super().__init__(
            f"cannot {verb} lock {name!r}: it is no more this owner's (fence {fence})"
            + (f", {reason}" if reason else ""),
            hint="others may have been at work meanwhile; `stepwell lock list` shows who has it",
            fields={"lock": name, "fence": fence, "reason": reason},
        )


class NoSuchLock(LockError):
    """Nobody has a lock of this name."""

    kind = Kind.NOT_FOUND

    def __init__(self, name: str) -> None:
        super().__init__(
            f"cannot find lock {name!r}: nobody has it",
            hint="`stepwell lock list` shows those that are held",
            fields={"lock": name},
        )


class MigrationFailed(StepwellError):
    """A migration of the application's tables failed and was rolled back."""

    kind = Kind.USAGE


class ChannelFailed(StepwellError):
    """A channel of the settings did not take a message; secrets of it are not repeated."""

    kind = Kind.UNAVAILABLE

    def __init__(self, channel: str, why: str) -> None:
        super().__init__(
            f"cannot tell channel {channel!r}: {why}",
            hint=f"correct [notify.{channel}] in the settings, or look at the receiver",
            fields={"channel": channel},
        )


class PlanChanged(StepwellError):
    """The doctor's plan is not the one that was read; nothing was repaired."""

    kind = Kind.CONFLICT

    def __init__(self, location: str, expected: str, actual: str) -> None:
        super().__init__(
            f"cannot repair database {location!r}: its plan is {actual} by now, not {expected}",
            hint="read it again with `stepwell doctor --plan`",
            fields={"database": location, "expected": expected, "plan": actual},
        )


class SettingsError(StepwellError):
    """The settings are wrong; the message names the setting and where it stands."""

    kind = Kind.USAGE


class UnknownSetting(SettingsError):
    """A name in ``stepwell.toml`` or a ``STEPWELL_`` variable that no setting has."""


class InvalidSetting(SettingsError):
    """``<name> must be <rule>, got <value>``."""
