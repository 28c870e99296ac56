//! Why an attempt failed.

use std::time::Duration;

use goldfleet_model::operation::Failure;
use goldfleet_ports::error::{ErrorKind, PortError};
use jiff::Timestamp;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptError {
    /// A stable code, listed in `docs/failures.md`.
    pub code: String,
    /// What happened, in words; no secrets.
    pub message: String,
    /// The service's request id.
    pub request_id: Option<String>,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// Whether the service was merely asked too much: that says nothing of the operation, and does not count against it.
    pub throttled: bool,
}

impl AttemptError {
    /// A failure that another attempt can't mend.
    pub fn fatal(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            request_id: None,
            retry_after: None,
            retryable: false,
            throttled: false,
        }
    }

    /// As it is kept on the row.
    #[must_use]
    pub fn to_failure(&self, at: Timestamp) -> Failure {
        Failure { code: self.code.clone(), message: self.message.clone(), request_id: self.request_id.clone(), at }
    }
}

impl From<PortError> for AttemptError {
    fn from(error: PortError) -> Self {
        Self {
            retryable: error.is_retryable(),
            throttled: error.kind == ErrorKind::Throttled,
            code: error.code,
            message: error.message,
            request_id: error.request_id,
            retry_after: error.retry_after,
        }
    }
}
