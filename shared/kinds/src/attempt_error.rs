//! The error of a failed attempt.

use std::time::Duration;

use goldfleet_model::operation::Failure;
use goldfleet_ports::error::{ErrorKind, PortError};
use jiff::Timestamp;

/// The error of a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptError {
    /// A stable code, listed in `docs/failures.md`.
    pub code: String,
    /// A description of the failure, without secrets.
    pub message: String,
    /// The service's request id.
    pub request_id: Option<String>,
    /// The wait that the service requests.
    pub retry_after: Option<Duration>,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// Whether a service throttled. This is not a fault of the operation, so the attempt does not count against its
    /// limit.
    pub throttled: bool,
}

impl AttemptError {
    /// An error that another attempt cannot resolve.
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

    /// The error in the form in which the row stores it.
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
