"""The command line through its own door: the console script, in real processes, on real files."""
