//! The events log: one line for every transition.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::JobId;
use super::operation::OperationId;

/// A transition that happened: who, when, from, to, why. Appended in the same commit as the row's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The job.
    pub job: JobId,
    /// The operation; none for an event of the job itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// When, by the clock of whoever did it.
    pub at: Timestamp,
    /// Who: a worker, the dispatcher, an operator's command.
    pub who: String,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// What happened: the event's name.
    pub what: String,
    /// Why, where there is more to say; no secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
