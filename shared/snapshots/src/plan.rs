//! The result of a comparison of source and destinations: what a run does, and what it reports.

use serde::{Deserialize, Serialize};

use crate::id::SnapshotId;
use crate::snapshot::Snapshot;
use crate::state::{Cause, SyncState};

/// How the content of a replica is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Copy in the same region. Incremental or full, as the source.
    Copy,
    /// CopyStart, for an incremental snapshot.
    CopyStart,
    /// A full snapshot to another region: a temporary disk and an incremental snapshot of it in the scratch group, then
    /// CopyStart.
    Scratch,
    /// To another tenant: a disk there is filled with the content of the source, and the snapshot is created from the
    /// disk.
    Export,
}

impl Method {
    /// Whether it counts towards [`PARALLEL_COPIES`](crate::rules::PARALLEL_COPIES).
    #[must_use]
    pub fn is_limited(self) -> bool {
        matches!(self, Self::CopyStart | Self::Scratch)
    }
}

/// A replica to create or to wait for.
#[derive(Debug, Clone)]
pub struct Copy<'a> {
    /// The source.
    pub source: &'a Snapshot,
    /// The index of the destination in the rules.
    pub destination: usize,
    /// The name of the replica.
    pub name: String,
    /// Whether the replica is staged, because its final name is taken by the replica of an earlier source.
    pub staged: bool,
    /// How it is copied.
    pub method: Method,
    /// Whether the copy began in an earlier run.
    pub underway: bool,
    /// Whether the service transfers only the difference to an earlier snapshot of the disk that the destination has or
    /// gets.
    pub has_base: bool,
    /// The unique id of the remains of our failed copy that have the name. They are deleted first.
    pub remains: Option<String>,
}

/// A staged replica that gets its final name: the old replica is deleted, the staged one is copied in its region, and
/// then deleted. So a usable replica exists at every moment.
#[derive(Debug, Clone)]
pub struct Promotion<'a> {
    /// The source.
    pub source: &'a Snapshot,
    /// The index of the destination in the rules.
    pub destination: usize,
    /// The staged replica. It is complete.
    pub staged: &'a Snapshot,
    /// The final name.
    pub name: String,
    /// The old replica that has the final name. It is proven to be without use.
    pub replaces: Option<Removal<'a>>,
    /// Whether an old replica has the final name and is not deleted in this run. The plan has no such promotion.
    pub(crate) held: bool,
    /// The unique id of the remains of our failed copy that have the final name.
    pub remains: Option<String>,
}

/// Why a snapshot is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A replica without use, proven in two runs.
    Replica(Cause),
    /// A staged replica whose final replica, with this id, is complete.
    Staged(SnapshotId),
    /// Our copy that failed before it was complete, and is not made again.
    Remains,
}

/// A snapshot to delete.
#[derive(Debug, Clone)]
pub struct Removal<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The index of the destination in the rules.
    pub destination: usize,
    /// The id of its source.
    pub source: SnapshotId,
    /// The unique id of its source.
    pub source_unique_id: String,
    /// Why it is deleted.
    pub reason: Reason,
    /// For a surplus replica: the newer replicas that make it surplus.
    pub newer: Vec<Newer>,
}

/// A newer replica of a family, because of which an older one is surplus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newer {
    /// The replica.
    pub id: SnapshotId,
    /// The unique id of its source.
    pub source_unique_id: String,
}

/// A replica that this sync created and that exists after the run.
#[derive(Debug, Clone, Copy)]
pub struct Lockable<'a> {
    /// The replica.
    pub snapshot: &'a Snapshot,
    /// The index of the destination in the rules.
    pub destination: usize,
}

/// How important a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The run does what the rules say.
    Info,
    /// Something is not as expected, and replication is not affected.
    Warning,
    /// A selected snapshot is not replicated, or a deletion is refused. The run exits with 1.
    Failure,
}

/// Something that a run reports about a snapshot or a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A stable code in kebab case.
    pub code: &'static str,
    /// How important it is.
    pub severity: Severity,
    /// The index of the destination in the rules.
    pub destination: Option<usize>,
    /// The snapshot, if the note is about one.
    pub snapshot: Option<SnapshotId>,
    /// A description, with what to do.
    pub message: String,
}

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// Why the run cannot do anything. All lists are empty then.
    pub stopped: Option<String>,
    /// The replicas to create or to wait for. Those of a family and destination are in the order of their sources.
    pub copies: Vec<Copy<'a>>,
    /// The staged replicas that get their final name.
    pub promotions: Vec<Promotion<'a>>,
    /// The snapshots to delete.
    pub removals: Vec<Removal<'a>>,
    /// With locks: the replicas at which a lock of the sync belongs. The caller reads the locks of the destinations,
    /// and adds those without one to [`Plan::locks`].
    pub lockable: Vec<Lockable<'a>>,
    /// The replicas that get a lock.
    pub locks: Vec<Lockable<'a>>,
    /// The number of replicas that are complete, staged ones included.
    pub complete: usize,
    /// What the run reports.
    pub notes: Vec<Note>,
    /// The state to store before the plan takes effect.
    pub state: SyncState,
}

impl Plan<'_> {
    /// Whether the run must exit with 1, even if all its operations succeed.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.stopped.is_some() || self.notes.iter().any(|note| note.severity == Severity::Failure)
    }

    /// The number of replicas to delete, those that are replaced included.
    #[must_use]
    pub fn deletions(&self) -> usize {
        let replicas = self.removals.iter().filter(|removal| matches!(removal.reason, Reason::Replica(_)));
        replicas.count() + self.promotions.iter().filter(|promotion| promotion.replaces.is_some()).count()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.promotions.is_empty() && self.removals.is_empty() && self.locks.is_empty()
    }
}
