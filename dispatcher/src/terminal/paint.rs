//! Colour, where it is wanted: what it stands for. It is never the only sign of it.

use anstyle::Ansi256Color;
use goldfleet_disk::vhd::Severity;
use goldfleet_model::upload::UploadState;

use crate::control::doctor::Level;
use crate::control::status::Standing;

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
