"""For the tests of your own jobs: run them, stop the clock, crash them at chosen points.

- :func:`run_job` and :func:`run_step` run on a temporary database and answer what was recorded.
- :func:`assert_restart_equivalent` ends a job at every statement and restarts it: the tables must
  be those of an undisturbed run.
- :class:`FrozenClock`, given to ``Node.open(clock=…)``: every time is chosen, nothing sleeps.
- :class:`WarmParent` runs a function in a child process that is forked from a warm parent, and ends
  it as a crash would, before or after any SQL statement (:class:`KillPoint`).
- :func:`each_statement` calls you before and after every statement of this process.

What a child calls is named by import path and takes JSON: it shares no object with the test.
"""

from stepwell.testing.frozen_clock import FrozenClock
from stepwell.testing.jobs import JobRun, run_job, run_step, temporary_node
from stepwell.testing.restart import assert_restart_equivalent
from stepwell.testing.statements import KillPoint, each_statement, kill_at, kill_points
from stepwell.testing.warm_parent import Child, Ended, WarmParent

__all__ = [
    "Child",
    "Ended",
    "FrozenClock",
    "JobRun",
    "KillPoint",
    "WarmParent",
    "assert_restart_equivalent",
    "each_statement",
    "kill_at",
    "kill_points",
    "run_job",
    "run_step",
    "temporary_node",
]
