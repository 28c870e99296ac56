//! One thing that is wrong with what an operator wrote, as the operator is told of it.

use std::fmt;
use std::path::Path;

use super::field_error::{FieldError, Origin};

/// One thing that is wrong: where, in which key, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    location: String,
    key: String,
    message: String,
}

impl Diagnostic {
    /// `file` is what was read, or would have been had it been there; `remedy` says how to give a key that is missing.
    #[must_use]
    pub fn new(file: &Path, fault: &FieldError, remedy: impl Fn(&[String]) -> String) -> Self {
        let message =
            if fault.is_missing() { format!("{}: {}", fault.message(), remedy(fault.keys())) } else { fault.message() };
        Self { location: location(file, fault.origin()), key: fault.key(), message }
    }
}

/// Where something was written, in words.
#[must_use]
pub fn location(file: &Path, origin: Option<&Origin>) -> String {
    match origin {
        Some(Origin::Line(line)) => format!("{}:{line}", file.display()),
        Some(Origin::Variable(name)) => name.clone(),
        None => file.display().to_string(),
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { location: place, key, message } = self;
        if key.is_empty() { write!(f, "{place}: {message}") } else { write!(f, "{place}: {key}: {message}") }
    }
}

/// Problems, one a line.
#[must_use]
pub fn join_lines(problems: &[Diagnostic]) -> String {
    problems.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}
