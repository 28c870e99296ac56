//! The last check before a resource is deleted, with what the service returns at that moment.

use std::collections::BTreeMap;

use goldfleet_model::ids::JobId;
use goldfleet_model::operation::OperationId;
pub use goldfleet_model::resource::Lock;
use goldfleet_model::text::pluralize;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::difference::Evidence;
use crate::id::SnapshotId;
use crate::plan::Newer;
use crate::replica::{Ours, Owner, Probe, owner_of, probe};
use crate::select::TagPatterns;
use crate::snapshot::{Condition, Snapshot, tag};
use crate::state::Cause;
use crate::tags;

/// A snapshot that a row deletes, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveSpec {
    /// The fleet.
    pub fleet: Uuid,
    /// The name of the sync.
    pub sync: String,
    /// The tags that select a source. A source that has them again keeps its replica.
    pub tags: TagPatterns,
    /// The snapshot.
    pub id: SnapshotId,
    /// The unique id that it had when the run was planned.
    pub unique_id: String,
    /// Its source.
    pub source: SnapshotId,
    /// The unique id of its source.
    pub source_unique_id: String,
    /// Why it is deleted.
    pub because: Because,
    /// For a surplus replica: the newer replicas, each of which must be complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub newer: Vec<Newer>,
    /// Whether the sync may lift its own lock.
    pub lift_lock: bool,
    /// For the remains of a copy of another snapshot than its tags name: the job that made the copy. Such a copy is
    /// deleted only by that job, because anyone may have changed the tags later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<JobId>,
}

/// Why a snapshot is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// It is a replica without use.
    Replica(Cause),
    /// It is a staged replica, and the replica with this id has its content.
    Staged(SnapshotId),
    /// It is a copy that failed before it was complete.
    Remains,
}

/// What the service returns before the deletion. A request that fails proves nothing, and the caller does not decide.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The snapshot. None if the service returns 404.
    pub current: Option<&'a Snapshot>,
    /// Its source. Read for a replica that is gone or lost its tag.
    pub source: &'a Evidence,
    /// The final replica. Read for a staged replica.
    pub done: Option<&'a Snapshot>,
    /// The newer replicas of a surplus replica, in the order of the specification. None for one that does not exist.
    pub newer: &'a [Option<Snapshot>],
    /// The locks on the snapshot, inherited ones included.
    pub locks: &'a [Lock],
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The snapshot does not exist: the row succeeded.
    Done,
    /// Delete it.
    Delete,
    /// Delete the lock of the sync with this id, then decide again.
    LiftLock(String),
    /// Do not delete it: the row fails with this code, and is not retried.
    Refuse {
        /// The code.
        code: &'static str,
        /// The reason.
        message: String,
    },
    /// Do not delete it, because it has a use again: the row is skipped.
    Keep(&'static str),
}

fn refuse(code: &'static str, message: impl Into<String>) -> Decision {
    Decision::Refuse { code, message: message.into() }
}

impl RemoveSpec {
    /// Why the snapshot is deleted, for people.
    #[must_use]
    pub fn reason(&self) -> String {
        let source = &self.source.name;
        match &self.because {
            Because::Replica(Cause::Gone) => format!("its source {source} does not exist any more"),
            Because::Replica(Cause::Untagged) => format!("its source {source} lost the tag that selects it"),
            Because::Replica(Cause::Surplus) => {
                let newer = pluralize(self.newer.len(), "newer replica");
                format!("'keep' retains only {newer} of its disk")
            }
            Because::Staged(done) => format!("replica {} has its content under the final name", done.name),
            Because::Remains => "its copy failed before it was complete".to_owned(),
        }
    }

    /// Decides whether the snapshot is deleted now.
    #[must_use]
    pub fn decide(&self, facts: Facts<'_>) -> Decision {
        let (fleet, sync) = (self.fleet, self.sync.as_str());
        let Some(current) = facts.current else { return Decision::Done };
        if current.unique_id != self.unique_id {
            // Another snapshot has the name. The one to delete does not exist.
            return Decision::Done;
        }
        match owner_of(current, fleet, sync) {
            Owner::Ours(ours) if ours.tags.source == self.source_unique_id => {
                if let Some(objection) = self.objection_to(current, &ours) {
                    return objection;
                }
            }
            Owner::Ours(_) => return refuse("snapshot-foreign", "its tags name another source than the plan"),
            Owner::OtherSync(sync) => return refuse("snapshot-foreign", format!("sync {sync:?} created it")),
            Owner::Foreign(reason) => return refuse("snapshot-foreign", reason),
        }
        if let Some(objection) = self.objection(facts) {
            return objection;
        }
        match facts.locks.iter().find(|lock| !(self.lift_lock && lock.is_of(sync, &self.id))) {
            Some(lock) => refuse("scope-locked", format!("lock {} protects it", lock.id)),
            None => facts.locks.first().map_or(Decision::Delete, |lock| Decision::LiftLock(lock.id.clone())),
        }
    }

    /// Why the reason of the plan is not valid any more.
    fn objection(&self, facts: Facts<'_>) -> Option<Decision> {
        let (fleet, sync) = (self.fleet, self.sync.as_str());
        let unknown =
            |reason: &str| Some(refuse("source-unknown", format!("nothing is proven about its source: {reason}")));
        match (&self.because, facts.source) {
            (Because::Replica(Cause::Surplus), _) => {
                let probes = self.newer.iter().zip(facts.newer);
                let complete = probes.filter(|(newer, found)| {
                    probe(found.as_ref(), fleet, sync, &newer.source_unique_id) == Probe::Done
                });
                let is_surplus = !self.newer.is_empty() && complete.count() == self.newer.len();
                (!is_surplus).then_some(Decision::Keep("a newer replica is not complete any more"))
            }
            (Because::Replica(_), Evidence::Unknown(reason)) => unknown(reason),
            (Because::Replica(_), Evidence::Absent) => None,
            (Because::Replica(cause), Evidence::Present { unique_id, tags }) => {
                let is_same = *unique_id == self.source_unique_id;
                let is_selected = match self.tags.matches(tags) {
                    Ok(is_selected) => is_selected,
                    Err(error) => return Some(refuse("row-damaged", error.to_string())),
                };
                let is_untagged = *cause == Cause::Untagged && !is_selected;
                (is_same && !is_untagged).then_some(Decision::Keep("its source exists again, or has its tag again"))
            }
            (Because::Staged(_), _) => match probe(facts.done, fleet, sync, &self.source_unique_id) {
                Probe::Done => None,
                _ => Some(Decision::Keep("the final replica is not complete")),
            },
            (Because::Remains, _) => None,
        }
    }

    fn is_made_by_job(&self, current: &Snapshot) -> bool {
        self.made_by.as_ref().is_some_and(|job| tag(&current.tags, tags::JOB) == Some(job.as_str()))
    }

    /// Why the snapshot itself does not permit the deletion.
    fn objection_to(&self, current: &Snapshot, ours: &Ours) -> Option<Decision> {
        let has_failed = matches!(ours.condition(current), Condition::Failed { .. });
        match &self.because {
            _ if ours.is_mislabelled && !self.is_made_by_job(current) => Some(refuse(
                "snapshot-foreign",
                "its tags name another source than the snapshot that the service copied",
            )),
            Because::Remains if !has_failed => Some(Decision::Keep("its copy did not fail")),
            Because::Replica(_) if !ours.is_confirmed => {
                Some(refuse("replica-unconfirmed", "the service does not report which snapshot was copied"))
            }
            _ => None,
        }
    }
}

/// A temporary resource that the job which created it deletes. Its unique id is not known when the row is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemporarySpec {
    /// The fleet.
    pub fleet: Uuid,
    /// The resource id: a disk or a snapshot.
    pub id: String,
    /// The job that creates it.
    pub job: JobId,
}

impl TemporarySpec {
    /// Decides whether a temporary is deleted now, from its tags. None for the tags means that it does not exist.
    #[must_use]
    pub fn decide(&self, current: Option<&BTreeMap<String, String>>, locks: &[Lock]) -> Decision {
        let Some(found) = current else { return Decision::Done };
        if !tags::is_temporary_of(found, self.fleet) {
            return refuse("temporary-foreign", "it does not have the tags of a temporary of this fleet");
        }
        if tag(found, tags::JOB) != Some(self.job.as_str()) {
            return refuse("temporary-foreign", "another job created it");
        }
        match locks.first() {
            Some(lock) => refuse("scope-locked", format!("lock {} protects it", lock.id)),
            None => Decision::Delete,
        }
    }
}

/// A replica that a copy of this job began, to delete if the copy was cancelled or failed before it was complete. The
/// unique id is not known when the row is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardSpec {
    /// The fleet.
    pub fleet: Uuid,
    /// The name of the sync.
    pub sync: String,
    /// The replica.
    pub id: SnapshotId,
    /// The unique id of its source.
    pub source_unique_id: String,
    /// The job. What another job began is not deleted.
    pub job: JobId,
    /// The row of the copy.
    pub copy: OperationId,
}

impl DiscardSpec {
    /// Why the replica is deleted, for people.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "its copy was cancelled or failed before it was complete"
    }

    /// Decides whether the replica is deleted now. `is_cancelled` is whether the row of the copy was cancelled. A copy
    /// whose row failed otherwise may still complete, and then a later run finds it.
    #[must_use]
    pub fn decide(&self, current: Option<&Snapshot>, is_cancelled: bool, locks: &[Lock]) -> Decision {
        let Some(current) = current else { return Decision::Done };
        let condition = match owner_of(current, self.fleet, &self.sync) {
            Owner::Ours(ours) if ours.tags.source == self.source_unique_id => ours.condition(current),
            _ => return Decision::Keep("it is not the replica of this copy"),
        };
        if tag(&current.tags, tags::JOB) != Some(self.job.as_str()) {
            return Decision::Keep("another job began its copy");
        }
        match condition {
            Condition::Failed { .. } => {}
            Condition::Underway { .. } if is_cancelled => {}
            Condition::Underway { .. } => return Decision::Keep("its copy was not cancelled"),
            Condition::Complete => return Decision::Keep("it is complete"),
            Condition::Doubtful { .. } => return Decision::Keep("its content may be complete"),
        }
        match locks.first() {
            Some(lock) => refuse("scope-locked", format!("lock {} protects it", lock.id)),
            None => Decision::Delete,
        }
    }
}

/// A replica to lock that was copied before its sync had locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockSpec {
    /// The fleet.
    pub fleet: Uuid,
    /// The name of the sync.
    pub sync: String,
    /// The replica.
    pub id: SnapshotId,
    /// The unique id that it had when the run was planned.
    pub unique_id: String,
}

impl LockSpec {
    /// Checks that the snapshot is proven to be a complete replica of the sync. Only such a replica is locked.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, found: &Snapshot) -> Result<(), &'static str> {
        match owner_of(found, self.fleet, &self.sync) {
            Owner::Ours(ours) if is_lockable(&ours, found) => Ok(()),
            Owner::Ours(_) => Err("it is not a complete replica that the service confirms"),
            Owner::OtherSync(_) => Err("another sync created it"),
            Owner::Foreign(reason) => Err(reason),
        }
    }
}

/// Whether a snapshot of a sync may get its lock.
pub(crate) fn is_lockable(ours: &Ours, snapshot: &Snapshot) -> bool {
    ours.is_confirmed && !ours.is_mislabelled && ours.condition(snapshot) == Condition::Complete
}

/// What `cleanup --orphans` does with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphan {
    /// It is a temporary that its ended job left behind. It can be deleted.
    Yes,
    /// It is not a temporary of this fleet.
    Foreign,
    /// Its job has not ended, or it is younger than a day.
    InUse,
    /// The job table does not know its job. It is shown, and not deleted.
    UnknownJob,
}

/// The minimum age of an orphan. A request that was sent before its job ended has taken effect by then.
const ORPHAN_AGE: SignedDuration = SignedDuration::from_hours(24);

/// Decides whether a resource is an orphan, from its tags and its time of creation. `has_ended` returns whether a job
/// has ended, and none if the job table does not know it.
#[must_use]
pub fn orphan(
    found: &BTreeMap<String, String>,
    created: Timestamp,
    now: Timestamp,
    fleet: Uuid,
    has_ended: impl Fn(&str) -> Option<bool>,
) -> Orphan {
    if !tags::is_temporary_of(found, fleet) {
        return Orphan::Foreign;
    }
    match tag(found, tags::JOB).and_then(has_ended) {
        None => Orphan::UnknownJob,
        Some(true) if now.duration_since(created) >= ORPHAN_AGE => Orphan::Yes,
        Some(_) => Orphan::InUse,
    }
}
