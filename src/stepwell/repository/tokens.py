"""Tokens of the web face: a name, a role, and the hash of a secret that is shown once.

Guarantees: the secret is stored nowhere; it has 244 random bits, so that a plain SHA-256 is enough
and a look-up by the hash tells a guesser nothing. A name is never given twice.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, insert, select, update

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_token
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import ConstraintViolation, InvalidRequest, NoSuchToken, TokenExists

VIEWER, OPERATOR, SYNC = "viewer", "operator", "sync"
ROLES = (VIEWER, OPERATOR, SYNC)
PREFIX = "stepwell_"  # So that a scanner of secrets knows one.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_t = batch_token.c
_COLUMNS = (_t.token_id, _t.name, _t.role, _t.node, _t.created_at, _t.expires_at, _t.revoked_at)

INSERT_TOKEN = Prepared(
    insert(batch_token).values(
        {
            _t[name]: bindparam(name)
            for name in ("name", "role", "node", "hash", "created_at", "expires_at")
        }
    )
)
LIST_TOKENS = Prepared(select(*_COLUMNS).order_by(_t.name))
FIND_TOKEN = Prepared(select(_t.hash, *_COLUMNS).where(_t.hash == bindparam("hash_")))
GET_TOKEN = Prepared(select(*_COLUMNS).where(_t.name == bindparam("name_")))
REVOKE_TOKEN = Prepared(
    update(batch_token)
    .where(_t.name == bindparam("name_"), _t.revoked_at.is_(None))
    .values(revoked_at=bindparam("at_"))
)


@dataclass(frozen=True)
class Token:
    """A token as it is recorded.

    Attributes:
        node: The sync node that it stands for; None for people and programs.
    """

    token_id: int
    name: str
    role: str
    node: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, at: datetime) -> bool:
        """Whether it opens anything at this time."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


def create_token(
    database: Database,
    clock: Clock,
    name: str,
    role: str,
    *,
    node: str | None = None,
    expires_at: datetime | None = None,
) -> str:
    """Record a token; the secret is the answer, and nobody can ask for it again.

    One of role ``sync`` stands for a ``node``, whose changes alone it exchanges; no other does.

    Raises:
        InvalidRequest: the name, the role or the node cannot be one.
        TokenExists: the name has been given before.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"cannot create token {name!r}: a name must be 1 to 64 letters, digits, '.', '_', '-'",
            hint="for example `stepwell token create night-shift`",
            fields={"token": name},
        )
    if role not in ROLES:
        raise InvalidRequest(
            f"cannot create token {name!r}: a role must be {', '.join(ROLES)}, got {role!r}",
            hint="viewer looks, operator starts and stops, sync exchanges changes",
            fields={"role": role},
        )
    if (role == SYNC) != bool(node):
        raise InvalidRequest(
            f"cannot create token {name!r}: "
            + ("one of role 'sync' needs the node that it stands for" if role == SYNC else "")
            + (f"one of role {role!r} stands for no node" if role != SYNC else ""),
            hint=f"`stepwell token create {name} --role sync --node shop-1`",
            fields={"role": role, "node": node},
        )
    secret = f"{PREFIX}{clock.new_id()}{clock.new_id()}"
    values = {
        "name": name,
        "role": role,
        "node": node,
        "hash": _hash(secret),
        "created_at": clock.now(),
        "expires_at": expires_at,
    }

    def fact(transaction: Transaction) -> None:
        if transaction.fetch_one(GET_TOKEN, {"name_": name}) is not None:
            raise TokenExists(name)
        transaction.execute(INSERT_TOKEN, values)

    try:
        database.run(fact)
    except ConstraintViolation:
        raise TokenExists(name) from None  # Somebody took the name at the same moment.
    return secret


def list_tokens(reader: Reader) -> list[Token]:
    """Every token by name, the revoked ones too."""
    return [Token(*row) for row in reader.fetch_all(LIST_TOKENS)]


def revoke_token(database: Database, clock: Clock, name: str) -> Token:
    """Have a token open nothing any more; a second time changes nothing.

    Raises:
        NoSuchToken: nobody has this name.
    """

    def fact(transaction: Transaction) -> Token:
        transaction.execute(REVOKE_TOKEN, {"name_": name, "at_": clock.now()})
        row = transaction.fetch_one(GET_TOKEN, {"name_": name})
        if row is None:
            raise NoSuchToken(name)
        return Token(*row)

    return database.run(fact)


def find_token(reader: Reader, secret: str) -> Token | None:
    """The token of this secret, valid or not; None when nobody has it."""
    hashed = _hash(secret)
    row = reader.fetch_one(FIND_TOKEN, {"hash_": hashed})
    if row is None or not hmac.compare_digest(str(row[0]), hashed):
        return None
    return Token(*row[1:])


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
