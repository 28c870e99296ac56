//! The power state of machines, as the kinds that stop, start and copy them need it.

use goldfleet_model::resource::{PowerState, ResourceId};
use goldfleet_ports::Ports;
use goldfleet_snapshots::graph::RequiresStopped;

use crate::attempt_error::AttemptError;
use crate::change::read_id;
use crate::context::Attempt;
use crate::outcome::StepError;

/// Reads the power state of a machine.
///
/// # Errors
/// A fatal `machine-gone` or `machine-changed` if the machine with this `vm_id` does not exist any more.
pub(crate) async fn state(ports: &Ports, id: &ResourceId, vm_id: &str) -> Result<PowerState, StepError> {
    let fatal = |code, reason: &str| Err(AttemptError::fatal(code, format!("{id}: {reason}")).into());
    let found = ports.resources.get(id, None).await?;
    let Some(found) = found else { return fatal("machine-gone", "the machine does not exist") };
    let Some(machine) = found.body.properties.machine() else {
        return fatal("row-damaged", "the row names another resource than a machine");
    };
    match &machine.vm_id {
        Some(found) if found.eq_ignore_ascii_case(vm_id) => Ok(machine.power_state()),
        _ => fatal("machine-changed", "the machine was created again after the job was planned"),
    }
}

/// Rejects the copy of a disk if its machine runs: the disks of a machine that runs do not have their content of one
/// moment.
pub(crate) async fn ensure_stopped(attempt: Attempt<'_>, machine: &RequiresStopped) -> Result<(), StepError> {
    let id = read_id(&machine.machine)?;
    if state(&attempt.shared.ports, &id, &machine.vm_id).await?.is_stopped() {
        return Ok(());
    }
    let message = format!(
        "{id}: the machine runs, so its disks are not copied. A retry does not stop it again: stop it and retry, or \
         create a new job with --stop"
    );
    Err(AttemptError::fatal("machine-running", message).into())
}
