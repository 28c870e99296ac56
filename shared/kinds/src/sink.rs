//! Snapshots and disks that a target receives, and golden snapshots: the classification of an existing resource, and
//! the creation of a new one.
//!
//! As with managed images, a resource with the same version and content is accepted, whichever job created it. A
//! resource of the same version with other content is replaced, if this fleet created it and nothing uses it.

use goldfleet_model::image::{ImageRef, ImageTags};
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{DiskState, ResourceBody, ResourceId, tag};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::Resource;
use goldfleet_snapshots::graph::CreateSpec;
use goldfleet_snapshots::tags::{self, Role};

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay, read_body, read_id, vanished};
use crate::context::Attempt;
use crate::disk::{Content, CreateOutput, content, unique_id};
use crate::kind::Probe;
use crate::outcome::{StepError, StepOutcome, StepResult};
use crate::snapshot::TEMPORARY_MISSING;

/// The relation of an existing resource to what an operation creates.
#[derive(Debug, PartialEq, Eq)]
enum Existing {
    /// It has the version and its content.
    Same,
    /// It has the version with other content.
    Stale,
    /// It is not changed, for this reason.
    Foreign(String),
}

/// Checks whether a target has the snapshot or disk of an operation.
pub(crate) async fn probe(ports: &Ports, operation: &Operation, spec: &CreateSpec, role: Role) -> PortResult<Probe> {
    let (Some(image), Ok(sink)) = (&operation.image, Sink::of(spec, role)) else { return Ok(Probe::Foreign) };
    Ok(match ports.resources.get(&sink.id, None).await? {
        None => Probe::Absent,
        Some(found) => match sink.classify(image, &found) {
            Existing::Foreign(_) => Probe::Foreign,
            Existing::Stale => Probe::Stale,
            Existing::Same => match content(&found) {
                Content::Complete => Probe::Done,
                Content::Arriving => Probe::Underway,
                Content::Failed(_) => Probe::Stale,
            },
        },
    })
}

/// Creates the snapshot or disk of a row, or waits for it. `copied` is the unique id of the temporary to copy, if only
/// that one is right.
pub(crate) async fn run(attempt: Attempt<'_>, spec: &CreateSpec, role: Role, copied: Option<&str>) -> StepResult {
    let (sink, image) = (Sink { copied, ..Sink::of(spec, role)? }, attempt.image()?);
    let mut is_requested = false;
    loop {
        let Some(found) = attempt.shared.ports.resources.get(&sink.id, None).await? else {
            if is_requested {
                return Err(vanished(&sink.id));
            }
            is_requested = true;
            if !sink.source_is_complete(attempt).await? {
                return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false)));
            }
            match change::create(attempt, &sink.id, sink.body.clone()).await? {
                Changed::Later(error) => return Ok(later(attempt, &error)),
                Changed::Yes | Changed::NameTaken => continue,
            }
        };
        let failed = match (sink.classify(image, &found), content(&found)) {
            (Existing::Foreign(reason), _) => return Err(sink.foreign(&reason)),
            (Existing::Same, Content::Arriving) => {
                return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false)));
            }
            (Existing::Same, Content::Complete) => {
                let unique_id = unique_id(&found).unwrap_or_default();
                CreateOutput::new(&sink.id, unique_id).record(attempt).await?;
                return Ok(StepOutcome::Done);
            }
            (Existing::Same, Content::Failed(reason)) => Some(reason),
            (Existing::Stale, _) => None,
        };
        sink.ensure_unused(&found)?;
        tracing::info!(resource = %sink.id, "it has other content or failed, and is deleted");
        if let Changed::Later(error) = change::delete(attempt, &sink.id).await? {
            return Ok(later(attempt, &error));
        }
        if let Some(reason) = failed {
            let message = format!("{}: the service could not create it: {reason}", sink.id);
            return Err(PortError::new(ErrorKind::Unavailable, message).with_code("copy-failed").into());
        }
    }
}

/// The snapshot or disk of a row.
struct Sink<'a> {
    id: ResourceId,
    body: ResourceBody,
    spec: &'a CreateSpec,
    role: Role,
    /// The unique id of the temporary to copy, if only one is permitted.
    copied: Option<&'a str>,
}

impl<'a> Sink<'a> {
    fn of(spec: &'a CreateSpec, role: Role) -> Result<Self, AttemptError> {
        let id = read_id(&spec.id)?;
        let body = read_body(&id, &spec.body)?;
        if Role::in_tags(&body.tags) != Some(role) || !body.tags.contains_key(tags::FLEET) {
            let message = format!("the body of {id} in the row has no tags that identify it");
            return Err(AttemptError::fatal("row-damaged", message));
        }
        Ok(Self { id, body, spec, role, copied: None })
    }

    fn is_of_fleet(&self, found: &Resource) -> bool {
        let fleet = tag(&self.body.tags, tags::FLEET);
        fleet.is_some() && tag(&found.body.tags, tags::FLEET) == fleet
    }

    fn classify(&self, wanted: &ImageRef, found: &Resource) -> Existing {
        let foreign = |reason: String| Existing::Foreign(reason);
        let digest = ImageTags::digest_in(&found.body.tags);
        let is_ours = self.is_of_fleet(found) && Role::in_tags(&found.body.tags) == Some(self.role);
        let Some(digest) = digest.filter(|_| is_ours) else {
            return foreign("it does not have the tags that this fleet sets".to_owned());
        };
        if found.body.region != self.body.region {
            return foreign(format!("it is in {}", found.body.region));
        }
        let version = ImageTags::version_in(&found.body.tags);
        match digest == wanted.digest {
            true => Existing::Same,
            false if version == wanted.to_string() => Existing::Stale,
            false => foreign(format!("it was made of {version}, whose name in [images] is the same")),
        }
    }

    fn foreign(&self, reason: &str) -> StepError {
        let message = format!("{} exists, and {reason}: rename or delete it", self.id);
        AttemptError::fatal("sink-foreign", message).into()
    }

    /// Rejects the replacement of a resource that a machine or a SAS uses.
    fn ensure_unused(&self, found: &Resource) -> Result<(), AttemptError> {
        let state = found.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
        let is_used = found.body.machine().is_some()
            || state.is_some_and(|state| state.is_attached() || *state == DiskState::ActiveSas);
        if !is_used {
            return Ok(());
        }
        let message = format!("{}: it has other content of this version, and a machine or a SAS uses it", self.id);
        Err(AttemptError::fatal("sink-in-use", message))
    }

    /// Checks the resource to copy. Returns whether its content is complete.
    async fn source_is_complete(&self, attempt: Attempt<'_>) -> Result<bool, StepError> {
        let fatal = |code, reason: &str| Err(AttemptError::fatal(code, format!("{}: {reason}", self.id)).into());
        let data = self.body.properties.disk().map(|disk| &disk.creation_data);
        let Some(source) = data.and_then(|data| data.source_resource_id.as_deref()) else {
            return fatal("row-damaged", "the row names nothing to copy");
        };
        let found = attempt.shared.ports.resources.get(&read_id(source)?, None).await?;
        match (found, &self.spec.copied_unique_id) {
            (None, None) => fatal(TEMPORARY_MISSING, &format!("the snapshot {source} does not exist")),
            (None, Some(_)) => fatal("source-gone", &format!("{source} does not exist")),
            (Some(found), Some(expected)) if !unique_id(&found).is_some_and(|id| id.eq_ignore_ascii_case(expected)) => {
                fatal("source-changed", &format!("{source} was created again after the job was planned"))
            }
            (Some(found), None)
                if self
                    .copied
                    .is_some_and(|copied| unique_id(&found).is_none_or(|id| !id.eq_ignore_ascii_case(copied))) =>
            {
                fatal(TEMPORARY_MISSING, &format!("the disk {source} was created again after it was filled"))
            }
            (Some(found), None) if !is_input(&found, &self.body) => {
                fatal("temporary-foreign", &format!("{source} does not have the tags of this job or version"))
            }
            (Some(found), _) => match content(&found) {
                Content::Complete => Ok(true),
                Content::Arriving => Ok(false),
                Content::Failed(reason) => fatal("source-failed", &format!("{source} is not complete: {reason}")),
            },
        }
    }
}

/// Whether a resource has the content of a version: a temporary of the same job, or what a target received of the
/// version. `own` has the tags of the job, the version and the fleet.
pub(crate) fn is_input(found: &Resource, own: &ResourceBody) -> bool {
    let same = |name| tag(&own.tags, name).is_some() && tag(&found.body.tags, name) == tag(&own.tags, name);
    let is_of_role = match Role::in_tags(&found.body.tags) {
        Some(Role::Temporary) => same(tags::JOB),
        Some(Role::Sink) => true,
        _ => false,
    };
    is_of_role && same(tags::FLEET) && same(ImageTags::DIGEST)
}
