"""Real processes, really killed (T1, T4, T5)."""
