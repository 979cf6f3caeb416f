"""Carries committed changes between nodes, exactly once; ``DESIGN.md`` says how and why."""
