//! The findings of the doctor.

use std::fmt;

use goldfleet_model::target::Target;
use goldfleet_ports::error::PortError;
use serde::Serialize;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No problem.
    Ok,
    /// It works, but should be changed.
    Warning,
    /// It does not work.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The subject of findings about a target: the display name of its subscription, if it has one, and the target.
pub(super) fn subject_of(target: &Target) -> String {
    match &target.name {
        Some(name) => format!("target {name} ({})", target.key()),
        None => format!("target {}", target.key()),
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The severity.
    pub level: Level,
    /// What was checked.
    pub subject: String,
    /// A stable code. Empty if there is no problem.
    pub code: String,
    /// What was found.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    pub(super) fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            subject: subject.into(),
            code: String::new(),
            message: message.into(),
            remedy: String::new(),
        }
    }

    pub(super) fn warning(
        subject: impl Into<String>,
        code: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warning,
            subject: subject.into(),
            code: code.to_owned(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn error(
        subject: impl Into<String>,
        code: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Error, ..Self::warning(subject, code, message, remedy) }
    }

    /// A request that a service refused.
    pub(super) fn from_port_error(subject: impl Into<String>, error: &PortError, remedy: impl Into<String>) -> Self {
        Self::error(subject, &error.code, error.to_string(), remedy)
    }
}
