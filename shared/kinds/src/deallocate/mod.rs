//! The kind `deallocate`: stops a machine and releases its host, so that its disks can be copied.

use async_trait::async_trait;
use goldfleet_machines::spec::{DeallocateOutput, DeallocateSpec, StartOutput};
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::PowerState;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::MachineAction;

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, poll_delay};
use crate::context::{Attempt, read_spec, write_spec};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome};
use crate::power;

/// The kind `deallocate`. Its specification is [`DeallocateSpec`], its output [`DeallocateOutput`].
pub struct Deallocate;

#[async_trait]
impl Kind for Deallocate {
    fn id(&self) -> &'static str {
        "deallocate"
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Machines stopped"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        let spec: DeallocateSpec = read_spec(operation).ok()?;
        Some(spec.id.name.to_string())
    }

    /// The effect is temporary: the machine is started again.
    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Ok(spec) = read_spec::<DeallocateSpec>(operation) else { return Ok(Probe::Foreign) };
        if operation.state.is_done() {
            return Ok(Probe::Done);
        }
        Ok(match ports.resources.get(&spec.id, None).await?.map(|found| found.body) {
            None => Probe::Absent,
            Some(body) => match body.properties.machine() {
                Some(machine) if machine.power_state().is_stopped() => Probe::Done,
                Some(machine) if machine.power_state() == PowerState::Changing => Probe::Underway,
                Some(_) => Probe::Absent,
                None => Probe::Foreign,
            },
        })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let spec: DeallocateSpec = attempt.spec()?;
        let (mut recorded, round) = earlier_record(attempt, &spec).await?;
        let mut is_requested = false;
        loop {
            match power::state(&attempt.shared.ports, &spec.id, &spec.vm_id).await? {
                PowerState::Stopped | PowerState::Deallocated => {
                    if recorded.is_none() {
                        attempt.lease.put_output(write_spec(&DeallocateOutput { ran: false, round, at: None })).await?;
                    }
                    return Ok(StepOutcome::Done);
                }
                PowerState::Changing => return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
                PowerState::Running if is_requested => {
                    return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false)));
                }
                PowerState::Running => {
                    // The row that starts the machine again must know this, even if this worker is killed now.
                    if !recorded.is_some_and(|recorded| recorded.ran) {
                        let at = Some(attempt.shared.ports.clock.now());
                        let output = DeallocateOutput { ran: true, round, at };
                        attempt.lease.put_output(write_spec(&output)).await?;
                        recorded = Some(output);
                    }
                    tracing::info!(machine = %spec.id, "the machine is deallocated; it is started again after its disks have snapshots");
                    match change::act(attempt, &spec.id, MachineAction::Deallocate).await? {
                        Changed::Later(error) => return Ok(later(attempt, &error)),
                        Changed::Yes | Changed::NameTaken => is_requested = true,
                    }
                }
                PowerState::Unknown => {
                    let message = format!("{}: the service does not report whether the machine runs", spec.id);
                    return Err(AttemptError::fatal("machine-state-unknown", message).into());
                }
            }
        }
    }
}

/// What an earlier attempt recorded about the machine, and the number of this deallocation. A record is not valid after
/// the machine was started again: if it is stopped now, its owner stopped it.
async fn earlier_record(
    attempt: Attempt<'_>,
    spec: &DeallocateSpec,
) -> Result<(Option<DeallocateOutput>, u32), StepError> {
    let Attempt { shared, operation, .. } = attempt;
    let own = operation.output.as_ref().and_then(|output| output.read::<DeallocateOutput>(1).ok());
    let Some(own) = own else { return Ok((None, 1)) };
    let start = shared.ports.table.operation(&operation.job, &spec.started_by).await?;
    let started = start.and_then(|row| row.value.output?.read::<StartOutput>(1).ok());
    Ok(match started {
        Some(started) if started.round >= own.round => (None, own.round.saturating_add(1)),
        _ => (Some(own), own.round),
    })
}
