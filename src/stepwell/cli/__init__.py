"""The command line: one file a noun; ``output.py`` owns every print and every exit code."""
