"""What is on disk: the only place where SQLite and PostgreSQL differ."""
