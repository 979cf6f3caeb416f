"""Why each finding about the batch tables matters, and how it may have come about: one text a code.

``docs/doctor.md`` lists the same codes; a test compares.
"""

from __future__ import annotations

EXPLANATIONS = {
    "illegal_change": "The history holds a change of status that no rule allows. Stepwell refuses"
    " such a change, so another program wrote it. The row stays: the history is append-only.",
    "history_broken": "The changes of a job or step do not follow one another: a row was added or"
    " taken away behind Stepwell's back. The row stays: the history is append-only.",
    "history_disagrees": "A status and its history are written in one transaction, so somebody has"
    " changed the row by hand, or another program has. The history cannot be changed, so its end"
    " counts, unless the outputs tell otherwise.",
    "step_outlives_execution": "An execution that has ended has no running step: status and steps"
    " end in one transaction. Whoever changed the one forgot the other.",
    "partition_outlives_step": "The step has ended, one of its partitions has not. A restart"
    " would take it for one that is still being worked on.",
    "completed_without_results": "A COMPLETED step has a result for every partition. Without them"
    " its work is not done, and a restart would skip it.",
    "partition_counters": "Progress and result of a step are read from its counters; they are"
    " recorded with the results of its partitions and must equal them.",
    "partition_succeeded_twice": "A partition that has succeeded is never run again in the same"
    " plan. The work was done twice, or a row was copied.",
    "failed_without_reason": "Nobody can tell from the records why it failed. Stepwell records"
    " type, message and traceback with the status, so the status was set by other means.",
    "ended_without_exit_status": "Transitions of a restart match the exit status; without one they"
    " match nothing.",
    "runs_without_owner": "Only an owner can end what runs. Nobody works on this execution, and"
    " while it counts as running its instance cannot be started again.",
    "fences_disagree": "The fence keeps an owner that was taken for dead from writing. A fence"
    " ahead of its parent's would let one write that must not, or refuse one that may.",
    "current_step": "Faces show this step as the one at work.",
    "last_step": "Faces show this step as the last one that completed; a restart does not use it.",
    "result_disagrees": "The result is derived from the status and the partitions; monitoring and"
    " exit statuses of commands read it.",
    "times_disagree": "Create, start and end are in this order, whatever the clock does; durations"
    " would be negative.",
    "ran_after_completion": "A COMPLETED instance is not run again: the same work may have been"
    " done twice.",
    "request_left_open": "A request that nobody took before the end is marked late when the"
    " execution ends. Left open it would be read as one that still waits.",
    "partition_result_disagrees": "Whether a restart runs a partition again is decided by its"
    " result, which must fit its status.",
    "context_missing": "Each execution has a context, an empty one at first; a restart reads it.",
    "skips_not_counted": "Each skipped item is recorded with the counters of its chunk, so there"
    " are never more rows than were counted.",
    "registered_with_last_step": "An execution that waits for a worker has not begun. This one"
    " has done steps and says that it waits: an older program, or a hand, has put the status back"
    " without the rest.",
    "end_time_disagrees": "What has ended has an end time, and what runs has none; pages and"
    " indexes tell the two apart by it.",
    "unknown_result": "No rule knows this result, so the row cannot even be shown.",
    "shared_resource": "Two executions work on what each of them has declared for itself; one"
    " may overwrite what the other has written.",
    "shared_lock": "A lock that is held to write has one holder. Two that believe to have it may"
    " both write.",
    "stale_lock": "Whoever asks for the lock takes it over from a dead owner by itself; until then"
    " it looks as if it were held.",
    "orphan": "A row names another one that is not there: deleted by a program that has foreign"
    " keys off, such as the sqlite3 shell, or brought by a table that was restored alone.",
    "dead_owner": "The process that ran it has ended without recording an end: it was killed, or"
    " the machine went down. Nothing is lost; until it is recovered it cannot be started again.",
    "owner_not_ended": "A process was killed that ran nothing. It keeps nobody from anything.",
    "no_progress": "The process lives and commits nothing. It may wait for something, hang, or"
    " have one very long piece of work.",
    "never_runs": "It was registered, and later its instance was run by other means. A worker"
    " would run the same work a second time, or refuse it for ever.",
    "unknown_job": "Only a worker that knows the job can run it; this one does not. Another"
    " machine's worker may.",
    "pool_closed": "Whatever names this pool waits until it has a size. Somebody has paused it, or"
    " it was never made: `[pools]` in the settings and `stepwell pool set` make one.",
    "future_timestamp": "A clock ran ahead, this machine's or another one's. New records are set"
    " behind the last one, so they would all bear the time in the future.",
    "two_running": "An index keeps two executions of an instance, or of a run lock, from running"
    " at once. It must have been missing; see `missing_index`.",
    "purge_open": "A purge puts a row there and takes it away in one transaction. Left there it"
    " lets anybody delete the history of that execution.",
    "schedule_overdue": "A worker that knows the job starts what is due; none was there, or none"
    " could.",
    "schedule_skipped": "While no worker was there a run was left out, as the schedule's way to"
    " catch up says.",
    "schedule_never_due": "Its times all lie in the past, so it does nothing any more.",
    "schedule_ahead_of_clock": "Nothing is started before that time has come.",
    "scheduled_run_waits": "It was due and registered, and no worker has taken it: none runs, none"
    " knows the job, or what it needs is in use.",
    "notification_not_delivered": "Somebody should have been told, and the channel took nothing as"
    " often as it was tried. It is not tried again; after a week it is forgotten.",
    "unknown_status": "No rule knows this status, so nothing can be done with the execution.",
}
