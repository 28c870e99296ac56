//! qcow2, by QEMU's `docs/interop/qcow2.rst`: versions 2 and 3, deflate and zstd clusters, zero clusters, subclusters.
//! All numbers are big-endian.

mod decompress;
mod disk;
mod header;

pub(crate) use disk::Qcow2;

/// The first bytes of a qcow2 file.
pub(crate) const MAGIC: &[u8; 4] = b"QFI\xfb";
