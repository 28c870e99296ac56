//! What the service reports directly before a deletion.

use goldfleet_model::resource::ResourceId;
use goldfleet_ports::Ports;
use goldfleet_ports::resources::ResourceQuery;
use goldfleet_snapshots::difference::Evidence;
use goldfleet_snapshots::id::SnapshotId;
use goldfleet_snapshots::remove::{Because, Facts, Lock, RemoveSpec};
use goldfleet_snapshots::snapshot::Snapshot;
use goldfleet_snapshots::state::Cause;

use crate::change::{own_lock, read_id};
use crate::context::Attempt;
use crate::outcome::StepError;
use crate::snapshot::{Reading, read};

/// The facts that the decision about a snapshot needs, besides the snapshot.
pub(super) struct Evidences {
    source: Evidence,
    done: Option<Box<Snapshot>>,
    newer: Vec<Option<Snapshot>>,
    locks: Vec<Lock>,
}

impl Evidences {
    /// Reads the facts that the reason of the deletion needs.
    pub(super) async fn read(attempt: Attempt<'_>, spec: &RemoveSpec, id: &ResourceId) -> Result<Self, StepError> {
        let ports = &attempt.shared.ports;
        let source = match spec.because {
            Because::Replica(Cause::Gone | Cause::Untagged) => evidence(ports, &spec.source).await?,
            // Nothing about the source decides.
            _ => Evidence::Unknown("not read".to_owned()),
        };
        let done = match &spec.because {
            Because::Staged(done) => existing(ports, done).await?,
            _ => None,
        };
        let mut newer = Vec::new();
        for each in &spec.newer {
            newer.push(existing(ports, &each.id).await?.map(|found| *found));
        }
        Ok(Self { source, done, newer, locks: locks_on(attempt, id).await? })
    }

    pub(super) fn facts<'a>(&'a self, current: &'a Snapshot) -> Facts<'a> {
        let Self { source, done, newer, locks } = self;
        Facts { current: Some(current), source, done: done.as_deref(), newer, locks }
    }
}

/// A snapshot that is readable. One that is being created is not complete, so it counts as missing.
async fn existing(ports: &Ports, id: &SnapshotId) -> Result<Option<Box<Snapshot>>, StepError> {
    Ok(match read(ports, id).await? {
        Reading::Found(found) => Some(found),
        Reading::Absent | Reading::BeingCreated => None,
    })
}

/// What the service reports about a source. A source is absent only if its resource group can be listed.
async fn evidence(ports: &Ports, source: &SnapshotId) -> Result<Evidence, StepError> {
    let id = read_id(&source.to_string())?;
    let found = match ports.resources.get(&id, None).await {
        // A request with a transient error proves nothing.
        Err(error) if error.is_retryable() => return Err(error.into()),
        Err(error) => return Ok(Evidence::Unknown(error.to_string())),
        Ok(found) => found,
    };
    let Some(found) = found else {
        let query = ResourceQuery {
            resource_type: id.resource_type,
            subscription: id.subscription,
            resource_group: Some(id.resource_group.clone()),
            parent: None,
            tags: [].into(),
            tenant: None,
        };
        return Ok(match ports.resources.list(&query, None).await {
            Ok(page) if page.resources.iter().all(|listed| listed.id != id) => Evidence::Absent,
            Ok(_) => Evidence::Unknown("the service lists it, and does not return it".to_owned()),
            Err(error) if error.is_retryable() => return Err(error.into()),
            Err(error) => Evidence::Unknown(format!("its resource group cannot be listed: {error}")),
        });
    };
    Ok(match found.body.properties.disk().and_then(|disk| disk.unique_id.as_ref()) {
        Some(unique_id) => Evidence::Present { unique_id: unique_id.to_ascii_lowercase(), tags: found.body.tags },
        None => Evidence::Unknown("the service does not report its unique id".to_owned()),
    })
}

/// The locks on a resource, inherited ones included.
pub(super) async fn locks_on(attempt: Attempt<'_>, id: &ResourceId) -> Result<Vec<Lock>, StepError> {
    Ok(attempt.shared.ports.locks.locks(id, None).await?)
}

/// Deletes the lock that a sync put on a replica. No other lock is ever deleted.
pub(super) async fn lift(attempt: Attempt<'_>, id: &ResourceId, sync: &str) -> Result<(), StepError> {
    attempt.lease.ensure_held()?;
    let lock = own_lock(id, &Lock::name_of(sync))?;
    tracing::info!(resource = %id, "the lock of the sync is deleted");
    Ok(attempt.shared.ports.locks.delete_lock(&lock, None).await?)
}
