//! The kind `remove`: deletes a snapshot or disk, after a check of what the service reports at that moment.

mod evidence;

use async_trait::async_trait;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::resource::{DiskState, ResourceId};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_snapshots::graph::{EndExportSpec, RowSpec};
use goldfleet_snapshots::remove::{Decision, DiscardSpec, RemoveSpec, TemporarySpec};
use serde::{Deserialize, Serialize};

use self::evidence::{Evidences, locks_on};
use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay, read_id};
use crate::context::{Attempt, read_row, write_spec};
use crate::disk::unique_id;
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome, StepResult};
use crate::snapshot::{Reading, read};

/// How many times one attempt deletes the lock of the sync. A lock that appears after that is not deleted.
const LIFTS: usize = 2;

/// The newest version of its specification: the ends of exports.
const NEWEST: u16 = 2;

/// The kind `remove`. Its specification is [`RowSpec::Remove`], [`RowSpec::RemoveTemporary`], [`RowSpec::EndExport`] or
/// [`RowSpec::Discard`].
pub struct Remove;

/// The output of an operation that deleted nothing, because the resource is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Why it has a use.
    pub kept: String,
}

/// The output of an operation that deletes a resource. It is written before the deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletes {
    /// The resource id.
    pub deletes: String,
}

#[async_trait]
impl Kind for Remove {
    fn id(&self) -> &'static str {
        "remove"
    }

    fn spec_version(&self) -> u16 {
        NEWEST
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Removals checked"
    }

    /// A removal of a snapshot says why. Temporaries are part of their job.
    fn remark(&self, operation: &Operation) -> Option<String> {
        let (id, reason) = match read_row(operation, NEWEST).ok()? {
            RowSpec::Remove(spec) => (spec.id.to_string(), spec.reason()),
            RowSpec::Discard(spec) => (spec.id.to_string(), spec.reason().to_owned()),
            _ => return None,
        };
        let output = operation.output.as_ref()?;
        if let Ok(kept) = output.read::<Kept>(1) {
            return Some(format!("kept {id}: {}", kept.kept));
        }
        output.read::<Deletes>(1).ok().map(|deleted| format!("deleted {}: {reason}", deleted.deletes))
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let was_kept = operation.output.as_ref().is_some_and(|output| output.read::<Kept>(1).is_ok());
        if was_kept {
            return Ok(Probe::Done);
        }
        let (id, unique_id) = match read_row(operation, NEWEST) {
            Ok(RowSpec::Remove(spec)) => (spec.id.to_string(), Some(spec.unique_id)),
            Ok(RowSpec::RemoveTemporary(spec)) => (spec.id, None),
            Ok(RowSpec::EndExport(spec)) => (spec.disk.id, None),
            // The incomplete replica was deleted, or the copy is complete and its own row is verified.
            Ok(RowSpec::Discard(_)) => return Ok(Probe::Done),
            _ => return Ok(Probe::Foreign),
        };
        let Ok(id) = read_id(&id) else { return Ok(Probe::Foreign) };
        let found = ports.resources.get(&id, None).await?;
        let found = found.as_ref().map(|found| found.body.properties.disk().and_then(|disk| disk.unique_id.as_deref()));
        Ok(match (found, unique_id) {
            (None, _) => Probe::Done,
            // Another resource has the name.
            (Some(Some(found)), Some(expected)) if !found.eq_ignore_ascii_case(&expected) => Probe::Done,
            (Some(_), _) => Probe::Underway,
        })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        match read_row(attempt.operation, NEWEST)? {
            RowSpec::Remove(spec) => remove(attempt, &spec).await,
            RowSpec::RemoveTemporary(spec) => remove_temporary(attempt, &spec).await,
            RowSpec::EndExport(spec) => end_export(attempt, &spec).await,
            RowSpec::Discard(spec) => discard(attempt, &spec).await,
            _ => Err(AttemptError::fatal("row-damaged", "the row does not delete anything").into()),
        }
    }
}

/// Deletes a snapshot. All facts are read again after a lock was deleted.
async fn remove(attempt: Attempt<'_>, spec: &RemoveSpec) -> StepResult {
    let ports = &attempt.shared.ports;
    let id = read_id(&spec.id.to_string())?;
    for _ in 0..=LIFTS {
        let current = match read(ports, &spec.id).await? {
            Reading::Absent => return Ok(StepOutcome::Done),
            Reading::BeingCreated => return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
            Reading::Found(found) => found,
        };
        let evidences = Evidences::read(attempt, spec, &id).await?;
        match spec.decide(evidences.facts(&current)) {
            Decision::LiftLock(_) => evidence::lift(attempt, &id, &spec.sync).await?,
            decision => return carry_out(attempt, &id, decision).await,
        }
    }
    let message = format!("{id}: another process created a lock again after goldfleet deleted it");
    Err(AttemptError::fatal("scope-locked", message).into())
}

/// Deletes a temporary of the job.
async fn remove_temporary(attempt: Attempt<'_>, spec: &TemporarySpec) -> StepResult {
    let id = read_id(&spec.id)?;
    let Some(found) = attempt.shared.ports.resources.get(&id, None).await? else { return Ok(StepOutcome::Done) };
    let locks = locks_on(attempt, &id).await?;
    let decision = spec.decide(Some(&found.body.tags), &locks);
    // An upload that was cancelled has left access to the disk. The service does not delete a disk while it has access.
    let state = found.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
    if decision == Decision::Delete && matches!(state, Some(DiskState::ActiveSas | DiskState::ActiveUpload)) {
        change::end_access(attempt, &id).await?;
    }
    carry_out(attempt, &id, decision).await
}

/// Deletes the disk of an export. If the export began and did not end itself, the access to its source is ended: its
/// owner could not delete the source otherwise.
async fn end_export(attempt: Attempt<'_>, spec: &EndExportSpec) -> StepResult {
    let Attempt { shared, operation, .. } = attempt;
    match remove_temporary(attempt, &spec.disk).await? {
        StepOutcome::Done => {}
        wait @ StepOutcome::RequeueAfter(_) => return Ok(wait),
    }
    let export = shared.ports.table.operation(&operation.job, &spec.exported_by).await?;
    if export.is_none_or(|row| row.value.started.is_none() || row.value.state.is_done()) {
        return Ok(StepOutcome::Done);
    }
    let id = read_id(&spec.source.to_string())?;
    let Some(found) = shared.ports.resources.get(&id, None).await? else { return Ok(StepOutcome::Done) };
    let is_source = unique_id(&found).is_some_and(|found| found.eq_ignore_ascii_case(&spec.source_unique_id));
    let state = found.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
    if is_source && state == Some(&DiskState::ActiveSas) {
        change::end_access(attempt, &id).await?;
    }
    Ok(StepOutcome::Done)
}

/// Deletes the replica of a copy that was cancelled or failed before it was complete.
async fn discard(attempt: Attempt<'_>, spec: &DiscardSpec) -> StepResult {
    let Attempt { shared, operation, .. } = attempt;
    let copy = shared.ports.table.operation(&operation.job, &spec.copy).await?.map(|row| row.value.state);
    if copy.is_some_and(OperationState::is_done) {
        return Ok(StepOutcome::Done);
    }
    let current = match read(&shared.ports, &spec.id).await? {
        Reading::Absent => return Ok(StepOutcome::Done),
        Reading::BeingCreated => return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
        Reading::Found(found) => found,
    };
    let id = read_id(&spec.id.to_string())?;
    let locks = locks_on(attempt, &id).await?;
    let decision = spec.decide(Some(&current), copy == Some(OperationState::Cancelled), &locks);
    carry_out(attempt, &id, decision).await
}

/// Does what was decided.
async fn carry_out(attempt: Attempt<'_>, id: &ResourceId, decision: Decision) -> StepResult {
    match decision {
        Decision::Done => Ok(StepOutcome::Done),
        Decision::Delete => {
            attempt.lease.put_output(write_spec(&Deletes { deletes: id.to_string() })).await?;
            match change::delete(attempt, id).await? {
                Changed::Later(error) => Ok(later(attempt, &error)),
                Changed::Yes | Changed::NameTaken => Ok(StepOutcome::Done),
            }
        }
        Decision::Keep(reason) => {
            tracing::info!(resource = %id, "it is not deleted: {reason}");
            attempt.lease.put_output(write_spec(&Kept { kept: reason.to_owned() })).await?;
            Ok(StepOutcome::Done)
        }
        Decision::Refuse { code, message } => {
            // A fact is not known now. Another attempt may find it, and nothing is deleted until then.
            let retryable = code == "source-unknown";
            Err(AttemptError { retryable, ..AttemptError::fatal(code, format!("{id}: {message}")) }.into())
        }
        Decision::LiftLock(lock) => {
            Err(AttemptError::fatal("scope-locked", format!("{id}: lock {lock} protects it")).into())
        }
    }
}
