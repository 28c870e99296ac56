//! Disk images of any format, read as the disks they hold.
//!
//! [`DiskReader`] is the only view that the uploader and the checks have of an image: its size, where it holds data, and its
//! bytes. [`Finding`] is one result of a check.
//!
//! [`vhd`] reads VHD files, [`sparse`] finds the data of sparse files, and [`chunk`] cuts a disk into chunks.

pub mod chunk;
mod error;
mod finding;
mod reader;
pub mod sparse;
pub mod vhd;

pub use error::DiskError;
pub use finding::{Finding, Severity};
pub use reader::{DataRanges, DiskReader, MemoryDisk};
