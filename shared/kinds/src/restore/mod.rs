//! The kind `restore`: creates a restore point of a machine that may run, in a collection of the job.

use async_trait::async_trait;
use goldfleet_machines::spec::RestoreSpec;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{
    Attachment, Properties, ResourceBody, ResourceId, ResourceType, RestorePointProperties,
};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{Provisioning, Resource};

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay, vanished};
use crate::context::{Attempt, read_spec};
use crate::creation::{self, Creation};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome, StepResult};

/// The kind `restore`. Its specification is [`RestoreSpec`].
pub struct Restore;

#[async_trait]
impl Kind for Restore {
    fn id(&self) -> &'static str {
        "restore"
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Restore points"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        let spec: RestoreSpec = read_spec(operation).ok()?;
        Some(spec.point.name.to_string())
    }

    fn creates_temporary(&self, _operation: &Operation) -> bool {
        true
    }

    /// A temporary is deleted by another row after its use, so its absence is no fault once it was created.
    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Ok(spec) = read_spec::<RestoreSpec>(operation) else { return Ok(Probe::Foreign) };
        let Ok(collection) = Collection::of(&spec) else { return Ok(Probe::Foreign) };
        match creation::probe(ports, &collection).await? {
            Probe::Absent if operation.state.is_done() => return Ok(Probe::Done),
            Probe::Done => {}
            found => return Ok(found),
        }
        Ok(match ports.resources.get(&spec.point, None).await?.map(|found| found.provisioning) {
            None => Probe::Absent,
            Some(Provisioning::Succeeded) => Probe::Done,
            Some(Provisioning::InProgress) => Probe::Underway,
            Some(Provisioning::Failed) => Probe::Stale,
        })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let spec: RestoreSpec = attempt.spec()?;
        match creation::run(attempt, &Collection::of(&spec)?).await? {
            StepOutcome::Done => create_point(attempt, &spec).await,
            wait @ StepOutcome::RequeueAfter(_) => Ok(wait),
        }
    }
}

/// Creates the restore point, or finds it. Its collection proves that it is the one of the job.
async fn create_point(attempt: Attempt<'_>, spec: &RestoreSpec) -> StepResult {
    let id = &spec.point;
    let mut is_requested = false;
    loop {
        let Some(found) = attempt.shared.ports.resources.get(id, None).await? else {
            if is_requested {
                return Err(vanished(id));
            }
            is_requested = true;
            check_machine(attempt, spec).await?;
            match change::create(attempt, id, point_body(spec)?).await? {
                Changed::Later(error) => return Ok(later(attempt, &error)),
                Changed::Yes | Changed::NameTaken => continue,
            }
        };
        return judge(attempt, spec, &found).await;
    }
}

async fn judge(attempt: Attempt<'_>, spec: &RestoreSpec, found: &Resource) -> StepResult {
    let id = &spec.point;
    match found.provisioning {
        Provisioning::InProgress => Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
        Provisioning::Succeeded => {
            let vm_id = found.body.properties.restore_point().and_then(RestorePointProperties::vm_id);
            match vm_id {
                Some(vm_id) if vm_id != spec.vm_id => Err(replaced(id)),
                _ => Ok(StepOutcome::Done),
            }
        }
        Provisioning::Failed => match change::delete(attempt, id).await? {
            Changed::Later(error) => Ok(later(attempt, &error)),
            Changed::Yes | Changed::NameTaken => {
                let message = format!("{id}: the service could not create the restore point");
                Err(PortError::new(ErrorKind::Unavailable, message).with_code("copy-failed").into())
            }
        },
    }
}

/// Rejects another machine that got the name of the source.
async fn check_machine(attempt: Attempt<'_>, spec: &RestoreSpec) -> Result<(), StepError> {
    let body = Collection::of(spec)?.body;
    let source = match &body.properties {
        Properties::RestorePointCollection(collection) => collection.source.as_ref(),
        _ => None,
    };
    let machine = change::read_id(source.map_or("", |Attachment { id }| id))?;
    let found = attempt.shared.ports.resources.get(&machine, None).await?;
    let found = found.as_ref().and_then(|found| found.body.properties.machine());
    match found.and_then(|machine| machine.vm_id.as_deref()) {
        Some(vm_id) if vm_id.eq_ignore_ascii_case(&spec.vm_id) => Ok(()),
        Some(_) => Err(replaced(&machine)),
        None => Err(AttemptError::fatal("source-gone", format!("{machine} does not exist")).into()),
    }
}

fn replaced(id: &ResourceId) -> StepError {
    AttemptError::fatal("source-changed", format!("{id}: another machine has the name of the source")).into()
}

/// The body of the request for a restore point. The state of the disks is that after a power failure.
fn point_body(spec: &RestoreSpec) -> Result<ResourceBody, StepError> {
    let value = serde_json::json!({ "properties": { "consistencyMode": "CrashConsistent" } });
    let damaged = |error| AttemptError::fatal("row-damaged", format!("{}: {error}", spec.point));
    Ok(ResourceBody::from_json(ResourceType::RestorePoint, value).map_err(damaged)?)
}

/// The collection of a row.
struct Collection<'a> {
    spec: &'a RestoreSpec,
    body: ResourceBody,
}

impl<'a> Collection<'a> {
    fn of(spec: &'a RestoreSpec) -> Result<Self, AttemptError> {
        let is_valid = |body: &ResourceBody| matches!(body.properties, Properties::RestorePointCollection(_));
        Ok(Self { spec, body: creation::read(&spec.id, &spec.body, "a collection of restore points", is_valid)? })
    }
}

#[async_trait]
impl Creation for Collection<'_> {
    fn id(&self) -> &ResourceId {
        &self.spec.id
    }

    fn body(&self) -> &ResourceBody {
        &self.body
    }

    async fn prepare(&self, attempt: Attempt<'_>) -> Result<Option<StepOutcome>, StepError> {
        check_machine(attempt, self.spec).await?;
        Ok(None)
    }

    async fn found(&self, attempt: Attempt<'_>, found: &Resource) -> StepResult {
        if !self.is_same(found) {
            return Err(self.fatal("temporary-foreign", "it exists, and does not have the tags of this job"));
        }
        match found.provisioning {
            Provisioning::InProgress => Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
            Provisioning::Succeeded | Provisioning::Failed => Ok(StepOutcome::Done),
        }
    }
}
