//! The kind `lock`: puts the lock of a sync on a replica that was copied before the sync had locks.

use async_trait::async_trait;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{LockLevel, ResourceId};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resource_locks::LockRequest;
use goldfleet_snapshots::graph::RowSpec;
use goldfleet_snapshots::remove::Lock as Found;

use crate::attempt_error::AttemptError;
use crate::change::{own_lock, poll_delay, read_id};
use crate::context::{Attempt, read_spec};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome};
use crate::snapshot::{Reading, read};

/// The kind `lock`. Its specification is [`RowSpec::Lock`].
pub struct Lock;

#[async_trait]
impl Kind for Lock {
    fn id(&self) -> &'static str {
        "lock"
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Replicas locked"
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Ok(RowSpec::Lock(spec)) = read_spec(operation) else { return Ok(Probe::Foreign) };
        let Ok(id) = read_id(&spec.id.to_string()) else { return Ok(Probe::Foreign) };
        // A replica that was deleted or replaced since then needs no lock.
        match read(ports, &spec.id).await? {
            Reading::Found(found) if found.unique_id == spec.unique_id => {}
            _ => return Ok(Probe::Done),
        }
        let locks = ports.locks.locks(&id, None).await?;
        Ok(if locks.iter().any(|lock| lock.is_of(&spec.sync, &id)) { Probe::Done } else { Probe::Absent })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let RowSpec::Lock(spec) = attempt.spec()? else {
            return Err(AttemptError::fatal("row-damaged", "the row does not lock anything").into());
        };
        let id = read_id(&spec.id.to_string())?;
        let found = match read(&attempt.shared.ports, &spec.id).await? {
            Reading::Absent => return Ok(StepOutcome::Done),
            Reading::BeingCreated => return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
            Reading::Found(found) => found,
        };
        if found.unique_id != spec.unique_id {
            tracing::info!(snapshot = %spec.id, "another snapshot has the name of the replica, so it is not locked");
            return Ok(StepOutcome::Done);
        }
        if let Err(reason) = spec.check(&found) {
            return Err(AttemptError::fatal("snapshot-foreign", format!("{id} is not locked: {reason}")).into());
        }
        put(attempt, &id, &spec.sync).await?;
        Ok(StepOutcome::Done)
    }
}

/// Puts the lock of a sync on one of its replicas.
pub(crate) async fn put(attempt: Attempt<'_>, id: &ResourceId, sync: &str) -> Result<(), StepError> {
    attempt.lease.ensure_held()?;
    let request = LockRequest {
        id: own_lock(id, &Found::name_of(sync))?,
        tenant: None,
        level: LockLevel::CanNotDelete,
        notes: format!("Sync {sync:?} of goldfleet keeps this replica, and deletes the lock before it."),
    };
    Ok(attempt.shared.ports.locks.put_lock(&request).await?)
}
