//! What a snapshot at a destination is.

use uuid::Uuid;

use crate::id::SnapshotId;
use crate::rules::{Destination, Rules};
use crate::snapshot::{Condition, Snapshot};
use crate::tags::ReplicaTags;

/// Who created a snapshot at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This sync of this fleet.
    Ours(Box<Ours>),
    /// Another sync of this fleet.
    OtherSync(String),
    /// Someone else, or there is no proof, for this reason.
    Foreign(&'static str),
}

/// The proof that a snapshot is a replica of this sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// Its tags.
    pub tags: ReplicaTags,
    /// Whether the service confirms which snapshot was copied. Without it, the snapshot counts as a replica and is
    /// never deleted.
    pub is_confirmed: bool,
    /// Whether the service copied another snapshot than the tags name: the source was created again between the check
    /// and the request. Such a snapshot is not a replica of anything, whatever its content is.
    pub is_mislabelled: bool,
}

impl Ours {
    /// What is known about the content. A copy of the wrong snapshot counts as failed.
    #[must_use]
    pub fn condition(&self, snapshot: &Snapshot) -> Condition {
        if self.is_mislabelled {
            let message = "the source was created again when the copy began".to_owned();
            return Condition::Failed { code: "source-changed".to_owned(), message };
        }
        snapshot.condition()
    }
}

/// Returns who created a snapshot, from its tags and from the origin that the service reports.
#[must_use]
pub fn owner_of(snapshot: &Snapshot, fleet: Uuid, sync: &str) -> Owner {
    let Some(tags) = ReplicaTags::in_tags(&snapshot.tags) else {
        return Owner::Foreign("it does not have the tags of a replica");
    };
    if tags.fleet != fleet {
        return Owner::Foreign("another fleet created it");
    }
    if tags.sync != sync {
        return Owner::OtherSync(tags.sync);
    }
    let copied = snapshot.origin.source_unique_id.as_deref();
    let (is_confirmed, differs) = (copied.is_some(), copied.is_some_and(|copied| copied != tags.copied()));
    if differs && !is_copy_of_source(snapshot, &tags) {
        return Owner::Foreign("it is a copy of another snapshot than its tags name");
    }
    Owner::Ours(Box::new(Ours { tags, is_confirmed, is_mislabelled: differs }))
}

/// Whether the service copied the snapshot that has the id of the source. Nobody but this sync creates such a copy with
/// these tags: a copy of a replica has another id as its origin.
fn is_copy_of_source(snapshot: &Snapshot, tags: &ReplicaTags) -> bool {
    let copied: Option<SnapshotId> = snapshot.origin.source_id.as_deref().and_then(|id| id.parse().ok());
    tags.via.is_none() && copied.is_some_and(|id| tags.source_in(&id.group) == Some(id))
}

/// As [`owner_of`], for a snapshot in the group of a destination.
#[must_use]
pub fn owner_at(snapshot: &Snapshot, rules: &Rules, destination: &Destination) -> Owner {
    match owner_of(snapshot, rules.fleet, &rules.name) {
        // Only the job that made such a copy knows that nobody changed its tags, and deletes it.
        Owner::Ours(ours) if ours.is_mislabelled => {
            Owner::Foreign("its tags name another source than the snapshot that the service copied")
        }
        Owner::Ours(_) if snapshot.region != destination.region => {
            Owner::Foreign("it is in another region than the destination")
        }
        owner => owner,
    }
}

/// The state of a replica, as a step finds it before and while it creates it.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// No snapshot has the name.
    Absent,
    /// The content is arriving.
    Underway {
        /// The part that arrived, 0 to 100, if the service reports it.
        percent: Option<f64>,
    },
    /// It is a complete replica of the source.
    Done,
    /// Our copy of the source failed before it was complete. It can be deleted and made again.
    Failed {
        /// The service's code.
        code: String,
        /// The service's description.
        message: String,
    },
    /// It is ours, and a replica of another snapshot, or its content is doubtful. Only the rules for deletion apply.
    Stale,
    /// It is not ours.
    Foreign(&'static str),
}

/// Returns the state of the replica of a source, from the snapshot that has its name.
///
/// `source` is the unique id of the source snapshot.
#[must_use]
pub fn probe(found: Option<&Snapshot>, fleet: Uuid, sync: &str, source: &str) -> Probe {
    let Some(snapshot) = found else { return Probe::Absent };
    match owner_of(snapshot, fleet, sync) {
        Owner::Foreign(reason) => Probe::Foreign(reason),
        Owner::OtherSync(_) => Probe::Foreign("another sync created it"),
        Owner::Ours(ours) if ours.tags.source != source => Probe::Stale,
        Owner::Ours(ours) => match ours.condition(snapshot) {
            Condition::Complete => Probe::Done,
            Condition::Underway { percent } => Probe::Underway { percent },
            Condition::Failed { code, message } => Probe::Failed { code, message },
            Condition::Doubtful { .. } => Probe::Stale,
        },
    }
}
