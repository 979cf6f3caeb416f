"""What every test may use; the fixtures themselves stand in the modules named here."""

import signal

from hypothesis import Phase, settings

from tests.cluster import cluster
from tests.postgresql import (
    _administrator,
    _emptied,
    _numbers,
    database_url,
    new_postgresql_database,
    postgresql_database_url,
    postgresql_url,
)

__all__ = [
    "_administrator",
    "_emptied",
    "_numbers",
    "cluster",
    "database_url",
    "new_postgresql_database",
    "postgresql_database_url",
    "postgresql_url",
]

# A slow machine is no failure; a failure prints what repeats it. To explain one, Hypothesis would
# trace every line of every example. `make test` tries the same examples each time, so that a
# change is judged by itself; `make test-all` looks for new ones.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
settings.register_profile("search", deadline=None, print_blob=True, phases=PHASES)
settings.register_profile("stepwell", settings.get_profile("search"), derandomize=True)
settings.load_profile("stepwell")

# A shell starts what it puts into the background with Ctrl-C ignored, and children inherit that:
# no test could press Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
