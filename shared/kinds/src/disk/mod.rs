//! The kind `disk`: creates a managed disk, such as a temporary one.
//!
//! The step also creates snapshots that are not replicas, for the kind `snapshot`.

mod from_restore_point;
mod from_version;

use async_trait::async_trait;
use goldfleet_model::image::ImageTags;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{DiskState, Properties, ResourceBody, ResourceId, ResourceType};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{Provisioning, Resource};
use goldfleet_snapshots::graph::{CreateSpec, RowSpec};
use goldfleet_snapshots::tags::{self, Role};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay, read_body, read_id, vanished};
use crate::context::{Attempt, read_spec, write_spec};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome, StepResult};
use crate::snapshot::TEMPORARY_MISSING;
use crate::{downtime, power, sink};

/// The code of a snapshot of a disk that cannot be created again with the same content.
const SNAPSHOT_REMOVED: &str = "snapshot-removed";

/// The kind `disk`. Its specification is [`RowSpec::Create`] or [`RowSpec::Sink`].
pub struct Disk;

/// The output of an operation that creates a disk or snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateOutput {
    /// The resource id.
    pub id: ResourceId,
    /// The unique id, in lower case.
    pub unique_id: String,
}

impl CreateOutput {
    pub(crate) fn new(id: &ResourceId, unique_id: &str) -> Self {
        Self { id: id.clone(), unique_id: unique_id.to_ascii_lowercase() }
    }

    /// Writes the output to the row, unless it contains it.
    pub(crate) async fn record(&self, Attempt { lease, operation, .. }: Attempt<'_>) -> Result<(), StepError> {
        let output = write_spec(self);
        if operation.output.as_ref() != Some(&output) {
            lease.put_output(output).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Kind for Disk {
    fn id(&self) -> &'static str {
        "disk"
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Disks created"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        match read_spec(operation) {
            Ok(RowSpec::Create(spec) | RowSpec::Sink(spec)) => name_of(&spec),
            _ => None,
        }
    }

    fn is_delivery(&self, operation: &Operation) -> bool {
        matches!(read_spec(operation), Ok(RowSpec::Sink(_)))
    }

    fn lacks_input(&self, code: &str) -> bool {
        code == TEMPORARY_MISSING
    }

    fn creates_temporary(&self, operation: &Operation) -> bool {
        creates_temporary(operation)
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        match read_spec(operation) {
            Ok(RowSpec::Create(spec)) => probe(ports, operation, &spec).await,
            Ok(RowSpec::Sink(spec)) => sink::probe(ports, operation, &spec, Role::Sink).await,
            _ => Ok(Probe::Foreign),
        }
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        match attempt.spec()? {
            RowSpec::Create(spec) => run(attempt, &spec).await,
            RowSpec::Sink(spec) => sink::run(attempt, &spec, Role::Sink, None).await,
            _ => Err(AttemptError::fatal("row-damaged", "the row does not create a disk").into()),
        }
    }
}

/// Whether the resource of a row is deleted by its job.
pub(crate) fn creates_temporary(operation: &Operation) -> bool {
    let Ok(RowSpec::Create(spec)) = read_spec(operation) else { return false };
    spec.body["tags"][tags::ROLE] == Role::Temporary.as_str()
}

/// The name of the resource of a row.
pub(crate) fn name_of(spec: &CreateSpec) -> Option<String> {
    Some(spec.id.parse::<ResourceId>().ok()?.name.to_string())
}

/// Checks whether the resource of a row exists. A temporary is deleted by another row after its use, so its absence is
/// no fault once it was created.
pub(crate) async fn probe(ports: &Ports, operation: &Operation, spec: &CreateSpec) -> PortResult<Probe> {
    let Ok(create) = Create::of(spec) else { return Ok(Probe::Foreign) };
    let is_temporary = Role::in_tags(&create.body.tags) == Some(Role::Temporary);
    Ok(match ports.resources.get(&create.id, None).await? {
        None if is_temporary && operation.state.is_done() => Probe::Done,
        None => Probe::Absent,
        Some(found) if !create.is_same(&found) => Probe::Foreign,
        Some(found) => match content(&found) {
            Content::Complete => Probe::Done,
            Content::Arriving => Probe::Underway,
            Content::Failed(_) => Probe::Stale,
        },
    })
}

/// Creates the resource of a row, or waits for it.
pub(crate) async fn run(attempt: Attempt<'_>, spec: &CreateSpec) -> StepResult {
    let until = downtime::end(attempt, spec.requires_stopped.as_ref()).await?;
    let ended = create_once(attempt, spec, until).await;
    match until {
        Some(until) => downtime::bound(ended, until, attempt.shared.ports.clock.now()),
        None => ended,
    }
}

async fn create_once(attempt: Attempt<'_>, spec: &CreateSpec, until: Option<Timestamp>) -> StepResult {
    let create = Create::of(spec)?;
    let is_remote = spec.body["properties"]["creationData"]["createOption"] == "CopyStart";
    let mut is_requested = false;
    loop {
        let found = attempt.shared.ports.resources.get(&create.id, None).await?;
        let Some(found) = found else {
            if is_requested {
                return Err(vanished(&create.id));
            }
            is_requested = true;
            create.ensure_first(attempt)?;
            downtime::check(attempt, &create.id, until)?;
            // The operation that created a golden snapshot has ended, so the snapshot is read only after an error.
            if spec.copied_from.is_none() && !create.source_is_complete(attempt).await? {
                return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, is_remote)));
            }
            create.ensure_stopped(attempt).await?;
            let body = match &spec.restored {
                Some(restored) => from_restore_point::body(attempt, restored, create.body.clone()).await?,
                None => create.body.clone(),
            };
            match change::create(attempt, &create.id, body).await {
                Ok(Changed::Later(error)) => return Ok(later(attempt, &error)),
                Ok(Changed::Yes | Changed::NameTaken) => continue,
                Err(StepError::Failed(error)) if spec.copied_from.is_some() && !error.retryable => {
                    create.source_is_complete(attempt).await?;
                    return Err(error.into());
                }
                Err(StepError::Failed(error)) => {
                    let is_temporary = spec.copied_unique_id.is_none();
                    return from_version::refused(attempt, (&create.id, &create.body), is_temporary, error).await;
                }
                Err(error) => return Err(error),
            }
        };
        create.check(&found)?;
        create.check_golden(attempt, &found).await?;
        return match content(&found) {
            Content::Arriving => Ok(StepOutcome::RequeueAfter(poll_delay(attempt, is_remote))),
            Content::Complete => {
                // The machine may have been started between the check and the creation.
                create.ensure_stopped(attempt).await?;
                let unique_id = unique_id(&found).unwrap_or_default();
                CreateOutput::new(&create.id, unique_id).record(attempt).await?;
                Ok(StepOutcome::Done)
            }
            Content::Failed(reason) => match change::delete(attempt, &create.id).await? {
                Changed::Later(error) => Ok(later(attempt, &error)),
                Changed::Yes | Changed::NameTaken => {
                    let message = format!("{}: the service could not create it: {reason}", create.id);
                    Err(PortError::new(ErrorKind::Unavailable, message).with_code("copy-failed").into())
                }
            },
        };
    }
}

/// The resource of a row.
struct Create<'a> {
    id: ResourceId,
    body: ResourceBody,
    spec: &'a CreateSpec,
}

impl<'a> Create<'a> {
    fn of(spec: &'a CreateSpec) -> Result<Self, AttemptError> {
        let id = read_id(&spec.id)?;
        let body = read_body(&id, &spec.body)?;
        if !body.tags.contains_key(tags::FLEET) || !body.tags.contains_key(tags::ROLE) {
            let message = format!("the body of {id} in the row has no tags that identify it");
            return Err(AttemptError::fatal("row-damaged", message));
        }
        Ok(Self { id, body, spec })
    }

    /// Whether a resource has the tags of goldfleet that this row sets.
    fn is_same(&self, found: &Resource) -> bool {
        tags::has_reserved(&found.body.tags, &self.body.tags)
    }

    /// Whether a resource is a temporary of the same job, with the same source.
    fn is_temporary_of_job(&self, found: &Resource) -> bool {
        Role::in_tags(&found.body.tags) == Some(Role::Temporary)
            && tags::agree(&found.body.tags, &self.body.tags, &[tags::FLEET, tags::JOB, tags::SOURCE])
    }

    /// Whether a resource is a golden snapshot of the same disk and version.
    fn is_golden_of_version(&self, found: &Resource) -> bool {
        Role::in_tags(&found.body.tags) == Some(Role::Golden)
            && tags::agree(&found.body.tags, &self.body.tags, &[tags::FLEET, tags::SOURCE, ImageTags::DIGEST])
    }

    /// The code of an existing resource that this row did not create.
    fn foreign_code(&self) -> &'static str {
        match (Role::in_tags(&self.body.tags), self.id.resource_type) {
            (Some(Role::Temporary), _) => "temporary-foreign",
            (_, ResourceType::Snapshot) => "snapshot-foreign",
            _ => "disk-foreign",
        }
    }

    /// Rejects the second creation of a resource that must be created at most once.
    fn ensure_first(&self, attempt: Attempt<'_>) -> Result<(), AttemptError> {
        if !self.spec.once || attempt.operation.output.is_none() {
            return Ok(());
        }
        let message = format!("{} was removed, and another snapshot of the disk may have other content", self.id);
        Err(AttemptError::fatal(SNAPSHOT_REMOVED, message))
    }

    /// Rejects the copy of a disk whose machine runs, if the row demands that.
    async fn ensure_stopped(&self, attempt: Attempt<'_>) -> Result<(), StepError> {
        match &self.spec.requires_stopped {
            Some(machine) => power::ensure_stopped(attempt, machine).await,
            None => Ok(()),
        }
    }

    /// Rejects a resource that this row did not create, or that is a copy of another source.
    fn check(&self, found: &Resource) -> Result<(), AttemptError> {
        let Self { id, spec, .. } = self;
        if !self.is_same(found) {
            let message = format!("{id} exists, and does not have the tags of this job: rename or delete it");
            return Err(AttemptError::fatal(self.foreign_code(), message));
        }
        let copied = found.body.properties.disk().and_then(|disk| disk.creation_data.source_unique_id.as_deref());
        match (&spec.copied_unique_id, copied) {
            (Some(expected), Some(copied)) if !copied.eq_ignore_ascii_case(expected) => {
                let message = format!("{id}: its source was created again when the copy began");
                Err(AttemptError::fatal("source-changed", message))
            }
            _ => Ok(()),
        }
    }

    /// Rejects a copy of another snapshot than the golden one. The output of the operation that created it has its
    /// unique id. If another snapshot has its name now, that one is read.
    async fn check_golden(&self, attempt: Attempt<'_>, found: &Resource) -> Result<(), StepError> {
        let Some(operation) = &self.spec.copied_from else { return Ok(()) };
        let Attempt { shared, operation: own, .. } = attempt;
        let golden = shared.ports.table.operation(&own.job, operation).await?;
        let output = golden.and_then(|row| row.value.output?.read::<CreateOutput>(1).ok());
        let data = found.body.properties.disk().map(|disk| &disk.creation_data);
        let copied = data.and_then(|data| data.source_unique_id.as_deref());
        let is_copied = |id: &str| copied.is_some_and(|copied| copied.eq_ignore_ascii_case(id));
        if output.is_some_and(|output| is_copied(&output.unique_id)) {
            return Ok(());
        }
        let source = data.and_then(|data| data.source_resource_id.as_deref()).unwrap_or_default();
        let golden = shared.ports.resources.get(&read_id(source)?, None).await?;
        let is_right = |golden: &Resource| {
            self.is_golden_of_version(golden) && (copied.is_none() || unique_id(golden).is_some_and(is_copied))
        };
        if golden.as_ref().is_some_and(is_right) {
            return Ok(());
        }
        let message = format!("{}: it is not a copy of the golden snapshot {source}", self.id);
        Err(AttemptError::fatal("source-changed", message).into())
    }

    /// Checks the resource to copy. Returns whether its content is complete.
    async fn source_is_complete(&self, attempt: Attempt<'_>) -> Result<bool, StepError> {
        let data = self.body.properties.disk().map(|disk| &disk.creation_data);
        let Some(source) = data.and_then(|data| data.source_resource_id.as_deref()) else { return Ok(true) };
        let fatal = |code, reason: &str| Err(AttemptError::fatal(code, format!("{}: {reason}", self.id)).into());
        let found = attempt.shared.ports.resources.get(&read_id(source)?, None).await?;
        match (found, &self.spec.copied_unique_id) {
            (None, None) => fatal(TEMPORARY_MISSING, &format!("the temporary {source} does not exist")),
            (None, Some(_)) => fatal("source-gone", &format!("{source} does not exist")),
            (Some(found), None) if !self.is_temporary_of_job(&found) && !self.is_golden_of_version(&found) => {
                fatal("temporary-foreign", &format!("{source} does not have the tags of this job or version"))
            }
            (Some(found), Some(expected)) if !unique_id(&found).is_some_and(|id| id.eq_ignore_ascii_case(expected)) => {
                fatal("source-changed", &format!("{source} was created again after the job was planned"))
            }
            (Some(found), _) => match content(&found) {
                Content::Complete => Ok(true),
                Content::Arriving => Ok(false),
                Content::Failed(reason) => fatal("source-failed", &format!("{source} is not complete: {reason}")),
            },
        }
    }
}

pub(crate) fn unique_id(found: &Resource) -> Option<&str> {
    found.body.properties.disk()?.unique_id.as_deref()
}

/// The content of a disk or snapshot.
pub(crate) enum Content {
    Complete,
    Arriving,
    /// It will not arrive, for this reason.
    Failed(String),
}

pub(crate) fn content(found: &Resource) -> Content {
    if let Properties::Snapshot(snapshot) = &found.body.properties {
        if let Some(error) = &snapshot.copy_completion_error {
            return Content::Failed(format!("{}: {}", error.error_code, error.error_message));
        }
        if !snapshot.is_complete() && found.provisioning != Provisioning::Failed {
            return Content::Arriving;
        }
    }
    if let Properties::Disk(disk) = &found.body.properties
        && disk.disk_state.as_ref().is_some_and(DiskState::awaits_upload)
    {
        return Content::Arriving;
    }
    // A disk of some types is usable before its content has arrived, and cannot be copied until then.
    let percent = found.body.properties.disk().and_then(|disk| disk.other.get("completionPercent")?.as_f64());
    match found.provisioning {
        Provisioning::Succeeded if percent.is_some_and(|percent| percent < 100.0) => Content::Arriving,
        Provisioning::Succeeded => Content::Complete,
        Provisioning::InProgress => Content::Arriving,
        Provisioning::Failed => Content::Failed("the service reports it as failed".to_owned()),
    }
}
