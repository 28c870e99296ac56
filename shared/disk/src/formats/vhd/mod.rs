//! VHD, by Microsoft's "Virtual Hard Disk Image Format Specification" 1.0: a footer of 512 bytes at the end, and in
//! dynamic and differencing disks a copy of it at the beginning, a header, a block allocation table and blocks, each
//! with a bitmap of its sectors. All numbers are big-endian.

mod dynamic;
mod footer;
mod locate;

pub(crate) use dynamic::DynamicVhd;
pub(crate) use footer::COOKIE;
pub use footer::{DiskType, FOOTER_SIZE, Footer, FooterError};
pub(crate) use locate::{Located, locate};

/// The sector size of VHDs in bytes.
pub(crate) const SECTOR: u64 = 512;
