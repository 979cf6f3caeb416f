"""What every test may use; the fixtures themselves stand in the modules named here."""

from hypothesis import settings

from tests.postgresql import (
    _administrator,
    _numbers,
    database_url,
    new_postgresql_database,
    postgresql_database_url,
    postgresql_url,
)

__all__ = [
    "_administrator",
    "_numbers",
    "database_url",
    "new_postgresql_database",
    "postgresql_database_url",
    "postgresql_url",
]

# A slow machine is no failure; a failure prints what repeats it.
settings.register_profile("stepwell", deadline=None, print_blob=True)
settings.load_profile("stepwell")
