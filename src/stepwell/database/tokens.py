"""The tokens of SQL, as far as Stepwell must tell them apart: it never parses more than this.

Named groups tell the kind: quoted text, a comment, a cast or assignment, a ``:name``, a word, the
end of a statement, space, anything else.
"""

from __future__ import annotations

import re

_TOKENS = r"""
      (?P<quoted> [eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | {quoted} )
    | (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<cast> :: | := )
    | :(?P<name> [^\W\d]\w* )
    | (?P<word> [^\W\d][\w$]* )
    | (?P<end> ; )
    | (?P<space> \s+ )
    | (?P<other> . )
"""
_BRACKETS = r"`(?:[^`]|``)*` | \[[^\]]*\]"
_DOLLARS = r"\$(?P<tag>\w*)\$.*?\$(?P=tag)\$"
_FLAGS = re.VERBOSE | re.DOTALL
SQLITE_TOKEN = re.compile(_TOKENS.format(quoted=_BRACKETS), _FLAGS)
POSTGRESQL_TOKEN = re.compile(_TOKENS.format(quoted=_DOLLARS), _FLAGS)
# A file of statements may be for either database.
SCRIPT_TOKEN = re.compile(_TOKENS.format(quoted=f"{_BRACKETS} | {_DOLLARS}"), _FLAGS)
