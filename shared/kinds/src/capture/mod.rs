//! The kind `capture`: creates a managed image from snapshots of all disks of a machine.

use async_trait::async_trait;
use goldfleet_machines::spec::CaptureSpec;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{Properties, ResourceBody, ResourceId};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{Provisioning, Resource};
use goldfleet_snapshots::tags::Role;

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay, read_id};
use crate::context::{Attempt, read_spec};
use crate::creation::{self, Creation};
use crate::disk::{Content, content};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome, StepResult};
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
        creation::probe(ports, &create).await
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let spec: CaptureSpec = attempt.spec()?;
        creation::run(attempt, &Create::of(&spec)?).await
    }
}

/// The image of a row.
struct Create<'a> {
    spec: &'a CaptureSpec,
    body: ResourceBody,
}

impl<'a> Create<'a> {
    fn of(spec: &'a CaptureSpec) -> Result<Self, AttemptError> {
        let body =
            creation::read(&spec.id, &spec.body, "an image", |body| matches!(body.properties, Properties::Image(_)))?;
        Ok(Self { spec, body })
    }
}

#[async_trait]
impl Creation for Create<'_> {
    fn id(&self) -> &ResourceId {
        &self.spec.id
    }

    fn body(&self) -> &ResourceBody {
        &self.body
    }

    /// Checks that the snapshots are temporaries of this job, and that they are complete.
    async fn prepare(&self, attempt: Attempt<'_>) -> Result<Option<StepOutcome>, StepError> {
        for id in self.snapshots()? {
            let Some(found) = attempt.shared.ports.resources.get(&id, None).await? else {
                return Err(self.fatal(TEMPORARY_MISSING, format!("the temporary {id} does not exist")));
            };
            if !self.is_of_job(&found, Role::Temporary) {
                let reason = format!("{id} does not have the tags of a temporary of this job");
                return Err(self.fatal("temporary-foreign", reason));
            }
            match content(&found) {
                Content::Complete => {}
                Content::Arriving => return Ok(Some(StepOutcome::RequeueAfter(poll_delay(attempt, false)))),
                Content::Failed(reason) => {
                    return Err(self.fatal("source-failed", format!("{id} is not complete: {reason}")));
                }
            }
        }
        Ok(None)
    }

    /// An image of this job that failed is deleted, and the next attempt creates it again.
    async fn found(&self, attempt: Attempt<'_>, found: &Resource) -> StepResult {
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
}

impl Create<'_> {
    fn snapshots(&self) -> Result<Vec<ResourceId>, AttemptError> {
        let Properties::Image(image) = &self.body.properties else { return Ok(Vec::new()) };
        image.disks().map(|disk| read_id(disk.source().unwrap_or_default())).collect()
    }
}
