"""The hub's routes: changes are pulled and pushed as the lines of a file, whole or torn.

Guarantees: a token of role ``sync`` speaks for its own node alone; whatever is given or taken is
recorded as an exchange of files is; no transaction is open while the network is waited for.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from stepwell.errors import BehindHorizon, InvalidLsn, WrongNode
from stepwell.web.auth import Caller
from stepwell.web.documents import ID_MAX
from stepwell.web.face import Asked, SyncNode, problems
from stepwell.web.hub import Hub
from stepwell.web.questions import Json

router = APIRouter(tags=["sync"])

LINES = "application/x-ndjson"
COMPRESSION = 6

_LINES = {
    "description": "The lines of a file of changes; without its last line it is torn.",
    "content": {LINES: {"schema": {"type": "string"}}},
}
_BODY = {
    "requestBody": {
        "content": {LINES: {"schema": {"type": "string"}}},
        "description": "A file of changes, as it is or with `Content-Encoding: gzip`.",
        "required": True,
    }
}
_REFUSALS = problems(404, 409, 413, 422, 429)


def hub_of(request: Request) -> Hub:
    """The hub of the application that was asked."""
    hub = request.app.state.hub
    assert isinstance(hub, Hub)
    return hub


AskedHub = Annotated[Hub, Depends(hub_of)]
ClientId = Annotated[
    str | None, Query(description="The node that asks; that of the token unless given.")
]
FromLsn = Annotated[
    int | None, Query(ge=1, le=ID_MAX, description="From here on; else behind what it has.")
]
Limit = Annotated[
    int | None,
    Query(ge=1, le=ID_MAX, description="About so many changes; to the end of a transaction."),
]


@router.get("/sync/status", responses=_REFUSALS)
def status(
    face: Asked,
    caller: SyncNode,
    client_id: ClientId = None,
    from_lsn: FromLsn = None,
) -> Json:
    """Where this node stands, and how far the one that asks has come."""
    client = _client(caller, "GET /sync/status", client_id)
    sync = face.node.sync
    node = sync.status().node
    received, sent = sync.state(client, "in"), sync.state(client, "out")
    has_lsn = 0 if sent is None else sent.last_lsn
    after = has_lsn if from_lsn is None else from_lsn - 1
    return {
        "node": node.node_id,
        "is_main": node.is_main,
        "epoch": node.epoch,
        "last_lsn": node.last_lsn,
        "horizon_lsn": node.horizon_lsn,
        "client_id": client,
        "next_lsn": (0 if received is None else received.last_lsn) + 1,
        "peer_epoch": 0 if received is None else received.peer_epoch,
        "acknowledged_lsn": has_lsn,
        "pull_is_due": sync.holds_for(client, after_lsn=after),
        "push_bytes_max": face.node.settings.sync_push_bytes_max,
    }


@router.get(
    "/sync/pull",
    responses={**problems(404, 409, 410, 422, 429), 200: _LINES},
    response_class=StreamingResponse,
)
def pull(
    request: Request,
    face: Asked,
    caller: SyncNode,
    client_id: ClientId = None,
    from_lsn: FromLsn = None,
    limit: Limit = None,
) -> StreamingResponse:
    """The changes that a node lacks, as the lines of a file. Asked again, they come again.

    What it has it says in what it pushes; nothing else moves how far it has come.
    """
    client = _client(caller, "GET /sync/pull", client_id)
    since = None if from_lsn is None else from_lsn - 1
    sync = face.node.sync
    try:
        meta = sync.prepare_export(client=client, since=since, changes_max=limit)
    except BehindHorizon as error:
        error.hint = (
            "begin anew: push what was not sent yet (`stepwell sync push`), then on the hub"
            " `stepwell sync bootstrap --to FILE`, and `stepwell sync bootstrap --from FILE` here"
        )
        raise
    except InvalidLsn as error:
        error.hint = "was the hub restored from a copy? `stepwell sync rejoin` there"
        raise
    blocks: Iterable[bytes] = sync.stream_export(meta, to=f"node {client} over HTTP")
    headers = {
        "Stepwell-From-Lsn": str(meta.from_lsn),
        "Stepwell-To-Lsn": str(meta.to_lsn),
        "Stepwell-Last-Lsn": str(sync.node().last_lsn),
        "Vary": "Accept-Encoding",
    }
    if _takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        blocks = _compressed(blocks)
    return StreamingResponse(blocks, headers=headers, media_type=LINES)


@router.post("/sync/push", responses=_REFUSALS, openapi_extra=_BODY)
async def push(request: Request, hub: AskedHub, caller: SyncNode) -> Json:
    """Apply the changes of a node; the answer says what became of them.

    The whole body is read first, so that one that was cut changes nothing. A conflict or a
    transaction that waits in quarantine is no refusal. The same push again changes nothing.
    """
    _client(caller, "POST /sync/push", None)
    inbox = await run_in_threadpool(lambda: hub.inbox)
    async with inbox.taken(request) as file:
        report: dict[str, Any] = await run_in_threadpool(hub.receive, caller, file)
    return report


def _client(caller: Caller, request: str, client_id: str | None) -> str:
    """The node that asks.

    Raises:
        WrongNode: the token stands for another one.
    """
    if client_id not in (None, caller.node):
        raise WrongNode(
            f"cannot answer {request}: token {caller.name!r} stands for node {caller.node!r},"
            f" not for {client_id!r}",
            hint=f"`stepwell token create NAME --role sync --node {client_id}` makes one that does",
            fields={"token": caller.name, "node": caller.node, "client_id": client_id},
        )
    return caller.node


def _takes_gzip(request: Request) -> bool:
    for told in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = told.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _compressed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(COMPRESSION, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for block in blocks:
        packed = packer.compress(block)
        if packed:
            yield packed
    yield packer.flush()
