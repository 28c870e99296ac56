//! VHDX, by Microsoft's "[MS-VHDX]: Virtual Hard Disk v2 (VHDX) File Format". All numbers are little-endian.

mod disk;
mod header;
mod log;
mod metadata;

pub(crate) use disk::Vhdx;

/// The first bytes of a VHDX file.
pub(crate) const SIGNATURE: &[u8] = b"vhdxfile";

const MIB: u64 = 1 << 20;

/// The granularity of the log in bytes.
const LOG_SECTOR: u64 = 4096;
