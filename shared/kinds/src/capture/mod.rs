//! The kind `capture`: creates a managed image from snapshots of all disks of a machine.

use async_trait::async_trait;
use goldfleet_machines::spec::CaptureSpec;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{Properties, ResourceBody, ResourceId, tag};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{Provisioning, Resource};
use goldfleet_snapshots::tags::{self, Role};

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay, read_body, read_id, vanished};
use crate::context::{Attempt, read_spec};
use crate::disk::{Content, content};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome};
use crate::snapshot::TEMPORARY_MISSING;

/// The kind `capture`. Its specification is [`CaptureSpec`].
pub struct Capture;

#[async_trait]
impl Kind for Capture {
    fn id(&self) -> &'static str {
        "capture"
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Images of machines"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        let spec: CaptureSpec = read_spec(operation).ok()?;
        Some(spec.id.name.to_string())
    }

    fn delivers(&self) -> bool {
        true
    }

    fn lacks_input(&self, code: &str) -> bool {
        code == TEMPORARY_MISSING
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Ok(spec) = read_spec::<CaptureSpec>(operation) else { return Ok(Probe::Foreign) };
        let Ok(create) = Create::of(&spec) else { return Ok(Probe::Foreign) };
        Ok(match ports.resources.get(&spec.id, None).await? {
            None => Probe::Absent,
            Some(found) if !create.is_same(&found) => Probe::Foreign,
            Some(found) => match found.provisioning {
                Provisioning::Succeeded => Probe::Done,
                Provisioning::InProgress => Probe::Underway,
                Provisioning::Failed => Probe::Stale,
            },
        })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let spec: CaptureSpec = attempt.spec()?;
        let create = Create::of(&spec)?;
        let mut is_requested = false;
        loop {
            let Some(found) = attempt.shared.ports.resources.get(&spec.id, None).await? else {
                if is_requested {
                    return Err(vanished(&spec.id));
                }
                is_requested = true;
                if !create.snapshots_are_complete(attempt).await? {
                    return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false)));
                }
                match change::create(attempt, &spec.id, create.body.clone()).await? {
                    Changed::Later(error) => return Ok(later(attempt, &error)),
                    Changed::Yes | Changed::NameTaken => continue,
                }
            };
            return create.found(attempt, &found).await;
        }
    }
}

/// The image of a row.
struct Create<'a> {
    spec: &'a CaptureSpec,
    body: ResourceBody,
}

impl<'a> Create<'a> {
    fn of(spec: &'a CaptureSpec) -> Result<Self, AttemptError> {
        let body = read_body(&spec.id, &spec.body)?;
        let has_tags =
            [tags::FLEET, tags::ROLE, tags::JOB, tags::SOURCE].iter().all(|name| body.tags.contains_key(*name));
        if !has_tags || !matches!(body.properties, Properties::Image(_)) {
            let message =
                format!("the body of {} in the row is not that of an image with tags that identify it", spec.id);
            return Err(AttemptError::fatal("row-damaged", message));
        }
        Ok(Self { spec, body })
    }

    /// Whether an image has the tags of goldfleet that this row sets.
    fn is_same(&self, found: &Resource) -> bool {
        let mut own = self.body.tags.iter().filter(|(name, _)| tags::is_reserved(name));
        own.all(|(name, value)| tag(&found.body.tags, name) == Some(value))
    }

    /// The result if the image exists. An image of this job that failed is deleted, and the next attempt creates it again.
    async fn found(&self, attempt: Attempt<'_>, found: &Resource) -> Result<StepOutcome, StepError> {
        let id = &self.spec.id;
        if !self.is_same(found) {
            let message = format!("{id} exists, and does not have the tags of this job: choose another --name");
            return Err(AttemptError::fatal("image-foreign", message).into());
        }
        match found.provisioning {
            Provisioning::InProgress => Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
            Provisioning::Succeeded => Ok(StepOutcome::Done),
            Provisioning::Failed => match change::delete(attempt, id).await? {
                Changed::Later(error) => Ok(later(attempt, &error)),
                Changed::Yes | Changed::NameTaken => {
                    let message = format!("{id}: the service could not create the image");
                    Err(PortError::new(ErrorKind::Unavailable, message).with_code("image-failed").into())
                }
            },
        }
    }

    /// Checks that the snapshots are temporaries of this job. Returns whether all of them are complete.
    async fn snapshots_are_complete(&self, attempt: Attempt<'_>) -> Result<bool, StepError> {
        let fatal =
            |code, message: String| Err(AttemptError::fatal(code, format!("{}: {message}", self.spec.id)).into());
        for id in self.snapshots()? {
            let Some(found) = attempt.shared.ports.resources.get(&id, None).await? else {
                return fatal(TEMPORARY_MISSING, format!("the temporary {id} does not exist"));
            };
            let is_own = |name| tag(&found.body.tags, name) == tag(&self.body.tags, name);
            let is_temporary = Role::in_tags(&found.body.tags) == Some(Role::Temporary);
            if !is_temporary || ![tags::FLEET, tags::JOB].into_iter().all(is_own) {
                return fatal("temporary-foreign", format!("{id} does not have the tags of a temporary of this job"));
            }
            match content(&found) {
                Content::Complete => {}
                Content::Arriving => return Ok(false),
                Content::Failed(reason) => return fatal("source-failed", format!("{id} is not complete: {reason}")),
            }
        }
        Ok(true)
    }

    fn snapshots(&self) -> Result<Vec<ResourceId>, AttemptError> {
        let Properties::Image(image) = &self.body.properties else { return Ok(Vec::new()) };
        image.disks().map(|disk| read_id(disk.source().unwrap_or_default())).collect()
    }
}
