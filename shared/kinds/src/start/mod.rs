//! The kind `start`: starts a machine again that another row of the job deallocated.

use async_trait::async_trait;
use goldfleet_machines::spec::{DeallocateOutput, StartOutput, StartSpec};
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{MachineProperties, PowerState};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::MachineAction;

use crate::change::{self, Changed, later, poll_delay};
use crate::context::{Attempt, read_spec, write_spec};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome};
use crate::power;

/// The kind `start`. Its specification is [`StartSpec`].
pub struct Start;

#[async_trait]
impl Kind for Start {
    fn id(&self) -> &'static str {
        "start"
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Machines started again"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        let spec: StartSpec = read_spec(operation).ok()?;
        Some(spec.id.name.to_string())
    }

    /// Once the machine was started again, its owner may stop it.
    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Ok(spec) = read_spec::<StartSpec>(operation) else { return Ok(Probe::Foreign) };
        if operation.state.is_done() || ran(ports, operation, &spec).await?.is_none() {
            return Ok(Probe::Done);
        }
        let found = ports.resources.get(&spec.id, None).await?;
        let state =
            found.as_ref().and_then(|found| found.body.properties.machine()).map(MachineProperties::power_state);
        Ok(match state {
            Some(PowerState::Running) => Probe::Done,
            Some(PowerState::Changing) => Probe::Underway,
            _ => Probe::Absent,
        })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let spec: StartSpec = attempt.spec()?;
        let Some(stopped) = ran(&attempt.shared.ports, attempt.operation, &spec).await? else {
            tracing::info!(machine = %spec.id, "the machine is not started, because this job did not stop it");
            return Ok(StepOutcome::Done);
        };
        // A deallocation that was cancelled may take effect later than the power state shows. The service ends it
        // before it starts the machine, so the start is requested in any state.
        power::state(&attempt.shared.ports, &spec.id, &spec.vm_id).await?;
        match change::act(attempt, &spec.id, MachineAction::Start).await? {
            Changed::Later(error) => return Ok(later(attempt, &error)),
            Changed::Yes | Changed::NameTaken => {}
        }
        match power::state(&attempt.shared.ports, &spec.id, &spec.vm_id).await? {
            PowerState::Running => {
                attempt.lease.put_output(write_spec(&StartOutput { round: stopped.round })).await?;
                Ok(StepOutcome::Done)
            }
            _ => Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
        }
    }
}

/// The deallocation of a machine that ran. None if the job did not stop the machine.
async fn ran(ports: &Ports, operation: &Operation, spec: &StartSpec) -> PortResult<Option<DeallocateOutput>> {
    let row = ports.table.operation(&operation.job, &spec.deallocated_by).await?;
    let output = row.and_then(|row| row.value.output?.read::<DeallocateOutput>(1).ok());
    Ok(output.filter(|output| output.ran))
}
