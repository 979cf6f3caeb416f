"""Where pushed changes lie until they are applied: on the disk, bounded, one file a push.

Guarantees: a body is never whole in memory; nothing of it is looked at before all of it is here. A
file that a push has left behind (the server was killed) is deleted a day later; until then the
import that it belongs to can be restarted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from stepwell.clock import Clock
from stepwell.database.durable import disk_refusal
from stepwell.errors import InvalidRequest, RequestTooLarge, TooManyRequests

AT_ONCE_MAX = 16  # So that the disk holds at most so many times the limit.
BLOCK_BYTES = 256 * 1024
IDLE_S = 30.0  # Then nothing more is expected of a connection.
SLOWEST_BYTES_PER_S = 1024  # A body that drips in holds a place.
KEPT_S = 24 * 3600
# A reader looks at the first bytes, so that a body lies here as it was sent.
ENCODINGS = ("", "identity", "gzip", "zstd")


class Inbox:
    """The folder of one node.

    Args:
        prefix: Of its files: several nodes may share a folder.
        bytes_max: Of one body, as it is sent.
    """

    def __init__(self, folder: Path, prefix: str, clock: Clock, *, bytes_max: int) -> None:
        self._folder = folder
        self._prefix = prefix
        self._clock = clock
        self._under_way = 0
        self.bytes_max = bytes_max

    @asynccontextmanager
    async def taken(self, request: Request) -> AsyncIterator[Path]:
        """Write a body to a file of its own, for this block; ``Hub.receive`` deletes it.

        Raises:
            RequestTooLarge: it is over the limit, or came too slowly.
            TooManyRequests: too many come at this moment.
            InvalidRequest: its encoding is unknown, or the connection was cut.
            DatabaseError: the disk refuses.
        """
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if encoding not in ENCODINGS:
            raise InvalidRequest(
                f"cannot read the body: its encoding is {encoding!r}",
                hint="send it as it is, or with `Content-Encoding: gzip`",
            )
        told = request.headers.get("content-length", "")
        if told.isdigit() and int(told) > self.bytes_max:
            raise self._too_large()
        if self._under_way >= AT_ONCE_MAX:
            raise TooManyRequests(
                "POST /sync/push", "many nodes push at this moment", retry_after_s=5
            )
        path = self._folder / f"{self._prefix}{self._clock.new_id()}.jsonl"
        self._under_way += 1  # Until it is applied, too: what waits for its turn lies here.
        try:
            try:
                await self._write(request, path)
            except BaseException:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                raise
            yield path
        finally:
            self._under_way -= 1

    async def _write(self, request: Request, path: Path) -> None:
        try:
            await run_in_threadpool(self._make_room)
            with path.open("xb") as file:
                block, size = bytearray(), 0
                begun_at = self._clock.monotonic()
                async for part in _parts(request):
                    size += len(part)
                    if size > self.bytes_max:
                        raise self._too_large()
                    took_s = self._clock.monotonic() - begun_at
                    if took_s > IDLE_S + size / SLOWEST_BYTES_PER_S:
                        raise _too_slow(f"{size} bytes in {took_s:.0f} s")
                    block += part
                    if len(block) >= BLOCK_BYTES:
                        await run_in_threadpool(file.write, bytes(block))
                        block.clear()
                await run_in_threadpool(file.write, bytes(block))
        except OSError as error:
            raise disk_refusal(error, "take the push") from error

    def _make_room(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept_since = self._clock.now().timestamp() - KEPT_S
        for path in self._folder.glob(f"{self._prefix}*"):
            with suppress(OSError):
                if path.stat().st_mtime < kept_since:
                    path.unlink()

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(
            f"cannot read the body: it is larger than {self.bytes_max} bytes",
            hint="push fewer changes at once; `stepwell sync push --url URL` does so by itself",
            fields={"bytes_max": self.bytes_max},
        )


async def _parts(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                part = await anext(stream, None)
        except TimeoutError:
            raise _too_slow(f"nothing came for {IDLE_S:g} s") from None
        except ClientDisconnect:
            raise InvalidRequest("cannot read the body: the connection was cut") from None
        if part is None:
            return
        yield part


def _too_slow(fact: str) -> RequestTooLarge:
    return RequestTooLarge(f"cannot read the body: it came too slowly, {fact}", hint="push again")
