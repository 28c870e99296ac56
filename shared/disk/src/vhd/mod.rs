//! VHD files: reading, checking, making.
//!
//! The format is Microsoft's "Virtual Hard Disk Image Format Specification" 1.0: a footer of 512 bytes at the end, and
//! in dynamic disks a copy of it at the beginning, a header, a block allocation table and blocks, each with a bitmap
//! of its sectors. All numbers are big-endian.

mod check;
mod compare;
mod disk;
mod dynamic;
mod error;
mod findings;
mod footer;
mod partition;
mod signature;
mod synthetic;

pub use check::check;
pub use compare::same_disk;
pub use disk::Disk;
pub use error::VhdError;
pub use findings::{Finding, Format, Report, Severity};
pub use footer::{DiskType, FOOTER_SIZE, Footer, FooterError};
pub use partition::{Partitioning, partitioning};
pub use synthetic::GoldenSpec;

/// The unit of VHDs and partition tables, in bytes.
const SECTOR: u64 = 512;
