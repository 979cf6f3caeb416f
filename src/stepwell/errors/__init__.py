"""Every exception of Stepwell, drawn as a tree.

::

    StepwellError
    ├── BatchError                       the batch rules; all children are direct (S176)
    │   ├── JobStartError                ├── NoSuchJob
    │   ├── JobRestartError              ├── NoSuchJobInstance
    │   ├── JobInstanceAlreadyComplete   ├── NoSuchJobExecution
    │   ├── JobExecutionAlreadyComplete  ├── OptimisticLockingFailure
    │   ├── JobExecutionAlreadyRunning   ├── LostOwnership
    │   ├── JobExecutionIsRunning        ├── IllegalTransition
    │   ├── JobExecutionNotRunning       ├── ValueNotJson
    │   ├── JobExecutionNotMostRecent    ├── ContextTooLarge
    │   ├── StepUsageError               ├── PartitionsFailed
    │   ├── StartLimitExceeded           ├── JobFlowFailed
    │   ├── JobExecutionBlocked          ├── JobSecurityError
    │   ├── InvalidSchedule              ├── NoSuchSchedule
    │   ├── ScheduleAlreadyExists        ├── ScheduleInSettings
    │   ├── NoSuchOwner                  ├── OwnerHasEnded
    │   └── IdempotencyKeyUsed
    ├── DatabaseError                    what the database answered
    │   ├── CannotOpenDatabase           ├── DatabaseBusy
    │   ├── UnsafeFilesystem             ├── DatabaseFull
    │   ├── WalUnavailable               ├── DatabaseReadOnly
    │   ├── SchemaTooNew                 ├── DatabaseDamaged
    │   ├── ConstraintViolation          ├── ConnectionLost
    │   ├── StatementFailed              ├── TransactionEnded
    │   ├── StatementRefused             └── DatabaseMoved
    ├── ItemError                        the ready-made readers and writers
    │   ├── ItemSourceMissing            └── MalformedItem
    ├── JobFileUnreadable                a job file that is not there, or is none
    ├── ClusterUnreachable               no scheduler of a cluster answers
    ├── LockError                        named locks
    │   ├── LockHeld                     ├── NoSuchLock
    │   └── LostLock
    ├── SyncError                        the change log
    │   ├── NoSyncNode                 ├── CannotTrack
    │   ├── SyncNodeExists               ├── TableNotTracked
    │   ├── InvalidNodeId                ├── CaptureBroken
    │   ├── NoSuchBundle                 ├── BundleTorn
    │   ├── BundleExists                 ├── BundleDamaged
    │   ├── ForeignFile                  ├── BundleTooLarge
    │   ├── BundleTooNew                 ├── CompressionMissing
    │   ├── InvalidPolicy                ├── GroupMissing
    │   ├── NoSuchConflict               ├── HistoryForked
    │   ├── NoSuchQuarantine             ├── NodeRestored
    │   ├── CannotResolve                ├── NoSuchPeer
    │   ├── BehindHorizon                ├── InvalidPeer
    │   ├── InvalidLsn                   ├── PeerRetired
    │   ├── InvalidPeerUrl               ├── PeerUnreachable
    │   ├── NoSyncToken                  ├── PeerRefused
    │   ├── CannotBootstrap              ├── ImportRefused
    │   └── NoSuchRow                    └── InvalidKey
    ├── MigrationFailed                  the application's own migrations
    ├── BackupError                      copies of a database
    │   ├── NoSuchBackup                 ├── BackupUnproven
    │   ├── BackupExists                 ├── BackupDamaged
    │   ├── BackupUnderWay               ├── ManifestTooNew
    │   ├── DatabaseInUse                ├── CopyRefused
    │   └── CopyDiffers
    ├── WebError                         the web face and its tokens
    │   ├── InvalidRequest             ├── TokenRequired
    │   ├── RequestTooLarge            ├── RoleRequired
    │   ├── CannotServe                ├── NoSuchToken
    │   ├── WrongNode                  ├── TooManyRequests
    │   └── TokenExists
    ├── ChannelFailed                    a notification that was not taken
    ├── PlanChanged                      the doctor's
    ├── InvalidStateFile                 an older program's state.json
    ├── StateAlreadyImported
    └── SettingsError
        ├── UnknownSetting               └── InvalidSetting

Each error carries a stable ``code``, a ``kind`` (what the caller can do about it), a ``hint`` (the
next command) and ``fields``; a face renders them and adds nothing. The grammar of a message is
``cannot <verb> <noun> <id>: <the fact that decides, with its value>``.
"""

from __future__ import annotations

from stepwell.errors.backup import (
    BackupDamaged,
    BackupError,
    BackupExists,
    BackupUnderWay,
    BackupUnproven,
    CopyDiffers,
    CopyRefused,
    DatabaseInUse,
    ManifestTooNew,
    NoSuchBackup,
)
from stepwell.errors.batch import (
    BatchError,
    ContextTooLarge,
    IdempotencyKeyUsed,
    IllegalTransition,
    JobExecutionAlreadyComplete,
    JobExecutionAlreadyRunning,
    JobExecutionBlocked,
    JobExecutionIsRunning,
    JobExecutionNotMostRecent,
    JobExecutionNotRunning,
    JobFlowFailed,
    JobInstanceAlreadyComplete,
    JobRestartError,
    JobSecurityError,
    JobStartError,
    LostOwnership,
    NoSuchJob,
    NoSuchJobExecution,
    NoSuchJobInstance,
    NoSuchOwner,
    OptimisticLockingFailure,
    OwnerHasEnded,
    PartitionsFailed,
    StartLimitExceeded,
    StepUsageError,
    ValueNotJson,
)
from stepwell.errors.database import (
    CannotOpenDatabase,
    ConnectionLost,
    ConstraintViolation,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFull,
    DatabaseMoved,
    DatabaseReadOnly,
    SchemaTooNew,
    StatementFailed,
    StatementRefused,
    TransactionEnded,
    UnsafeFilesystem,
    WalUnavailable,
)
from stepwell.errors.error import (
    Kind,
    StepwellError,
)
from stepwell.errors.others import (
    ChannelFailed,
    ClusterUnreachable,
    InvalidSetting,
    InvalidStateFile,
    ItemError,
    ItemSourceMissing,
    JobFileUnreadable,
    LockError,
    LockHeld,
    LostLock,
    MalformedItem,
    MigrationFailed,
    NoSuchLock,
    PlanChanged,
    SettingsError,
    StateAlreadyImported,
    UnknownSetting,
)
from stepwell.errors.schedules import (
    InvalidSchedule,
    NoSuchSchedule,
    ScheduleAlreadyExists,
    ScheduleInSettings,
)
from stepwell.errors.sync import (
    BehindHorizon,
    BundleDamaged,
    BundleExists,
    BundleTooLarge,
    BundleTooNew,
    BundleTorn,
    CannotBootstrap,
    CannotResolve,
    CannotTrack,
    CaptureBroken,
    CompressionMissing,
    ForeignFile,
    GroupMissing,
    HistoryForked,
    ImportRefused,
    InvalidKey,
    InvalidLsn,
    InvalidNodeId,
    InvalidPeer,
    InvalidPeerUrl,
    InvalidPolicy,
    NodeRestored,
    NoSuchBundle,
    NoSuchConflict,
    NoSuchPeer,
    NoSuchQuarantine,
    NoSuchRow,
    NoSyncNode,
    NoSyncToken,
    PeerRefused,
    PeerRetired,
    PeerUnreachable,
    SyncError,
    SyncNodeExists,
    TableNotTracked,
)
from stepwell.errors.web import (
    CannotServe,
    InvalidRequest,
    NoSuchToken,
    RequestTooLarge,
    RoleRequired,
    TokenExists,
    TokenRequired,
    TooManyRequests,
    WebError,
    WrongNode,
)

__all__ = [
    "Kind",
    "StepwellError",
    "BatchError",
    "ContextTooLarge",
    "IllegalTransition",
    "JobExecutionAlreadyComplete",
    "JobExecutionAlreadyRunning",
    "JobExecutionBlocked",
    "JobExecutionIsRunning",
    "JobExecutionNotMostRecent",
    "JobExecutionNotRunning",
    "JobFlowFailed",
    "JobInstanceAlreadyComplete",
    "JobRestartError",
    "JobSecurityError",
    "JobStartError",
    "LostOwnership",
    "IdempotencyKeyUsed",
    "NoSuchJob",
    "NoSuchJobExecution",
    "NoSuchJobInstance",
    "NoSuchOwner",
    "OptimisticLockingFailure",
    "OwnerHasEnded",
    "PartitionsFailed",
    "StartLimitExceeded",
    "StepUsageError",
    "ValueNotJson",
    "CannotOpenDatabase",
    "ConnectionLost",
    "ConstraintViolation",
    "DatabaseBusy",
    "DatabaseDamaged",
    "DatabaseError",
    "DatabaseFull",
    "DatabaseReadOnly",
    "SchemaTooNew",
    "StatementFailed",
    "StatementRefused",
    "DatabaseMoved",
    "TransactionEnded",
    "UnsafeFilesystem",
    "WalUnavailable",
    "BackupError",
    "NoSuchBackup",
    "BackupExists",
    "BackupUnderWay",
    "BackupUnproven",
    "BackupDamaged",
    "ManifestTooNew",
    "DatabaseInUse",
    "CopyRefused",
    "CopyDiffers",
    "ChannelFailed",
    "InvalidSetting",
    "ItemError",
    "ItemSourceMissing",
    "JobFileUnreadable",
    "LockError",
    "LockHeld",
    "LostLock",
    "NoSuchLock",
    "InvalidStateFile",
    "StateAlreadyImported",
    "MalformedItem",
    "MigrationFailed",
    "PlanChanged",
    "SettingsError",
    "UnknownSetting",
    "InvalidSchedule",
    "NoSuchSchedule",
    "ScheduleAlreadyExists",
    "ScheduleInSettings",
    "SyncError",
    "NoSyncNode",
    "SyncNodeExists",
    "InvalidNodeId",
    "CannotTrack",
    "TableNotTracked",
    "NoSuchRow",
    "InvalidKey",
    "CaptureBroken",
    "CannotResolve",
    "NoSuchQuarantine",
    "NoSuchConflict",
    "NodeRestored",
    "HistoryForked",
    "GroupMissing",
    "ImportRefused",
    "InvalidPolicy",
    "NoSuchBundle",
    "BundleExists",
    "ForeignFile",
    "BundleTooNew",
    "BundleTorn",
    "BundleDamaged",
    "BundleTooLarge",
    "ClusterUnreachable",
    "CompressionMissing",
    "NoSuchPeer",
    "InvalidPeer",
    "InvalidPeerUrl",
    "NoSyncToken",
    "PeerUnreachable",
    "PeerRefused",
    "PeerRetired",
    "BehindHorizon",
    "InvalidLsn",
    "CannotBootstrap",
    "WebError",
    "InvalidRequest",
    "RequestTooLarge",
    "TokenRequired",
    "RoleRequired",
    "WrongNode",
    "TooManyRequests",
    "CannotServe",
    "NoSuchToken",
    "TokenExists",
]
