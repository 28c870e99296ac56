//! The kind `gallery`: creates the temporary gallery, definition and version by which the content of a managed image is
//! read.

use async_trait::async_trait;
use goldfleet_galleries::temporary::ItemSpec;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{Properties, ResourceBody, ResourceId};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{Provisioning, Resource};

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay};
use crate::context::{Attempt, read_spec};
use crate::creation::{self, Creation};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome, StepResult};
use crate::snapshot::TEMPORARY_MISSING;

/// The code of a parent that does not exist.
const PARENT_MISSING: &str = "parent-resource-not-found";

/// The kind `gallery`. Its specification is [`ItemSpec`].
pub struct Gallery;

#[async_trait]
impl Kind for Gallery {
    fn id(&self) -> &'static str {
        "gallery"
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Temporary galleries"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        let spec: ItemSpec = read_spec(operation).ok()?;
        Some(spec.id.name.to_string())
    }

    fn creates_temporary(&self, _operation: &Operation) -> bool {
        true
    }

    fn lacks_input(&self, code: &str) -> bool {
        code == TEMPORARY_MISSING
    }

    /// A temporary is deleted by another row after its use, so its absence is no fault once it was created.
    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Ok(spec) = read_spec::<ItemSpec>(operation) else { return Ok(Probe::Foreign) };
        let Ok(item) = Item::of(&spec) else { return Ok(Probe::Foreign) };
        match creation::probe(ports, &item).await? {
            Probe::Absent if operation.state.is_done() => Ok(Probe::Done),
            found => Ok(found),
        }
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let spec: ItemSpec = attempt.spec()?;
        match creation::run(attempt, &Item::of(&spec)?).await {
            Err(StepError::Failed(error)) if error.code == PARENT_MISSING => {
                Err(AttemptError { code: TEMPORARY_MISSING.to_owned(), ..error }.into())
            }
            ended => ended,
        }
    }
}

/// The gallery, definition or version of a row.
struct Item<'a> {
    spec: &'a ItemSpec,
    body: ResourceBody,
}

impl<'a> Item<'a> {
    fn of(spec: &'a ItemSpec) -> Result<Self, AttemptError> {
        let is_valid = |body: &ResourceBody| {
            matches!(
                body.properties,
                Properties::Gallery(_) | Properties::Definition(_) | Properties::GalleryVersion(_)
            )
        };
        Ok(Self { spec, body: creation::read(&spec.id, &spec.body, "a gallery or what is in one", is_valid)? })
    }
}

#[async_trait]
impl Creation for Item<'_> {
    fn id(&self) -> &ResourceId {
        &self.spec.id
    }

    fn body(&self) -> &ResourceBody {
        &self.body
    }

    /// Checks that the image of a version is the one that was planned.
    async fn prepare(&self, attempt: Attempt<'_>) -> Result<Option<StepOutcome>, StepError> {
        let Some((id, fingerprint)) = &self.spec.image else { return Ok(None) };
        let Some(found) = attempt.shared.ports.resources.get(id, None).await? else {
            return Err(self.fatal("source-gone", format!("{id} does not exist")));
        };
        match &found.body.properties {
            Properties::Image(image) if image.fingerprint(id) == *fingerprint => Ok(None),
            _ => Err(self.fatal("source-changed", format!("{id} was created again after the job was planned"))),
        }
    }

    /// What failed is deleted, and the next attempt creates it again.
    async fn found(&self, attempt: Attempt<'_>, found: &Resource) -> StepResult {
        let id = &self.spec.id;
        if !self.is_same(found) {
            return Err(self.fatal("temporary-foreign", "it exists, and does not have the tags of this job"));
        }
        match found.provisioning {
            Provisioning::InProgress => Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
            Provisioning::Succeeded => Ok(StepOutcome::Done),
            Provisioning::Failed => match change::delete(attempt, id).await? {
                Changed::Later(error) => Ok(later(attempt, &error)),
                Changed::Yes | Changed::NameTaken => {
                    let message = format!("{id}: the service could not create it");
                    Err(PortError::new(ErrorKind::Unavailable, message).with_code("copy-failed").into())
                }
            },
        }
    }
}
