//! Why a file can't be read as a disk.

use std::io;
use std::path::{Path, PathBuf};

use super::footer::FooterError;

/// Why a file can't be read as a disk.
#[derive(Debug, thiserror::Error)]
pub enum VhdError {
    /// It can't be opened.
    #[error("{} can't be read", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can't be read.
    #[error("the file can't be read: {source}")]
    Read {
        /// Why.
        source: io::Error,
    },
    /// It is too short to have a footer.
    #[error("the file has {length} bytes, too few for a VHD")]
    TooShort {
        /// Its length in bytes.
        length: u64,
    },
    /// It has no footer, or a damaged one.
    #[error(transparent)]
    Footer(#[from] FooterError),
    /// It is a difference to another file.
    #[error("the VHD holds only the difference to a parent disk")]
    Differencing,
    /// It ends before it should.
    #[error("the file has {length} bytes, and should have at least {needed}")]
    Truncated {
        /// The bytes that it must have.
        needed: u64,
        /// The bytes that it has.
        length: u64,
    },
    /// Its structures contradict each other.
    #[error("{reason}")]
    Damaged {
        /// How.
        reason: String,
    },
}

impl VhdError {
    /// A file that can't be opened.
    #[must_use]
    pub fn unreadable(file: &Path, source: io::Error) -> Self {
        Self::Open { file: file.to_owned(), source }
    }
}
