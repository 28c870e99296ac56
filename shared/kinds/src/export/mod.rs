//! The kind `export`: fills a disk with the content of a snapshot in another tenant. The replica of the snapshot is
//! created from the disk.
//!
//! - The platform copies nothing between tenants. The source is read by a SAS, and the service writes from that SAS to
//!   the disk, which is created for an upload: server to server, if it supports that.
//! - The disk is a temporary of the job. Nothing is uploaded if the replica is complete.
//! - Writes to such a disk support no conditions. The disk belongs to one job and one content, so a worker that was
//!   paused can only write the same bytes to the same places.
//! - No checksum of the source is known, so the service's response is the proof of a write, as with copies of the
//!   platform.
//! - The operation writes its output, the unique id of the disk, when all bytes are written. An upload that ended
//!   without it is not complete, and begins again with another disk.

mod fill;

use async_trait::async_trait;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{DiskProperties, ResourceBody, ResourceId};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::Resource;
use goldfleet_snapshots::graph::{ExportSpec, RowSpec};
use goldfleet_snapshots::replica;
use goldfleet_snapshots::tags;

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay, read_id, vanished};
use crate::context::{Attempt, read_spec};
use crate::disk::unique_id;
use crate::hub::{FilledDisk, Stage, ensure_unused, probe_disk, read_temporary, stage};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome, StepResult};
use crate::snapshot::{Reading, read};

/// The kind `export`. Its specification is [`RowSpec::Export`].
pub struct Export;

#[async_trait]
impl Kind for Export {
    fn id(&self) -> &'static str {
        "export"
    }

    fn queue(&self) -> QueueName {
        QueueName::Copy
    }

    fn title(&self) -> &'static str {
        "Disks exported"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        let spec = read_export(operation).ok()?;
        spec.disk.rsplit('/').next().map(str::to_owned)
    }

    fn creates_temporary(&self, _operation: &Operation) -> bool {
        true
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Ok(spec) = read_export(operation) else { return Ok(Probe::Foreign) };
        let Ok(disk) = ExportedDisk::of(&spec) else { return Ok(Probe::Foreign) };
        if is_replicated(ports, &spec).await? {
            return Ok(Probe::Done);
        }
        probe_disk(ports, operation, &disk.id, &disk.body).await
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        run(attempt, &read_export(attempt.operation)?).await
    }
}

fn read_export(operation: &Operation) -> Result<ExportSpec, AttemptError> {
    match read_spec(operation)? {
        RowSpec::Export(spec) => Ok(*spec),
        _ => Err(AttemptError::fatal("row-damaged", "the row does not export a snapshot")),
    }
}

/// Whether the replica is complete, so that no disk is needed.
async fn is_replicated(ports: &Ports, spec: &ExportSpec) -> PortResult<bool> {
    let Reading::Found(found) = read(ports, &spec.replica).await? else { return Ok(false) };
    let state = replica::probe(Some(&found), spec.fleet, &spec.sync, &spec.source_unique_id);
    Ok(state == replica::Probe::Done)
}

/// The disk of a row.
struct ExportedDisk {
    id: ResourceId,
    body: ResourceBody,
}

impl ExportedDisk {
    fn of(spec: &ExportSpec) -> Result<Self, AttemptError> {
        let id = read_id(&spec.disk)?;
        let body = read_temporary(&id, &spec.body)?;
        Ok(Self { id, body })
    }

    /// Whether a resource has the tags of goldfleet that this row sets.
    fn is_own(&self, found: &Resource) -> bool {
        tags::has_reserved(&found.body.tags, &self.body.tags)
    }
}

/// Fills the disk of a row.
async fn run(attempt: Attempt<'_>, spec: &ExportSpec) -> StepResult {
    let disk = ExportedDisk::of(spec)?;
    let ports = &attempt.shared.ports;
    if is_replicated(ports, spec).await? {
        return Ok(StepOutcome::Done);
    }
    let mut proven = FilledDisk::of(attempt.operation);
    let mut is_requested = false;
    loop {
        let Some(found) = ports.resources.get(&disk.id, None).await? else {
            if is_requested {
                return Err(vanished(&disk.id));
            }
            // Nothing is created for a source that cannot be read.
            check_source(attempt, spec).await?;
            is_requested = true;
            match change::create(attempt, &disk.id, disk.body.clone()).await? {
                Changed::Later(error) => return Ok(later(attempt, &error)),
                Changed::Yes | Changed::NameTaken => continue,
            }
        };
        if !disk.is_own(&found) {
            let message = format!("{} exists, and does not have the tags of this job: rename or delete it", disk.id);
            return Err(AttemptError::fatal("temporary-foreign", message).into());
        }
        match stage(&found, proven.as_ref()) {
            Stage::Arriving => return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
            Stage::Complete => return Ok(StepOutcome::Done),
            Stage::Proven => change::end_access(attempt, &disk.id).await?,
            Stage::Awaiting => {
                let source = check_source(attempt, spec).await?;
                let unique_id = unique_id(&found).unwrap_or_default().to_ascii_lowercase();
                match fill::fill(attempt, (&source, spec), (&disk.id, unique_id)).await? {
                    Ok(filled) => proven = Some(filled),
                    Err(wait) => return Ok(wait),
                }
            }
            Stage::Unusable(reason) => {
                tracing::warn!(disk = %disk.id, "it is deleted and created again: {reason}");
                ensure_unused(&found)?;
                if let Changed::Later(error) = change::delete(attempt, &disk.id).await? {
                    return Ok(later(attempt, &error));
                }
                is_requested = false;
            }
        }
    }
}

/// Checks that the source exists, is the one that was planned, and can become the content of a disk with sectors of 512
/// bytes.
async fn check_source(attempt: Attempt<'_>, spec: &ExportSpec) -> Result<ResourceId, StepError> {
    let id = read_id(&spec.source.to_string())?;
    let fatal = |code: &str, reason: &str| Err(AttemptError::fatal(code, format!("{id}: {reason}")).into());
    let Some(found) = attempt.shared.ports.resources.get(&id, None).await? else {
        return fatal("source-gone", "it does not exist");
    };
    if unique_id(&found).is_none_or(|found| !found.eq_ignore_ascii_case(&spec.source_unique_id)) {
        return fatal("source-changed", "it was created again after the run was planned");
    }
    let properties = found.body.properties.disk();
    if properties.and_then(DiskProperties::size).is_some_and(|size| size != spec.size) {
        return fatal("source-changed", "its size changed after the run was planned");
    }
    let sector = properties.and_then(|disk| disk.creation_data.other.get("logicalSectorSize")?.as_u64());
    if sector.is_some_and(|sector| sector != 512) {
        return fatal("sector-4096", "its sectors have another size than 512 bytes, which an upload needs");
    }
    Ok(id)
}
