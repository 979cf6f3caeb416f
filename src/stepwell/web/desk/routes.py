"""The operator's pages, put together."""

from __future__ import annotations

from stepwell.web.desk import backups, conflicts, doctor, holdings, queue, schedules, sync

PAGES = (queue, holdings, schedules, sync, conflicts, doctor, backups)
