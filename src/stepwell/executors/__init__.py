"""Where partitions run, each a ``concurrent.futures.Executor``; threads are the standard library's.

An executor runs functions that are named by import path, with plain values; what they are, and what
becomes of their answers, it does not know.
"""
