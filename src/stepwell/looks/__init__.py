"""Looks: what every face shows, read from what is committed, and its one form as JSON."""
