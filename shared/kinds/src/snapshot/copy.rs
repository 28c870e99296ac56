//! The replica of a snapshot: it is probed, created, and probed until its content is complete.

use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::resource::{DiskState, ResourceBody, ResourceId};
use goldfleet_ports::error::{ErrorKind, PortError};
use goldfleet_snapshots::difference::Evidence;
use goldfleet_snapshots::graph::{CopySpec, Exported};
use goldfleet_snapshots::remove::{Because, Decision, Facts, RemoveSpec};
use goldfleet_snapshots::replica::{Probe, probe};
use goldfleet_snapshots::select::TagPatterns;
use goldfleet_snapshots::snapshot::{Condition, Snapshot, tag};
use goldfleet_snapshots::tags;

use super::{Reading, TEMPORARY_MISSING, read};
use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay, read_body, read_id, vanished};
use crate::context::Attempt;
use crate::disk::{CreateOutput, unique_id};
use crate::hub::FilledDisk;
use crate::lock;
use crate::outcome::{StepError, StepOutcome, StepResult};

/// The service's code of a copy whose source was deleted before its content arrived. Source: DiskRP 2025-01-02,
/// `CopyCompletionErrorReason`.
const COPY_SOURCE_NOT_FOUND: &str = "CopySourceNotFound";

/// The code of [`Condition::Failed`] for a copy of another snapshot than the source.
const SOURCE_CHANGED: &str = "source-changed";

/// Creates the replica of a row, or waits for it.
pub(super) async fn run(attempt: Attempt<'_>, spec: &CopySpec) -> StepResult {
    Copy { attempt, spec, id: read_id(&spec.id.to_string())? }.run().await
}

struct Copy<'a> {
    attempt: Attempt<'a>,
    spec: &'a CopySpec,
    id: ResourceId,
}

impl Copy<'_> {
    async fn run(&self) -> StepResult {
        let CopySpec { fleet, sync, source_unique_id, .. } = self.spec;
        let mut is_requested = false;
        let mut clears_remains = self.spec.remains.is_some();
        loop {
            let found = match read(&self.attempt.shared.ports, &self.spec.id).await? {
                Reading::Absent => None,
                Reading::BeingCreated => return Ok(self.wait()),
                Reading::Found(found) => Some(*found),
            };
            let is_remains = found.as_ref().is_some_and(|found| self.spec.remains.as_ref() == Some(&found.unique_id));
            let state = probe(found.as_ref(), *fleet, sync, source_unique_id);
            match (state, found) {
                (Probe::Foreign(reason), _) => {
                    return Err(self.fatal("snapshot-foreign", &format!("a snapshot has its name, and {reason}")));
                }
                (Probe::Failed { .. } | Probe::Stale, Some(found)) if is_remains && clears_remains => {
                    clears_remains = false;
                    if let Some(wait) = self.clear(&found).await? {
                        return Ok(wait);
                    }
                }
                (Probe::Failed { code, message }, Some(found)) => return self.failed(&found, &code, &message).await,
                (Probe::Underway { percent }, Some(found)) => {
                    self.record(&found, percent).await?;
                    return Ok(self.wait());
                }
                (Probe::Done, Some(found)) => {
                    self.record(&found, Some(100.0)).await?;
                    self.lock().await?;
                    return Ok(StepOutcome::Done);
                }
                (Probe::Stale, _) => {
                    let reason = "it is the replica of another snapshot, or the service reports it as failed";
                    return Err(self.fatal("replica-outdated", reason));
                }
                (_, None) if is_requested => return Err(vanished(&self.id)),
                (_, _) => {
                    is_requested = true;
                    if let Some(wait) = self.create().await? {
                        return Ok(wait);
                    }
                }
            }
        }
    }

    /// Requests the copy. Returns an outcome if it must be requested later.
    async fn create(&self) -> Result<Option<StepOutcome>, StepError> {
        let Some(body) = self.body().await? else { return Ok(Some(self.wait())) };
        match change::create(self.attempt, &self.id, body).await {
            Ok(Changed::Later(error)) => Ok(Some(later(self.attempt, &error))),
            Ok(Changed::Yes | Changed::NameTaken) => Ok(None),
            Err(StepError::Failed(error)) => {
                // The service may have created the snapshot before the copy failed.
                if let Reading::Found(found) = read(&self.attempt.shared.ports, &self.spec.id).await? {
                    self.clear_failed(&found).await?;
                }
                Err(error.into())
            }
            Err(stopped) => Err(stopped),
        }
    }

    /// The body of the request, after the snapshot to copy was checked. None if that is not complete yet.
    async fn body(&self) -> Result<Option<ResourceBody>, StepError> {
        let CopySpec { copied, copied_unique_id, exported, .. } = self.spec;
        let mut body = read_body(&self.id, &self.spec.body)?;
        if let Some(exported) = exported {
            return self.body_of_exported(exported, body).await;
        }
        let found = match (read(&self.attempt.shared.ports, copied).await?, copied_unique_id) {
            (Reading::Found(found), _) => found,
            (Reading::BeingCreated, _) => return Ok(None),
            (Reading::Absent, Some(_)) => return Err(self.fatal("source-gone", &format!("{copied} does not exist"))),
            (Reading::Absent, None) => {
                return Err(self.fatal(TEMPORARY_MISSING, &format!("the temporary snapshot {copied} does not exist")));
            }
        };
        match copied_unique_id {
            Some(expected) if *expected != found.unique_id => {
                let reason = format!("{copied} was created again after the run was planned");
                return Err(self.fatal(SOURCE_CHANGED, &reason));
            }
            Some(_) => {}
            None => {
                if !self.is_own_temporary(&found, &body) {
                    let reason = format!("{copied} does not have the tags of a temporary of this job");
                    return Err(self.fatal("temporary-foreign", &reason));
                }
                body.tags.insert(tags::VIA.to_owned(), found.unique_id.clone());
            }
        }
        match found.condition() {
            Condition::Complete => Ok(Some(body)),
            Condition::Underway { .. } => Ok(None),
            Condition::Failed { code, message } => {
                Err(self.fatal("source-failed", &format!("{copied} is not complete: {code}: {message}")))
            }
            Condition::Doubtful { state } => {
                Err(self.fatal("source-failed", &format!("the service reports state {state} for {copied}")))
            }
        }
    }

    /// The body of the request for a replica of a source in another tenant, after the disk with its content was
    /// checked.
    async fn body_of_exported(
        &self,
        exported: &Exported,
        mut body: ResourceBody,
    ) -> Result<Option<ResourceBody>, StepError> {
        let Exported { disk, filled_by } = exported;
        let Attempt { shared, operation, .. } = self.attempt;
        let fill = shared.ports.table.operation(&operation.job, filled_by).await?;
        let filled = fill.and_then(|row| FilledDisk::of(&row.value));
        let found = shared.ports.resources.get(&read_id(disk)?, None).await?;
        let (Some(filled), Some(found)) = (filled, found) else {
            return Err(self.fatal(TEMPORARY_MISSING, &format!("the disk {disk} with its content does not exist")));
        };
        // The one with this unique id has all bytes.
        if unique_id(&found).is_none_or(|found| !found.eq_ignore_ascii_case(&filled.unique_id)) {
            return Err(self.fatal(TEMPORARY_MISSING, &format!("the disk {disk} was replaced by another one")));
        }
        let is_upload = found.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
        if is_upload.is_some_and(DiskState::awaits_upload) {
            return Ok(None);
        }
        body.tags.insert(tags::VIA.to_owned(), filled.unique_id.to_ascii_lowercase());
        Ok(Some(body))
    }

    fn is_own_temporary(&self, found: &Snapshot, body: &ResourceBody) -> bool {
        let same = |name: &str, expected: Option<&str>| expected.is_some() && found.tag(name) == expected;
        tags::is_temporary_of(&found.tags, self.spec.fleet)
            && same(tags::JOB, tag(&body.tags, tags::JOB))
            && same(tags::SOURCE, Some(&self.spec.source_unique_id))
    }

    /// A copy of ours failed before it was complete. It is deleted. Only another attempt of a copy whose source exists
    /// can succeed.
    async fn failed(&self, found: &Snapshot, code: &str, message: &str) -> StepResult {
        if let Some(wait) = self.clear(found).await? {
            return Ok(wait);
        }
        match code {
            COPY_SOURCE_NOT_FOUND => Err(self.fatal("copy-source-not-found", message)),
            SOURCE_CHANGED => Err(self.fatal(SOURCE_CHANGED, message)),
            _ => {
                let message = format!("{}: its copy failed: {code}: {message}", self.spec.id);
                Err(PortError::new(ErrorKind::Unavailable, message).with_code("copy-failed").into())
            }
        }
    }

    async fn clear_failed(&self, found: &Snapshot) -> Result<(), StepError> {
        let CopySpec { fleet, sync, source_unique_id, .. } = self.spec;
        if matches!(probe(Some(found), *fleet, sync, source_unique_id), Probe::Failed { .. }) {
            self.clear(found).await?;
        }
        Ok(())
    }

    /// Deletes the remains of a failed copy, after the same check as a row that removes them. Returns an outcome if the
    /// request must be sent later.
    async fn clear(&self, found: &Snapshot) -> Result<Option<StepOutcome>, StepError> {
        let CopySpec { fleet, sync, id, copied, .. } = self.spec;
        let remove = RemoveSpec {
            fleet: *fleet,
            sync: sync.clone(),
            tags: TagPatterns::default(),
            id: id.clone(),
            unique_id: found.unique_id.clone(),
            source: copied.clone(),
            source_unique_id: found.tag(tags::SOURCE).unwrap_or_default().to_ascii_lowercase(),
            because: Because::Remains,
            newer: Vec::new(),
            lift_lock: false,
            made_by: Some(self.attempt.operation.job.clone()),
        };
        let source = Evidence::Unknown(String::new());
        // The service refuses the deletion if there is a lock.
        let facts = Facts { current: Some(found), source: &source, done: None, newer: &[], locks: &[] };
        match remove.decide(facts) {
            Decision::Delete => {
                tracing::info!(snapshot = %id, "the remains of a failed copy are deleted");
                match change::delete(self.attempt, &self.id).await? {
                    Changed::Later(error) => Ok(Some(later(self.attempt, &error))),
                    Changed::Yes | Changed::NameTaken => Ok(None),
                }
            }
            Decision::Refuse { code, message } => Err(self.fatal(code, &message)),
            decision => {
                let reason = format!("the remains of a failed copy are not deleted: {decision:?}");
                Err(self.fatal("replica-outdated", &reason))
            }
        }
    }

    /// Records the unique id of the replica and the part of its content that arrived.
    async fn record(&self, found: &Snapshot, percent: Option<f64>) -> Result<(), StepError> {
        if let (Some(size), Some(percent)) = (found.size.or(self.spec.size), percent) {
            self.attempt.lease.set_progress(None, ChunkSet::default(), part(size, percent), size);
        }
        CreateOutput::new(&self.id, &found.unique_id).record(self.attempt).await
    }

    /// Puts the lock of the sync on the complete replica.
    async fn lock(&self) -> Result<(), StepError> {
        match &self.spec.lock {
            Some(_) => lock::put(self.attempt, &self.id, &self.spec.sync).await,
            None => Ok(()),
        }
    }

    fn wait(&self) -> StepOutcome {
        let option = &self.spec.body["properties"]["creationData"]["createOption"];
        StepOutcome::RequeueAfter(poll_delay(self.attempt, option == "CopyStart"))
    }

    fn fatal(&self, code: &str, reason: &str) -> StepError {
        AttemptError::fatal(code, format!("{}: {reason}", self.spec.id)).into()
    }
}

/// The bytes that have arrived.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the percentage is from 0 to 100, and a progress display needs no exact number of bytes"
)]
fn part(size: u64, percent: f64) -> u64 {
    ((size as f64 * percent / 100.0) as u64).min(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrived_bytes_are_a_part_of_the_size() {
        assert_eq!((part(1000, 0.0), part(1000, 12.5), part(1000, 100.0)), (0, 125, 1000));
        assert_eq!(part(u64::MAX, 100.0), u64::MAX);
    }
}
