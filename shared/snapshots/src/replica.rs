//! What a snapshot at a destination is.

use uuid::Uuid;

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
    /// Whether the service confirms which snapshot was copied. Without it, the snapshot counts as a replica and is never
    /// deleted.
    pub is_confirmed: bool,
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
    match snapshot.origin.source_unique_id.as_deref() {
        Some(copied) if copied != tags.copied() => {
            Owner::Foreign("it is a copy of another snapshot than its tags name")
        }
        copied => Owner::Ours(Box::new(Ours { tags, is_confirmed: copied.is_some() })),
    }
}

/// As [`owner_of`], for a snapshot in the group of a destination.
#[must_use]
pub fn owner_at(snapshot: &Snapshot, rules: &Rules, destination: &Destination) -> Owner {
    match owner_of(snapshot, rules.fleet, &rules.name) {
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
        Owner::Ours(_) => match snapshot.condition() {
            Condition::Complete => Probe::Done,
            Condition::Underway { percent } => Probe::Underway { percent },
            Condition::Failed { code, message } => Probe::Failed { code, message },
            Condition::Doubtful { .. } => Probe::Stale,
        },
    }
}
