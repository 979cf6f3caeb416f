"""Where a hub is, and by which token this node shows there who it is.

Guarantees: a token is sent encrypted, or to this machine alone; it is in no message, no line of the
log, no parameter and no record.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from stepwell.errors import InvalidPeerUrl, NoSyncToken

_TOKEN_BYTES_MAX = 4096


@dataclass(frozen=True)
class Remote:
    """What the settings say of the hub, or a call instead of them.

    Attributes:
        url: Empty: there is none.
        token: Itself, or empty.
        token_file: Where it stands, relative to ``folder``, or empty.
        transit: Where changes lie on their way.
        folder: To which paths are relative.
    """

    url: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    transit: Path = Path("sync-transit")
    folder: Path = Path()

    def given(self, *, url: str = "", token_file: str = "") -> Remote:
        """With what a call says instead of the settings."""
        found = self if not url else replace(self, url=url)
        return found if not token_file else replace(found, token="", token_file=token_file)

    def read_token(self) -> str:
        """The token.

        Raises:
            NoSyncToken: none is given, or the file holds none.
        """
        if self.token.strip():
            return _require_token(self.token.strip(), "the setting sync_token")
        if not self.token_file:
            raise NoSyncToken(
                "cannot show the hub which node this is: no token is given",
                hint="set STEPWELL_SYNC_TOKEN or sync_token_file, or give `--token-file`; on the"
                " hub `stepwell token create NAME --role sync --node NODE` makes one",
            )
        path = self.folder / self.token_file
        try:
            text = path.read_bytes()[:_TOKEN_BYTES_MAX].decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            fact = error.strerror if isinstance(error, OSError) else "it is no text"
            raise NoSyncToken(
                f"cannot read the token in {str(path)!r}: {(fact or str(error)).lower()}",
                hint="it holds what `stepwell token create` has shown, and nothing else",
                fields={"file": str(path)},
            ) from None
        return _require_token(text, repr(str(path)))


@dataclass(frozen=True)
class Address:
    """A URL, taken apart.

    Attributes:
        shown: As messages show it.
        path: In front of the routes, without a slash at its end.
    """

    shown: str
    is_encrypted: bool
    host: str
    port: int
    path: str


def address_of(url: str) -> Address:
    """Where a hub answers.

    Raises:
        InvalidPeerUrl: it is no such URL, or a token would travel in the clear.
    """
    if not url:
        raise InvalidPeerUrl(
            "cannot exchange changes over HTTP: the hub's URL is not given",
            hint="set sync_url, or give `--url https://HOST:PORT`",
        )
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise _invalid("it is no URL", "") from None
    if parts.username is not None or parts.password is not None:
        raise _invalid("it holds a name or a password", "")
    if parts.scheme not in ("http", "https") or not host:
        raise _invalid("it must begin with https:// and name a host", url)
    if parts.query or parts.fragment or not url.isascii() or any(c <= " " for c in url):
        raise _invalid("it must end with the host, the port or a path", "")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise InvalidPeerUrl(
            f"cannot send a token to {url!r}: it is not encrypted, and not this machine",
            hint="use https://, see `--tls-cert` of `stepwell serve`, or a proxy with TLS",
            fields={"url": url},
        )
    is_encrypted = parts.scheme == "https"
    return Address(
        url.rstrip("/"),
        is_encrypted,
        host,
        port or (443 if is_encrypted else 80),
        parts.path.rstrip("/"),
    )


def _invalid(fact: str, url: str) -> InvalidPeerUrl:
    shown = f" {url!r}" if url else ""  # What may hold a secret is not repeated.
    return InvalidPeerUrl(
        f"cannot use the URL{shown} of the hub: {fact}",
        hint="for example https://head-office.example:9093",
    )


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _require_token(text: str, where: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise NoSyncToken(
            f"cannot use the token in {where}: it is empty, or more than one word",
            hint="it is what `stepwell token create NAME --role sync --node NODE` has shown",
        )
    return text
