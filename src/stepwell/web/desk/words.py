"""What a form has done, as the page says that follows it; and where a finding is seen."""

DONE = {
    "asked_to_end": "It is asked to end. It is gone from this list when it has.",
    "asked_to_stop": "It is asked to stop: after its chunk if it runs, else it leaves the queue.",
    "backup_created": "The backup is made and checked.",
    "dropped": "It is given up: its effect never comes here. What waited behind it was tried.",
    "nothing_to_recover": "Nothing was to be recovered: no owner of what runs is dead.",
    "pool_set": "The pool has its new size, at once and for every process.",
    "priority_set": "Its priority is changed.",
    "recovered": "What the dead have left is marked FAILED.",
    "registered": "It is registered. A worker takes it when its turn comes.",
    "released": "The lock is released. Who had it is told so at its next word.",
    "reopened": "The conflict waits for a person again. Its row stays as it is until then.",
    "resolved": "The conflict is resolved. What was chosen travels to all nodes.",
    "retried": "It was tried again, and is applied.",
    "retried_all": "All were tried again. Those that are still listed wait.",
    "schedule_paused": "The schedule is paused: it starts nothing until it is resumed.",
    "schedule_removed": "The schedule is gone. What it has started stays.",
    "schedule_resumed": "The schedule goes on. What was due meanwhile is not caught up.",
    "still_waits": "It was tried again, and still waits; below stands why.",
}

# Where a finding is seen, and mostly settled, without the command line.
PLACES = {
    "capture_incomplete": ("/sync", "the tables"),
    "conflicts_wait": ("/conflicts?status=waiting", "the conflicts"),
    "dead_owner": ("/owners", "the owners"),
    "owner_not_ended": ("/owners", "the owners"),
    "pool_closed": ("/pools", "the pools"),
    "quarantine_waits": ("/quarantine", "the quarantine"),
    "schedule_ahead_of_clock": ("/schedules", "the schedules"),
    "schedule_never_due": ("/schedules", "the schedules"),
    "schedule_overdue": ("/schedules", "the schedules"),
    "schedule_skipped": ("/schedules", "the schedules"),
    "scheduled_run_waits": ("/queue", "the queue"),
    "shared_lock": ("/locks", "the locks"),
    "stale_lock": ("/locks", "the locks"),
}
