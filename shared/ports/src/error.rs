//! Errors of the ports: few semantic kinds, whatever stands behind.

use std::time::Duration;

/// What an error means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// What was asked for is not there.
    NotFound,
    /// It is already there, and was to be made only if not.
    AlreadyExists,
    /// It is not in the version that was shown (ETag, pop receipt): someone else changed it.
    Conflict,
    /// A newer writer has fenced this one off.
    Fenced,
    /// The bytes do not have the checksum they should have.
    Corrupt,
    /// Too many requests.
    Throttled,
    /// The service can't be reached, failed inside, timed out or is busy.
    Unavailable,
    /// The service refuses: authentication, authorisation, policy.
    Denied,
    /// The request is wrong and will stay so.
    Invalid,
}

impl ErrorKind {
    /// The kind's name in kebab case; the code of failures that bring no better one.
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
            Self::Invalid => "invalid",
        }
    }
}

/// What is wrong with the source of a request from server to server, so that another source may serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceFault {
    /// It is not there. The error is `NotFound`.
    Missing,
    /// It has not the checksum or the length that it should have. The error is `Corrupt`.
    Corrupt,
    /// It lets the service not in now. The error is `Unavailable`.
    Denied,
    /// It can't be read now. The error is `Unavailable` or `Throttled`.
    Unavailable,
}

impl SourceFault {
    const ALL: [Self; 4] = [Self::Missing, Self::Corrupt, Self::Denied, Self::Unavailable];

    /// The code of an error that says so.
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

/// An error of a port.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// What it means.
    pub kind: ErrorKind,
    /// A stable code in kebab case: the service's own where it tells more than the kind.
    pub code: String,
    /// What happened, in words, naming the thing; no secrets.
    pub message: String,
    /// The service's request or correlation id.
    pub request_id: Option<String>,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
    /// The error behind it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PortError {
    /// An error of a kind, with the kind's name as its code.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: kind.as_str().to_owned(),
            message: message.into(),
            request_id: None,
            retry_after: None,
            source: None,
        }
    }

    /// The same with a code of its own.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// The same with the error behind it.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The same with the time that the service asks to wait.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The same as said of the source of the request, of the kind and with the code that goes with that.
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

    /// What it says is wrong with the source of the request; none where it says nothing of that.
    #[must_use]
    pub fn source_fault(&self) -> Option<SourceFault> {
        SourceFault::ALL.into_iter().find(|fault| fault.code() == self.code)
    }

    /// Whether trying again later may help: THE decision between retryable and fatal.
    ///
    /// A conflict or a fence may pass, as another worker may be in the middle of changing the thing; corrupt bytes are
    /// worth another try from another place. What is missing, refused or wrong stays so.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::Conflict
            | ErrorKind::Fenced
            | ErrorKind::Corrupt => true,
            ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::Denied | ErrorKind::Invalid => false,
        }
    }
}

/// The result of a port's call.
pub type PortResult<T> = Result<T, PortError>;
