//! The kind `machine`: creates a virtual machine from disks that its job created.

use async_trait::async_trait;
use goldfleet_machines::spec::MachineSpec;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{MachineProperties, ResourceBody, tag};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::{Provisioning, Resource};
use goldfleet_snapshots::tags::{self, Role};

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay, read_body, read_id, vanished};
use crate::context::{Attempt, read_spec};
use crate::disk::CreateOutput;
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome};

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
        let spec: MachineSpec = attempt.spec()?;
        let create = Create::of(&spec)?;
        let mut is_requested = false;
        loop {
            let Some(found) = attempt.shared.ports.resources.get(&spec.id, None).await? else {
                if is_requested {
                    return Err(vanished(&spec.id));
                }
                is_requested = true;
                create.check_disks(attempt).await?;
                match change::create(attempt, &spec.id, create.body.clone()).await? {
                    Changed::Later(error) => return Ok(later(attempt, &error)),
                    Changed::Yes | Changed::NameTaken => continue,
                }
            };
            return create.found(attempt, &found).await;
        }
    }
}

/// The machine of a row.
struct Create<'a> {
    spec: &'a MachineSpec,
    body: ResourceBody,
}

impl<'a> Create<'a> {
    fn of(spec: &'a MachineSpec) -> Result<Self, AttemptError> {
        let body = read_body(&spec.id, &spec.body)?;
        let has_tags =
            [tags::FLEET, tags::ROLE, tags::JOB, tags::SOURCE].iter().all(|name| body.tags.contains_key(*name));
        if !has_tags || body.properties.machine().is_none() {
            let message =
                format!("the body of {} in the row is not that of a machine with tags that identify it", spec.id);
            return Err(AttemptError::fatal("row-damaged", message));
        }
        Ok(Self { spec, body })
    }

    /// Whether a machine has the tags of goldfleet that this row sets.
    fn is_same(&self, found: &Resource) -> bool {
        let mut own = self.body.tags.iter().filter(|(name, _)| tags::is_reserved(name));
        own.all(|(name, value)| tag(&found.body.tags, name) == Some(value))
    }

    /// The result if the machine exists. A machine is never updated or deleted, because its owner may use it already.
    async fn found(&self, attempt: Attempt<'_>, found: &Resource) -> Result<StepOutcome, StepError> {
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

    /// Checks that the disks are those of this job, and that no other machine has them.
    async fn check_disks(&self, attempt: Attempt<'_>) -> Result<(), StepError> {
        let fatal =
            |code, message: String| Err(AttemptError::fatal(code, format!("{}: {message}", self.spec.id)).into());
        for disk in self.body.properties.machine().into_iter().flat_map(MachineProperties::disks) {
            let id = read_id(disk.disk_id().unwrap_or_default())?;
            let Some(found) = attempt.shared.ports.resources.get(&id, None).await? else {
                return fatal("disk-not-found", format!("its disk {id} does not exist any more"));
            };
            let is_own = |name| tag(&found.body.tags, name) == tag(&self.body.tags, name);
            let is_clone = Role::in_tags(&found.body.tags) == Some(Role::Clone);
            if !is_clone || ![tags::FLEET, tags::JOB].into_iter().all(is_own) {
                return fatal("disk-foreign", format!("this job did not create its disk {id}"));
            }
            match found.body.machine() {
                Some(owner) if !owner.eq_ignore_ascii_case(&self.spec.id.to_string()) => {
                    return fatal("disk-in-use", format!("machine {owner} has its disk {id}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
