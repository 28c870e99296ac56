//! Where an operation stands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an operation stands. [`crate::state::next_operation`] says how it gets from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// Something must happen first: an image waits for its copy.
    Waiting,
    /// Any worker may claim it.
    Ready,
    /// A worker holds its lease.
    Running,
    /// A worker holds its lease and is asked to stop at the next checkpoint.
    Cancelling,
    /// Done.
    Succeeded,
    /// Given up, for the reason on the row.
    Failed,
    /// Stopped on request, or never begun because what it needs did not come about.
    Cancelled,
    /// Nothing was to be done: the target already had this version.
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

    /// Whether nothing more happens unless an operator asks for it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped)
    }

    /// Whether a worker holds (or held, if its lease ran out) the operation.
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

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
