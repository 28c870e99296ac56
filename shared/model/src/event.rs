//! The event log: one entry per transition.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::JobId;
use super::operation::OperationId;

/// A recorded transition: who, when, from, to, why. It is appended in the same commit as the change of the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The job.
    pub job: JobId,
    /// The operation. None for an event of the job itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// The time, by the clock of the process that made the transition.
    pub at: Timestamp,
    /// Who made the transition: a worker, the dispatcher, or an operator's command.
    pub who: String,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// The name of the transition event.
    pub what: String,
    /// The reason, if there is one. It contains no secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
