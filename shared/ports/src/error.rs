//! Errors of the ports: a few kinds by meaning, independent of the service.

use std::time::Duration;

/// The meaning of an error for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The object does not exist.
    NotFound,
    /// The object exists, and the request creates only new objects.
    AlreadyExists,
    /// The object is not in the given version (ETag, pop receipt): another process changed it.
    Conflict,
    /// A newer writer has taken the fence.
    Fenced,
    /// The bytes do not have the expected checksum.
    Corrupt,
    /// The service throttles.
    Throttled,
    /// The service cannot be reached, failed internally, timed out or is busy.
    Unavailable,
    /// The service refuses the request: authentication, authorisation, policy.
    Denied,
    /// A lock forbids the change of a resource.
    Locked,
    /// A quota is used up.
    Quota,
    /// The request is invalid and would fail again.
    Invalid,
}

impl ErrorKind {
    /// The name of the kind in kebab case. It is the code of errors that have no more specific one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::Corrupt => "corrupt",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Locked => "locked",
            Self::Quota => "quota",
            Self::Invalid => "invalid",
        }
    }
}

/// A fault of the source of a server-to-server request. Another source may serve the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceFault {
    /// The source does not exist. The error is `NotFound`.
    Missing,
    /// The source does not have the expected checksum or length. The error is `Corrupt`.
    Corrupt,
    /// The source refuses access at present. The error is `Unavailable`.
    Denied,
    /// The source cannot be read at present. The error is `Unavailable` or `Throttled`.
    Unavailable,
}

impl SourceFault {
    const ALL: [Self; 4] = [Self::Missing, Self::Corrupt, Self::Denied, Self::Unavailable];

    /// The error code of this fault.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "source-not-found",
            Self::Corrupt => "source-corrupt",
            Self::Denied => "source-denied",
            Self::Unavailable => "source-unavailable",
        }
    }
}

/// The code of an error of the embedded coordination if its database was removed or replaced. A process can use the new
/// one only after a restart.
pub const DATABASE_GONE: &str = "database-gone";

/// The code of an error of a credential whose set-up on this machine is not complete: a program or an environment
/// variable is missing, or nobody is signed in. No service was asked.
pub const CREDENTIAL_NOT_SET_UP: &str = "credential-not-set-up";

/// A text without control characters except line breaks. Texts of services are written to terminals and rows.
fn printable(text: String) -> String {
    let is_harmful = |letter: char| letter.is_control() && letter != '\n';
    if text.contains(is_harmful) { text.replace(is_harmful, " ") } else { text }
}

/// An error of a port.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// Its meaning for the caller.
    pub kind: ErrorKind,
    /// A stable code in kebab case: that of the service if it is more specific than the kind.
    pub code: String,
    /// A description that names the object. It contains no secrets.
    pub message: String,
    /// The request or correlation id of the service.
    pub request_id: Option<String>,
    /// How long the service asks the caller to wait.
    pub retry_after: Option<Duration>,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PortError {
    /// Creates an error of a kind, with the name of the kind as its code.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: kind.as_str().to_owned(),
            message: printable(message.into()),
            request_id: None,
            retry_after: None,
            source: None,
        }
    }

    /// Replaces the code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Sets the time that the service asks the caller to wait.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Marks the error as a fault of the source of the request, and sets the kind and the code of the fault.
    #[must_use]
    pub fn with_source_fault(mut self, fault: SourceFault) -> Self {
        self.kind = match fault {
            SourceFault::Missing => ErrorKind::NotFound,
            SourceFault::Corrupt => ErrorKind::Corrupt,
            SourceFault::Unavailable if self.kind == ErrorKind::Throttled => ErrorKind::Throttled,
            SourceFault::Denied | SourceFault::Unavailable => ErrorKind::Unavailable,
        };
        self.with_code(fault.code())
    }

    /// The fault of the source of the request. None if the error is not about the source.
    #[must_use]
    pub fn source_fault(&self) -> Option<SourceFault> {
        SourceFault::ALL.into_iter().find(|fault| fault.code() == self.code)
    }

    /// Whether the configuration or the set-up of this machine must be changed, not a service. Programs end with the
    /// exit code of an invalid configuration then.
    #[must_use]
    pub fn is_set_up_fault(&self) -> bool {
        self.kind == ErrorKind::Invalid || self.code == CREDENTIAL_NOT_SET_UP
    }

    /// Whether a later retry may succeed. This function alone decides between transient and permanent errors.
    ///
    /// `Conflict` and `Fenced` may pass, because another worker may be changing the object. `Corrupt` bytes may be
    /// intact at another place. Missing objects, and denied or invalid requests, do not change without an action of a
    /// person. Neither do locks and quotas.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::Conflict
            | ErrorKind::Fenced
            | ErrorKind::Corrupt => true,
            ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Denied
            | ErrorKind::Locked
            | ErrorKind::Quota
            | ErrorKind::Invalid => false,
        }
    }
}

/// The result of a call of a port.
pub type PortResult<T> = Result<T, PortError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_a_service_are_not_kept() {
        let error = PortError::new(ErrorKind::Denied, "no\u{1b}[2J\u{7}\u{9b}31m access\nfor you");
        assert_eq!(error.to_string(), "no [2J  31m access\nfor you");
    }
}
