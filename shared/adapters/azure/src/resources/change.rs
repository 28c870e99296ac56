//! Changes that Resource Manager has accepted and not finished.

use std::time::Duration;

use goldfleet_model::resource::{DiskState, MachineProperties, PowerState, ResourceId};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{ChangeStatus, Pending, Provisioning, Resource, ResourceService as _};
use serde::{Deserialize, Serialize};

use super::AzureResources;
use crate::arm::{OperationStatus, PollTarget};

/// The poll interval of a resource if the resource itself is the only way to observe a change.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// How many reads of a resource may return the state before a change while the change has not been observed. At the
/// poll interval, this is half a minute. Azure documents no limit. Resource Manager answers from caches and may return
/// the old state after it accepted a change.
const MAX_STALE_READS: u8 = 6;

/// The state that a change leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Goal {
    /// The resource exists.
    Exists,
    /// The resource does not exist.
    Removed,
    /// The disk or snapshot has no access.
    AccessEnded,
    /// The machine has no host.
    Deallocated,
    /// The machine runs.
    Started,
}

/// A requested change and its known state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Change {
    id: ResourceId,
    pub(super) tenant: Option<String>,
    goal: Goal,
    /// How many more reads may return the state before the change.
    stale_reads: u8,
}

/// The information that is needed to poll a pending change.
#[derive(Serialize, Deserialize)]
struct PollToken {
    poll: PollTarget,
    change: Change,
}

/// What a resource shows about a change.
enum Shown {
    Done,
    InProgress,
    /// A final state that is not the goal.
    Other(ErrorKind, &'static str, &'static str),
}

impl Change {
    pub(super) fn new(id: &ResourceId, tenant: Option<&str>, goal: Goal) -> Self {
        Self { id: id.clone(), tenant: tenant.map(str::to_owned), goal, stale_reads: MAX_STALE_READS }
    }

    /// The status of the change for the caller.
    pub(super) fn status(self, progress: OperationStatus) -> PortResult<ChangeStatus> {
        Ok(match progress {
            OperationStatus::Done(_) => ChangeStatus::Done,
            OperationStatus::Failed(error) => ChangeStatus::Failed(error),
            OperationStatus::InProgress(poll, retry_after) => ChangeStatus::Pending(self.pending(poll, retry_after)?),
        })
    }

    pub(super) fn pending(self, poll: PollTarget, retry_after: Duration) -> PortResult<Pending> {
        let id = self.id.clone();
        let poll = serde_json::to_string(&PollToken { poll, change: self })
            .map_err(|_| PortError::new(ErrorKind::Invalid, format!("{id}: its address cannot be kept")))?;
        Ok(Pending { id, poll, retry_after })
    }

    /// The address and the change of a pending one.
    pub(super) fn parse(pending: &Pending) -> PortResult<(PollTarget, Self)> {
        let token: PollToken = serde_json::from_str(&pending.poll)
            .map_err(|_| PortError::new(ErrorKind::Invalid, format!("{}: its address is not ours", pending.id)))?;
        Ok((token.poll, token.change))
    }

    fn shown(&self, found: Option<&Resource>) -> Shown {
        match (found.map(|found| found.provisioning), self.goal) {
            (None, Goal::Removed) | (Some(Provisioning::Succeeded), Goal::Exists) => Shown::Done,
            (Some(Provisioning::InProgress), _) => Shown::InProgress,
            (Some(Provisioning::Succeeded), Goal::AccessEnded) => match found.and_then(state) {
                Some(DiskState::ActiveSas | DiskState::ActiveUpload) => {
                    Shown::Other(ErrorKind::Conflict, "access-not-ended", "the access did not end")
                }
                _ => Shown::Done,
            },
            (Some(Provisioning::Succeeded), Goal::Deallocated | Goal::Started) => {
                let state = found.and_then(|found| found.body.properties.machine()).map(MachineProperties::power_state);
                match (state, self.goal) {
                    (Some(PowerState::Deallocated), Goal::Deallocated) | (Some(PowerState::Running), Goal::Started) => {
                        Shown::Done
                    }
                    (Some(PowerState::Changing), _) => Shown::InProgress,
                    _ => Shown::Other(ErrorKind::Unavailable, "power-state", "its power state did not change"),
                }
            }
            (None, Goal::Exists | Goal::AccessEnded | Goal::Deallocated | Goal::Started) => {
                Shown::Other(ErrorKind::Unavailable, "vanished", "it vanished while it was being changed")
            }
            (Some(Provisioning::Failed), _) => {
                Shown::Other(ErrorKind::Unavailable, "failed", "the platform reports a failure without a reason")
            }
            (Some(Provisioning::Succeeded), Goal::Removed) => {
                Shown::Other(ErrorKind::Conflict, "not-removed", "it still exists after its removal")
            }
        }
    }
}

fn state(resource: &Resource) -> Option<&DiskState> {
    resource.body.properties.disk()?.disk_state.as_ref()
}

impl AzureResources {
    /// Polls a change.
    pub(super) async fn poll_change(&self, pending: &Pending) -> PortResult<ChangeStatus> {
        let (poll, mut change) = Change::parse(pending)?;
        let what = pending.id.to_string();
        let progress = match self.arm.poll(&poll, change.tenant.as_deref(), &what).await? {
            Some(progress) => progress,
            None => self.status_of_resource(&mut change).await?,
        };
        change.status(progress)
    }

    /// The status of a change according to the resource itself. A final state that differs from the requested one may
    /// be the state before the change. It counts only after the change was observed in progress, or after several
    /// reads.
    async fn status_of_resource(&self, change: &mut Change) -> PortResult<OperationStatus> {
        let again = OperationStatus::InProgress(PollTarget::Resource, POLL_INTERVAL);
        let found = self.get(&change.id, change.tenant.as_deref()).await?;
        match change.shown(found.as_ref()) {
            Shown::Done => Ok(OperationStatus::Done(serde_json::Value::Null)),
            Shown::InProgress => {
                change.stale_reads = 0;
                Ok(again)
            }
            Shown::Other(..) if change.stale_reads > 0 => {
                change.stale_reads -= 1;
                Ok(again)
            }
            Shown::Other(kind, code, why) => {
                let (id, noun) = (&change.id, change.id.resource_type.noun());
                let error = PortError::new(kind, format!("{id}: {why}"));
                Ok(OperationStatus::Failed(error.with_code(format!("{noun}-{code}"))))
            }
        }
    }
}
