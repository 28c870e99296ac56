//! An error in text that an operator wrote, formatted for the operator.

use std::fmt;
use std::path::Path;

use super::field_error::{FieldError, Origin};

/// One error: the location, the key, the problem, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    location: String,
    key: String,
    message: String,
}

impl Diagnostic {
    /// Creates a diagnostic. `file` is the file that was read, or that would have been read if it existed. `remedy`
    /// returns how to set a missing key.
    #[must_use]
    pub fn new(file: &Path, fault: &FieldError, remedy: impl Fn(&[String]) -> String) -> Self {
        let message =
            if fault.is_missing() { format!("{}: {}", fault.message(), remedy(fault.keys())) } else { fault.message() };
        Self { location: location(file, fault.origin()), key: fault.key(), message }
    }
}

/// Describes the location of a value.
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

/// Joins problems, one per line.
#[must_use]
pub fn join_lines(problems: &[Diagnostic]) -> String {
    problems.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}
