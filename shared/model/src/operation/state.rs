//! The states of operations.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidName;

/// The state of an operation. [`crate::state::next_operation`] defines the transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// It waits for an earlier operation of its group, or for a gate.
    Waiting,
    /// Any worker may claim it.
    Ready,
    /// A worker holds its lease.
    Running,
    /// A worker holds its lease and is asked to stop at the next checkpoint.
    Cancelling,
    /// It succeeded.
    Succeeded,
    /// It failed; the row contains the reason.
    Failed,
    /// It was cancelled on request, or blocked because an operation that it needs did not succeed.
    Cancelled,
    /// There was nothing to do: the target already had this version.
    Skipped,
}

impl OperationState {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Ready,
        Self::Running,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// Whether the operation changes only if an operator requests it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped)
    }

    /// Whether it succeeded or was skipped.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped)
    }

    /// Whether it failed or was cancelled.
    #[must_use]
    pub fn ended_badly(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled)
    }

    /// Whether a worker holds the operation, or held it until its lease expired.
    #[must_use]
    pub fn is_leased(self) -> bool {
        matches!(self, Self::Running | Self::Cancelling)
    }

    /// The state's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

impl FromStr for OperationState {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName { what: "state", given: text.to_owned(), rule: "use the name of a state" };
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(invalid)
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
