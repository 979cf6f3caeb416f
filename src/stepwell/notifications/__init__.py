"""TELLS people what has ended and what did not run: a command or a webhook of the settings."""

from stepwell.notifications.notifier import Notifier

__all__ = ["Notifier"]
