//! The kind `machine`: creates a virtual machine from disks that its job created.

use async_trait::async_trait;
use goldfleet_machines::spec::MachineSpec;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{MachineProperties, ResourceBody, ResourceId};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::{Provisioning, Resource};
use goldfleet_snapshots::tags::Role;

use crate::attempt_error::AttemptError;
use crate::change::{poll_delay, read_id};
use crate::context::{Attempt, read_spec};
use crate::creation::{self, Creation};
use crate::disk::CreateOutput;
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome, StepResult};

/// The kind `machine`. Its specification is [`MachineSpec`].
pub struct Machine;

#[async_trait]
impl Kind for Machine {
    fn id(&self) -> &'static str {
        "machine"
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Machines created"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        let spec: MachineSpec = read_spec(operation).ok()?;
        Some(spec.id.name.to_string())
    }

    fn delivers(&self) -> bool {
        true
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Ok(spec) = read_spec::<MachineSpec>(operation) else { return Ok(Probe::Foreign) };
        let Ok(create) = Create::of(&spec) else { return Ok(Probe::Foreign) };
        creation::probe(ports, &create).await
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let spec: MachineSpec = attempt.spec()?;
        creation::run(attempt, &Create::of(&spec)?).await
    }
}

/// The machine of a row.
struct Create<'a> {
    spec: &'a MachineSpec,
    body: ResourceBody,
}

impl<'a> Create<'a> {
    fn of(spec: &'a MachineSpec) -> Result<Self, AttemptError> {
        let body = creation::read(&spec.id, &spec.body, "a machine", |body| body.properties.machine().is_some())?;
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

    /// Checks that the disks are those of this job, and that no other machine has them.
    async fn prepare(&self, attempt: Attempt<'_>) -> Result<Option<StepOutcome>, StepError> {
        for disk in self.body.properties.machine().into_iter().flat_map(MachineProperties::disks) {
            let id = read_id(disk.disk_id().unwrap_or_default())?;
            let Some(found) = attempt.shared.ports.resources.get(&id, None).await? else {
                return Err(self.fatal("disk-not-found", format!("its disk {id} does not exist any more")));
            };
            if !self.is_of_job(&found, Role::Clone) {
                return Err(self.fatal("disk-foreign", format!("this job did not create its disk {id}")));
            }
            match found.body.machine() {
                Some(owner) if !owner.eq_ignore_ascii_case(&self.spec.id.to_string()) => {
                    return Err(self.fatal("disk-in-use", format!("machine {owner} has its disk {id}")));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// A machine is never updated or deleted, because its owner may use it already.
    async fn found(&self, attempt: Attempt<'_>, found: &Resource) -> StepResult {
        let id = &self.spec.id;
        if !self.is_same(found) {
            let message = format!("{id} exists, and does not have the tags of this job: choose another --name");
            return Err(AttemptError::fatal("machine-foreign", message).into());
        }
        match found.provisioning {
            Provisioning::InProgress => Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
            Provisioning::Failed => {
                let message =
                    format!("{id}: the service reports the machine as failed: repair or delete it, then retry");
                Err(AttemptError::fatal("machine-failed", message).into())
            }
            Provisioning::Succeeded => {
                let vm_id = found.body.properties.machine().and_then(|machine| machine.vm_id.as_deref());
                CreateOutput::new(id, vm_id.unwrap_or_default()).record(attempt).await?;
                Ok(StepOutcome::Done)
            }
        }
    }
}
