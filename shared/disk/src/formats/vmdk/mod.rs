//! VMDK, by VMware's "Virtual Disk Format 5.0": monolithic sparse and stream-optimised images, and descriptors whose
//! extents are flat or sparse files. All numbers are little-endian.
//!
//! Files named inside an image are not opened, with one exception: extents beside the descriptor whose name is a plain
//! file name. Without the exception, the most common form of a VMDK could not be read. With it, an image can refer only
//! to regular files of its folder, and not through links.

mod descriptor;
mod joined;
mod sparse;

pub(crate) use descriptor::{MAX_DESCRIPTOR, looks_like_descriptor};
pub(crate) use joined::{Siblings, open_descriptor};
pub(crate) use sparse::SparseExtent;

/// The first bytes of a sparse extent.
pub(crate) const MAGIC: &[u8; 4] = b"KDMV";

const SECTOR: u64 = 512;
