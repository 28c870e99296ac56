//! The kind `hub`: fills a disk in the hub of a region from chunks, by direct upload. The golden snapshot of the region
//! is created from it.
//!
//! - The disk is a temporary of the job. Nothing is uploaded if the golden snapshot exists, or while another job of the
//!   version fills a disk for it.
//! - Writes to such a disk support no conditions. The disk belongs to one job and one content, so a worker that was
//!   paused can only write the same bytes to the same places.
//! - The bytes are proven before the access ends: by the checksum in the response to each write, or by reading back.
//!   After that, the operation writes its output, which names the disk by its unique id. If the access ended without an
//!   output, the disk is not complete, and the operation begins again with another disk.

mod fill;
mod others;
mod pages;

use async_trait::async_trait;
use goldfleet_model::artifact::DiskRef;
use goldfleet_model::image::{ImageRef, ImageTags};
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{DiskState, ResourceBody, ResourceId};
use goldfleet_model::store::Store;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::{Provisioning, Resource};
use goldfleet_snapshots::graph::GoldenSpec;
use goldfleet_snapshots::tags::{self, Role};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay, read_body, read_id, vanished};
use crate::context::{Attempt, read_spec};
use crate::disk::{Content, content, unique_id};
use crate::kind::{Kind, Probe, Transfer};
use crate::outcome::{StepError, StepOutcome, StepResult};
use crate::sink;

/// The kind `hub`.
pub struct Hub;

/// The specification of a `hub` operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HubSpec {
    /// The disk of the version.
    #[serde(flatten)]
    pub disk: DiskRef,
    /// The stores to read from: the region's store first, then its parents up to the source.
    pub from: Vec<Store>,
    /// The resource id of the managed disk that is filled.
    pub id: ResourceId,
    /// The body of the request for it.
    pub body: Value,
    /// The resource id of the golden snapshot. If it exists, no disk is needed.
    pub golden: ResourceId,
}

/// The output: a disk that has all bytes. It is written before the access to the disk ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilledDisk {
    /// The resource id.
    pub id: ResourceId,
    /// The unique id, in lower case.
    pub unique_id: String,
}

impl FilledDisk {
    /// The output of an operation, if it filled its disk.
    #[must_use]
    pub fn of(operation: &Operation) -> Option<Self> {
        operation.output.as_ref()?.read(1).ok()
    }
}

#[async_trait]
impl Kind for Hub {
    fn id(&self) -> &'static str {
        "hub"
    }

    fn queue(&self) -> QueueName {
        QueueName::Copy
    }

    fn title(&self) -> &'static str {
        "Hub disks filled"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        let spec: HubSpec = read_spec(operation).ok()?;
        Some(spec.id.name.to_string())
    }

    fn transfer(&self, operation: &Operation) -> Option<Transfer> {
        let spec: HubSpec = read_spec(operation).ok()?;
        Some(Transfer { fills: None, from: spec.from })
    }

    fn creates_temporary(&self, _operation: &Operation) -> bool {
        true
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let (Ok(spec), Some(image)) = (read_spec::<HubSpec>(operation), &operation.image) else {
            return Ok(Probe::Foreign);
        };
        let Ok(disk) = HubDisk::of(&spec) else { return Ok(Probe::Foreign) };
        if let Some(golden) = ports.resources.get(&spec.golden, None).await?
            && disk.is_golden(&golden, image)
        {
            return Ok(Probe::Done);
        }
        probe_disk(ports, operation, &spec.id, &disk.body).await
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let spec: HubSpec = attempt.spec()?;
        run(attempt, &spec).await
    }
}

/// Creates the golden snapshot of a disk that a `hub` operation filled, or finds that of another job.
pub(crate) async fn golden(attempt: Attempt<'_>, spec: &GoldenSpec) -> StepResult {
    let Attempt { shared, operation, .. } = attempt;
    let hub = shared.ports.table.operation(&operation.job, &spec.filled_by).await?;
    let filled = hub.and_then(|row| FilledDisk::of(&row.value));
    // Without an output, the operation found the golden snapshot.
    let copied = filled.map(|filled| filled.unique_id).unwrap_or_default();
    sink::run(attempt, &spec.create, Role::Golden, Some(&copied)).await
}

/// The disk of a row.
struct HubDisk<'a> {
    spec: &'a HubSpec,
    body: ResourceBody,
}

impl<'a> HubDisk<'a> {
    fn of(spec: &'a HubSpec) -> Result<Self, AttemptError> {
        let id = read_id(&spec.id.to_string())?;
        let body = read_temporary(&id, &spec.body)?;
        Ok(Self { spec, body })
    }

    /// Whether a resource has the tags of goldfleet that this row sets.
    fn is_own(&self, found: &Resource) -> bool {
        tags::has_reserved(&found.body.tags, &self.body.tags)
    }

    /// Whether a resource is the complete golden snapshot of this disk of the version.
    fn is_golden(&self, found: &Resource, image: &ImageRef) -> bool {
        Role::in_tags(&found.body.tags) == Some(Role::Golden)
            && tags::agree(&found.body.tags, &self.body.tags, &[tags::FLEET, tags::SOURCE])
            && ImageTags::digest_in(&found.body.tags) == Some(image.digest)
            && found.body.region == self.body.region
            && matches!(content(found), Content::Complete)
    }

    fn foreign(&self) -> StepError {
        let message = format!("{} exists, and does not have the tags of this job: rename or delete it", self.spec.id);
        AttemptError::fatal("temporary-foreign", message).into()
    }
}

/// How far the upload of a disk is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The service creates it.
    Arriving,
    /// It awaits its bytes.
    Awaiting,
    /// All its bytes are proven, and the access has not ended.
    Proven,
    /// The access has ended, and all its bytes are proven.
    Complete,
    /// Its bytes are not proven, and it accepts no more bytes, for this reason.
    Unusable(&'static str),
}

/// Reads the body of a disk that is filled. Its tags identify the temporaries of a fleet.
pub(crate) fn read_temporary(id: &ResourceId, body: &Value) -> Result<ResourceBody, AttemptError> {
    let body = read_body(id, body)?;
    if Role::in_tags(&body.tags) != Some(Role::Temporary) || !body.tags.contains_key(tags::FLEET) {
        let message = format!("the body of {id} in the row has no tags that identify it");
        return Err(AttemptError::fatal("row-damaged", message));
    }
    Ok(body)
}

/// What the disk that an operation fills says about its effect. `body` is the one in the row.
pub(crate) async fn probe_disk(
    ports: &Ports,
    operation: &Operation,
    id: &ResourceId,
    body: &ResourceBody,
) -> PortResult<Probe> {
    let proven = FilledDisk::of(operation);
    Ok(match ports.resources.get(id, None).await? {
        // Another operation of the group deletes the disk after its use.
        None if operation.state.is_done() => Probe::Done,
        None => Probe::Absent,
        Some(found) if !tags::has_reserved(&found.body.tags, &body.tags) => Probe::Foreign,
        Some(found) => match stage(&found, proven.as_ref()) {
            Stage::Complete => Probe::Done,
            Stage::Arriving | Stage::Awaiting | Stage::Proven => Probe::Underway,
            Stage::Unusable(_) => Probe::Stale,
        },
    })
}

pub(crate) fn stage(found: &Resource, proven: Option<&FilledDisk>) -> Stage {
    let own = unique_id(found);
    let is_proven = proven.zip(own).is_some_and(|(proven, own)| proven.unique_id.eq_ignore_ascii_case(own));
    let state = found.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
    match (found.provisioning, state) {
        (Provisioning::InProgress, _) => Stage::Arriving,
        (Provisioning::Failed, _) => Stage::Unusable("the service reports it as failed"),
        (Provisioning::Succeeded, _) if own.is_none() => Stage::Arriving,
        (Provisioning::Succeeded, Some(DiskState::ActiveUpload)) if is_proven => Stage::Proven,
        (Provisioning::Succeeded, Some(state)) if state.awaits_upload() => Stage::Awaiting,
        (Provisioning::Succeeded, _) if is_proven => Stage::Complete,
        (Provisioning::Succeeded, _) => Stage::Unusable("its upload ended before all bytes were proven"),
    }
}

/// Fills the disk of a row.
async fn run(attempt: Attempt<'_>, spec: &HubSpec) -> StepResult {
    let disk = HubDisk::of(spec)?;
    let resources = attempt.shared.ports.resources.as_ref();
    if let Some(golden) = resources.get(&spec.golden, None).await?
        && disk.is_golden(&golden, attempt.image()?)
    {
        return Ok(StepOutcome::Done);
    }
    let mut proven = FilledDisk::of(attempt.operation);
    if proven.is_none()
        && let Some(job) = others::uploads(attempt).await?
    {
        tracing::info!(%job, golden = %spec.golden, "another job creates the golden snapshot");
        return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false)));
    }
    let mut is_requested = false;
    loop {
        let Some(found) = resources.get(&spec.id, None).await? else {
            if is_requested {
                return Err(vanished(&spec.id));
            }
            is_requested = true;
            match change::create(attempt, &spec.id, disk.body.clone()).await? {
                Changed::Later(error) => return Ok(later(attempt, &error)),
                Changed::Yes | Changed::NameTaken => continue,
            }
        };
        if !disk.is_own(&found) {
            return Err(disk.foreign());
        }
        match stage(&found, proven.as_ref()) {
            Stage::Arriving => return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
            Stage::Complete => return Ok(StepOutcome::Done),
            Stage::Proven => change::end_access(attempt, &spec.id).await?,
            Stage::Awaiting => match fill::fill(attempt, spec, &found).await? {
                Ok(filled) => proven = Some(filled),
                Err(wait) => return Ok(wait),
            },
            Stage::Unusable(reason) => {
                tracing::warn!(disk = %spec.id, "it is deleted and created again: {reason}");
                ensure_unused(&found)?;
                if let Changed::Later(error) = change::delete(attempt, &spec.id).await? {
                    return Ok(later(attempt, &error));
                }
                is_requested = false;
            }
        }
    }
}

/// Rejects the deletion of a disk that a machine or a SAS uses.
pub(crate) fn ensure_unused(found: &Resource) -> Result<(), AttemptError> {
    let state = found.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
    match state {
        Some(state) if state.is_attached() || *state == DiskState::ActiveSas => {
            let message = format!("{}: it is not complete, and a machine or a SAS uses it", found.id);
            Err(AttemptError::fatal("disk-in-use", message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_model::resource::{Properties, ResourceType};
    use serde_json::json;

    use super::*;

    fn disk(state: &str, unique_id: Option<&str>, provisioning: Provisioning) -> Resource {
        let id =
            "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute/disks/d";
        let body = json!({
            "location": "westeurope",
            "properties": {
                "diskState": state, "uniqueId": unique_id,
                "creationData": { "createOption": "Upload", "uploadSizeBytes": 20_972_032 },
            },
        });
        let body = ResourceBody::from_json(ResourceType::Disk, body).unwrap();
        assert!(matches!(body.properties, Properties::Disk(_)));
        Resource { id: id.parse().unwrap(), provisioning, body }
    }

    #[test]
    fn only_a_proven_disk_is_complete() {
        let id = disk("Unattached", None, Provisioning::Succeeded).id;
        let proven = FilledDisk { id, unique_id: "a".to_owned() };
        let of = |state, unique_id, proven| stage(&disk(state, unique_id, Provisioning::Succeeded), proven);
        assert_eq!(of("Unattached", Some("A"), Some(&proven)), Stage::Complete);
        assert_eq!(of("ActiveUpload", Some("A"), Some(&proven)), Stage::Proven);
        assert_eq!(of("ReadyToUpload", Some("A"), Some(&proven)), Stage::Awaiting);
        assert_eq!(of("ActiveUpload", Some("b"), Some(&proven)), Stage::Awaiting);
        assert_eq!(of("ActiveUpload", Some("a"), None), Stage::Awaiting);
        assert_eq!(of("Unattached", None, Some(&proven)), Stage::Arriving);
        assert!(matches!(of("Unattached", Some("b"), Some(&proven)), Stage::Unusable(_)));
        assert!(matches!(of("Unattached", Some("a"), None), Stage::Unusable(_)));
        let creating = disk("Unattached", Some("a"), Provisioning::InProgress);
        assert_eq!(stage(&creating, Some(&proven)), Stage::Arriving);
    }
}
