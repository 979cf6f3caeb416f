"""Remembers what ran: the only door to the ``batch_*`` tables.

``repository.py`` offers whole facts, one transaction each; the modules beside it hold the
statements of one table or one question, and run inside a transaction that their caller opened.
"""
