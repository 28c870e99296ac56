//! Colours by meaning. A colour is never the only indication of something.

use anstyle::Ansi256Color;
use goldfleet_disk::Severity;
use goldfleet_model::upload::UploadState;

use crate::control::doctor::Level;
use crate::control::status::ReportedState;
use goldfleet_model::job::JobState;
use goldfleet_model::operation::OperationState;

/// The meaning of a word or symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Success.
    Success,
    /// In progress.
    Active,
    /// Needs attention.
    Warning,
    /// Failure.
    Error,
    /// Not important.
    Muted,
}

impl Tone {
    /// The number of the colour among the 16 colours that terminal themes define.
    #[must_use]
    pub fn ansi_color(self) -> u8 {
        match self {
            Self::Error => 1,
            Self::Success => 2,
            Self::Warning => 3,
            Self::Active => 4,
            Self::Muted => 8,
        }
    }

    /// The text in its colour, if colours are enabled.
    #[must_use]
    pub fn colorize(self, text: &str, colours: bool) -> String {
        if !colours || text.is_empty() {
            return text.to_owned();
        }
        let style = Ansi256Color(self.ansi_color()).on_default();
        format!("{style}{text}{style:#}")
    }
}

impl From<ReportedState> for Tone {
    fn from(standing: ReportedState) -> Self {
        match standing {
            ReportedState::Running => Self::Active,
            ReportedState::Succeeded => Self::Success,
            ReportedState::Failed => Self::Error,
            ReportedState::Cancelled => Self::Warning,
        }
    }
}

impl From<JobState> for Tone {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Requested => Self::Muted,
            JobState::Running => Self::Active,
            JobState::Cancelling | JobState::Cancelled => Self::Warning,
            JobState::Succeeded => Self::Success,
            JobState::Failed => Self::Error,
        }
    }
}

impl From<OperationState> for Tone {
    fn from(state: OperationState) -> Self {
        match state {
            OperationState::Waiting | OperationState::Ready => Self::Muted,
            OperationState::Running => Self::Active,
            OperationState::Cancelling | OperationState::Cancelled => Self::Warning,
            OperationState::Succeeded | OperationState::Skipped => Self::Success,
            OperationState::Failed => Self::Error,
        }
    }
}

impl From<UploadState> for Tone {
    fn from(state: UploadState) -> Self {
        match state {
            UploadState::Running => Self::Active,
            UploadState::Complete => Self::Success,
            UploadState::Failed => Self::Error,
        }
    }
}

impl From<Level> for Tone {
    fn from(level: Level) -> Self {
        match level {
            Level::Ok => Self::Success,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
        }
    }
}

impl From<Severity> for Tone {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Note => Self::Muted,
            Severity::Warning => Self::Warning,
            Severity::Error => Self::Error,
        }
    }
}
