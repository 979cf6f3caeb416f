"""Ready-made readers and writers for chunk steps: iterables, text, CSV and JSON Lines files, SQL.

Every reader goes on behind its checkpoint (S94) and behind a faulty record, so that a fault can be
skipped. Every file writer cuts its file back to the checkpoint. A value holds configuration only;
what ``open`` sets belongs to one step execution.
"""

from stepwell.items.csv_reader import CsvReader
from stepwell.items.csv_writer import CsvWriter
from stepwell.items.iterable import IterableReader
from stepwell.items.json_lines import JsonLinesReader, JsonLinesWriter
from stepwell.items.lines import LinesReader, LinesWriter
from stepwell.items.sql_reader import SqlReader
from stepwell.items.sql_writer import SqlWriter

__all__ = [
    "CsvReader",
    "CsvWriter",
    "IterableReader",
    "JsonLinesReader",
    "JsonLinesWriter",
    "LinesReader",
    "LinesWriter",
    "SqlReader",
    "SqlWriter",
]
