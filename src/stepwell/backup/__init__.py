"""Copies of a database: made while it is used, proven, kept for a time, put back. See DESIGN.md."""
