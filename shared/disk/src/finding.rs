//! Results of checks.

use std::fmt;

use serde::Serialize;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Information only.
    Note,
    /// The image may not behave as expected.
    Warning,
    /// The image cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// A stable code in kebab case.
    pub code: &'static str,
    /// What is wrong, with the names and numbers that show it.
    pub message: String,
    /// What to do about it. Empty if nothing needs to be done.
    pub remedy: String,
    /// The file inside the disk in which it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}
