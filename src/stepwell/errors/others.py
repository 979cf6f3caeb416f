"""Items, job files, the application's migrations, settings."""

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


class MigrationFailed(StepwellError):
    """A migration of the application's tables failed and was rolled back."""

    kind = Kind.USAGE


class SettingsError(StepwellError):
    """The settings are wrong; the message names the setting and where it stands."""

    kind = Kind.USAGE


class UnknownSetting(SettingsError):
    """A name in ``stepwell.toml`` or a ``STEPWELL_`` variable that no setting has."""


class InvalidSetting(SettingsError):
    """``<name> must be <rule>, got <value>``."""
