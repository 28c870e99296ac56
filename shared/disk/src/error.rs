//! Errors of reading a disk image.

use std::io;

/// Why a disk image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The operating system failed to read the file.
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
    /// The image is valid, but uses a feature that is not supported.
    #[error("{0}")]
    Unsupported(String),
}
