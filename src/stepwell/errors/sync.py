"""The change log: nodes, capture, files, conflicts."""

from __future__ import annotations

from stepwell.errors.error import Kind, StepwellError


class SyncError(StepwellError):
    """What the change log refuses; nothing was written."""


class NoSyncNode(SyncError):
    """The database takes part in no sync yet."""

    kind = Kind.CONFLICT

    def __init__(self, location: str) -> None:
        super().__init__(
            f"cannot sync database {location!r}: it is no node yet",
            hint="`stepwell sync init --node NAME`",
            fields={"database": location},
        )


class SyncNodeExists(SyncError):
    """``init`` of a database that is another node."""

    kind = Kind.CONFLICT


class InvalidNodeId(SyncError):
    """A node's id has letters, digits, ``-`` and ``_`` alone."""

    kind = Kind.USAGE


class CannotTrack(SyncError):
    """A table cannot be captured: it has no key, it is a view, …; the message says why."""

    kind = Kind.USAGE


class TableNotTracked(SyncError):
    """The table is not captured here."""

    kind = Kind.NOT_FOUND


class NoSuchRow(SyncError):
    """No node that is heard of here has ever written the row."""

    kind = Kind.NOT_FOUND


class InvalidKey(SyncError):
    """What is given is no key of the table."""

    kind = Kind.USAGE


class CaptureBroken(SyncError):
    """The triggers of a table are not those of its columns: changes may have been missed."""

    kind = Kind.CONFLICT


class NoSuchBundle(SyncError):
    """There is no such file of changes, or it is a folder."""

    kind = Kind.NOT_FOUND


class BundleExists(SyncError):
    """A file of that name is there already."""

    kind = Kind.CONFLICT


class ForeignFile(SyncError):
    """It is some other file."""

    kind = Kind.USAGE


class BundleTooNew(SyncError):
    """A newer release has written it, in a format that this one does not know."""

    kind = Kind.CORRUPT


class BundleTorn(SyncError):
    """Its end, or one of its parts, is not there."""

    kind = Kind.CORRUPT


class BundleDamaged(SyncError):
    """A line is not what was written; the message says which."""

    kind = Kind.CORRUPT


class BundleTooLarge(SyncError):
    """A line, or what a compressed file expands to, is over the limit."""

    kind = Kind.USAGE


class CompressionMissing(SyncError):
    """No module for this compression is installed."""

    kind = Kind.USAGE


class InvalidPolicy(SyncError):
    """A table cannot be decided by this policy; the message says what is wrong with it."""

    kind = Kind.USAGE


class GroupMissing(SyncError):
    """Groups of a node are missing between what is here and what came."""

    kind = Kind.CONFLICT


class HistoryForked(SyncError):
    """Two different groups have one name: a database was copied, or restored, and went on."""

    kind = Kind.CONFLICT


class NodeRestored(SyncError):
    """Others have groups of this node that it does not know: it was restored from a copy."""

    kind = Kind.CONFLICT


class ImportRefused(SyncError):
    """A file that is whole cannot be imported here as it is; the message says why."""

    kind = Kind.CONFLICT


class NoSuchConflict(SyncError):
    """There is no conflict of this id."""

    kind = Kind.NOT_FOUND


class NoSuchQuarantine(SyncError):
    """There is no quarantined group of this id."""

    kind = Kind.NOT_FOUND


class CannotResolve(SyncError):
    """A conflict, or a quarantined group, is not in a state for this; the message says which."""

    kind = Kind.CONFLICT


class NoSuchPeer(SyncError):
    """No node of this name is known here."""

    kind = Kind.NOT_FOUND


class InvalidPeer(SyncError):
    """A node is no peer of its own."""

    kind = Kind.USAGE


class PeerRetired(SyncError):
    """The peer was given up: nothing is kept for it."""

    kind = Kind.CONFLICT


class InvalidPeerUrl(SyncError):
    """The address of a hub is none, or a token would travel to it in the clear."""

    kind = Kind.USAGE


class NoSyncToken(SyncError):
    """There is no token by which this node could show at a hub who it is."""

    kind = Kind.USAGE


class PeerUnreachable(SyncError):
    """A hub does not answer, or answers that it cannot now; it was tried several times."""

    kind = Kind.UNAVAILABLE


class PeerRefused(SyncError):
    """A hub has refused what was asked, or is none; trying again would not help."""

    kind = Kind.CONFLICT


class BehindHorizon(SyncError):
    """What is asked for was pruned from the log."""

    kind = Kind.CONFLICT


class InvalidLsn(SyncError):
    """The log has not come so far."""

    kind = Kind.USAGE


class CannotBootstrap(SyncError):
    """A snapshot does not fit this node, or changes of its own would be lost."""

    kind = Kind.CONFLICT
