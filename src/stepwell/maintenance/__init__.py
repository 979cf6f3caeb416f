"""Maintenance is made of jobs: what cares for the database runs, waits and is recorded like any."""
