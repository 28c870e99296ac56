//! Colour, where it is wanted: what it stands for. It is never the only sign of it.

use anstyle::Ansi256Color;
use goldfleet_disk::Severity;
use goldfleet_model::upload::UploadState;

use crate::control::doctor::Level;
use crate::control::status::Standing;
use goldfleet_model::job::JobState;
use goldfleet_model::operation::OperationState;

/// What a word or a sign tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// All well.
    Good,
    /// Under way.
    Busy,
    /// To be looked at.
    Doubtful,
    /// Wrong.
    Bad,
    /// Of no concern.
    Quiet,
}

impl Tone {
    /// The number of its colour among the sixteen that every theme of a terminal sets.
    #[must_use]
    pub fn colour(self) -> u8 {
        match self {
            Self::Bad => 1,
            Self::Good => 2,
            Self::Doubtful => 3,
            Self::Busy => 4,
            Self::Quiet => 8,
        }
    }

    /// The text in its colour, where colours are wanted.
    #[must_use]
    pub fn paint(self, text: &str, colours: bool) -> String {
        if !colours || text.is_empty() {
            return text.to_owned();
        }
        let style = Ansi256Color(self.colour()).on_default();
        format!("{style}{text}{style:#}")
    }
}

impl From<Standing> for Tone {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Running => Self::Busy,
            Standing::Succeeded => Self::Good,
            Standing::Failed => Self::Bad,
            Standing::Cancelled => Self::Doubtful,
        }
    }
}

impl From<JobState> for Tone {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Requested => Self::Quiet,
            JobState::Running => Self::Busy,
            JobState::Cancelling | JobState::Cancelled => Self::Doubtful,
            JobState::Succeeded => Self::Good,
            JobState::Failed => Self::Bad,
        }
    }
}

impl From<OperationState> for Tone {
    fn from(state: OperationState) -> Self {
        match state {
            OperationState::Waiting | OperationState::Ready => Self::Quiet,
            OperationState::Running => Self::Busy,
            OperationState::Cancelling | OperationState::Cancelled => Self::Doubtful,
            OperationState::Succeeded | OperationState::Skipped => Self::Good,
            OperationState::Failed => Self::Bad,
        }
    }
}

impl From<UploadState> for Tone {
    fn from(state: UploadState) -> Self {
        match state {
            UploadState::Running => Self::Busy,
            UploadState::Complete => Self::Good,
            UploadState::Failed => Self::Bad,
        }
    }
}

impl From<Level> for Tone {
    fn from(level: Level) -> Self {
        match level {
            Level::Ok => Self::Good,
            Level::Warning => Self::Doubtful,
            Level::Error => Self::Bad,
        }
    }
}

impl From<Severity> for Tone {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Note => Self::Quiet,
            Severity::Warning => Self::Doubtful,
            Severity::Error => Self::Bad,
        }
    }
}
