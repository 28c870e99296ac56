//! Errors of reading a disk image.

use std::io;

use crate::codes::{self, Code};

/// Why a disk image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The operating system failed to read or write a file.
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// The range is not part of the disk.
    #[error("cannot read {length} bytes at offset {offset}: the disk has {size} bytes")]
    OutOfRange {
        /// First byte of the read.
        offset: u64,
        /// Length of the read in bytes.
        length: u64,
        /// The disk's size in bytes.
        size: u64,
    },
    /// The structures of the image contradict each other or the format's specification.
    #[error("the image is damaged: {0}")]
    Damaged(String),
    /// The file ends before a part of the image that its structures refer to.
    #[error("the file is cut short: it has {length} bytes, but {what} ends at byte {needed}")]
    Truncated {
        /// The part of the image that is missing.
        what: String,
        /// Bytes that the file must have at least.
        needed: u64,
        /// Bytes that the file has.
        length: u64,
    },
    /// The image is valid, but uses a feature that is not supported.
    #[error("{0}")]
    Unsupported(String),
    /// The image holds only the differences to a parent, and no parent was given.
    #[error("the image holds only the differences to a parent disk with id {id}, which was not given")]
    ParentMissing {
        /// The id that the parent must have.
        id: String,
    },
    /// None of the given parents has the id that the image names.
    #[error("the image needs a parent disk with id {expected}; the given files have: {found}")]
    WrongParent {
        /// The id that the parent must have.
        expected: String,
        /// The ids of the files that were given.
        found: String,
    },
    /// The image refers to another file that is never opened automatically.
    #[error("the image refers to another file ({0}), and files named inside an image are not opened")]
    ExternalFile(String),
    /// The image consists of several files, of which one is needed and cannot be opened.
    #[error("{0}")]
    ExtentMissing(String),
    /// The image's data is encrypted.
    #[error("the image is encrypted ({0})")]
    Encrypted(String),
    /// The compressed data cannot be read out of order often enough.
    #[error("{0}")]
    Sequential(String),
    /// Reading the image exceeded a limit on memory, time or bytes read.
    #[error("the image exceeds a limit: {0}")]
    Limit(String),
    /// The caller cancelled the operation.
    #[error("cancelled")]
    Cancelled,
}

impl DiskError {
    /// The entry of the code table for this error.
    #[must_use]
    pub fn code(&self) -> &'static Code {
        match self {
            Self::Io(_) => &codes::UNREADABLE,
            Self::OutOfRange { .. } | Self::Damaged(_) => &codes::DAMAGED,
            Self::Truncated { .. } => &codes::TRUNCATED,
            Self::Unsupported(_) => &codes::UNSUPPORTED_FEATURE,
            Self::ParentMissing { .. } => &codes::DIFFERENCING,
            Self::WrongParent { .. } => &codes::PARENT_MISMATCH,
            Self::ExternalFile(_) => &codes::EXTERNAL_FILE,
            Self::ExtentMissing(_) => &codes::EXTENT_MISSING,
            Self::Encrypted(_) => &codes::ENCRYPTED_IMAGE,
            Self::Sequential(_) => &codes::COMPRESSED_RANDOM_ACCESS,
            Self::Limit(_) => &codes::LIMIT_EXCEEDED,
            Self::Cancelled => &codes::CANCELLED,
        }
    }

    pub(crate) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged(reason.into())
    }
}
