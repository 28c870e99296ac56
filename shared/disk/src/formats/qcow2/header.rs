//! The header of a qcow2 image.

use super::MAGIC;
use crate::bytes::{be32, be64};
use crate::reader::read_part;
use crate::{DiskError, DiskReader};

const HEADER_V2: usize = 72;
const HEADER_V3: usize = 104;

/// The maximum size of the first level table in bytes. QEMU has the same limit.
const MAX_L1: u64 = 32 << 20;

/// The maximum size of a disk in bytes, far above Azure's maximum for an OS disk.
const MAX_DISK: u64 = 64 << 40;

/// The maximum number of clusters, with which a disk of 4 TiB can have clusters of 4 KiB. All of them are examined.
const MAX_CLUSTERS: u64 = 1 << 30;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// How clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Deflate,
    Zstd,
}

/// The fields of the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    /// The disk's size in bytes.
    pub(super) size: u64,
    /// Entries of the first level table that the disk needs.
    pub(super) l1_entries: u64,
    pub(super) l1_offset: u64,
    pub(super) compression: Compression,
    /// Whether entries of the second level have a bitmap of subclusters.
    pub(super) extended: bool,
}

impl Header {
    pub(super) fn read(source: &dyn DiskReader) -> Result<Self, DiskError> {
        let bytes = read_part(source, 0, HEADER_V2, "the header")?;
        if !bytes.starts_with(MAGIC) {
            return Err(DiskError::damaged("the file does not begin with the magic number of qcow2"));
        }
        let version = be32(&bytes, 4);
        let (features, compression) = match version {
            2 => (0, Compression::Deflate),
            3 => Self::version_3(source)?,
            _ => {
                return Err(DiskError::Unsupported(format!(
                    "it is a QCOW image of version {version}; 2 and 3 are known"
                )));
            }
        };
        if be64(&bytes, 8) != 0 || be32(&bytes, 16) != 0 {
            return Err(DiskError::ExternalFile(backing_name(source, be64(&bytes, 8), be32(&bytes, 16))));
        }
        match be32(&bytes, 32) {
            0 => {}
            1 => return Err(DiskError::Encrypted("AES".to_owned())),
            2 => return Err(DiskError::Encrypted("LUKS".to_owned())),
            method => return Err(DiskError::Encrypted(format!("method {method}"))),
        }
        let header = Self {
            version,
            cluster_bits: be32(&bytes, 20),
            size: be64(&bytes, 24),
            l1_entries: 0,
            l1_offset: be64(&bytes, 40),
            compression,
            extended: features & EXTENDED_L2 != 0,
        };
        header.checked(be32(&bytes, 36).into())
    }

    /// The features and the compression of a version 3 header.
    fn version_3(source: &dyn DiskReader) -> Result<(u64, Compression), DiskError> {
        let bytes = read_part(source, 0, HEADER_V3, "the header")?;
        let (features, length) = (be64(&bytes, 72), be32(&bytes, 100) as usize);
        if length < HEADER_V3 {
            return Err(DiskError::damaged(format!("the qcow2 header gives its length as {length} bytes")));
        }
        if features & EXTERNAL_DATA != 0 {
            return Err(DiskError::ExternalFile("an external data file".to_owned()));
        }
        if features & CORRUPT != 0 {
            return Err(DiskError::damaged("QEMU has marked the qcow2 image as corrupt"));
        }
        let unknown = features & !(DIRTY | COMPRESSION_TYPE | EXTENDED_L2);
        if unknown != 0 {
            return Err(DiskError::Unsupported(format!("the qcow2 image uses unknown features ({unknown:#x})")));
        }
        let kind = if length > HEADER_V3 { read_part(source, 104, 1, "the header")?[0] } else { 0 };
        match (features & COMPRESSION_TYPE != 0, kind) {
            (_, 0) => Ok((features, Compression::Deflate)),
            (true, 1) => Ok((features, Compression::Zstd)),
            _ => Err(DiskError::Unsupported(format!("the qcow2 image uses compression type {kind}"))),
        }
    }

    /// Checks that the fields are consistent. `l1_entries` is the number of entries in the header.
    fn checked(mut self, l1_entries: u64) -> Result<Self, DiskError> {
        let smallest = if self.extended { 14 } else { 9 };
        if !(smallest..=21).contains(&self.cluster_bits) {
            return Err(DiskError::damaged(format!("the qcow2 image has clusters of 2^{} bytes", self.cluster_bits)));
        }
        if self.size > MAX_DISK {
            return Err(DiskError::Limit(format!("the qcow2 image gives a disk size of {} bytes", self.size)));
        }
        let clusters = self.size.div_ceil(self.cluster_size());
        if clusters > MAX_CLUSTERS {
            return Err(DiskError::Limit(format!("the qcow2 image has {clusters} clusters")));
        }
        let per_entry = self.cluster_size() * self.l2_entries();
        self.l1_entries = self.size.div_ceil(per_entry);
        if self.l1_entries > l1_entries {
            return Err(DiskError::damaged(format!(
                "the qcow2 image's first table has {l1_entries} entries, the disk needs {}",
                self.l1_entries
            )));
        }
        if self.l1_entries * 8 > MAX_L1 {
            return Err(DiskError::Limit(format!("the qcow2 image's first table has {} entries", self.l1_entries)));
        }
        if !self.l1_offset.is_multiple_of(self.cluster_size()) {
            return Err(DiskError::damaged("the qcow2 image's first table does not begin at a cluster"));
        }
        Ok(self)
    }

    pub(super) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The size of an entry of the second level in bytes.
    pub(super) fn entry_size(&self) -> u64 {
        if self.extended { 16 } else { 8 }
    }

    /// Entries of a second level table.
    pub(super) fn l2_entries(&self) -> u64 {
        self.cluster_size() / self.entry_size()
    }
}

/// The name of the backing file, for the message.
fn backing_name(source: &dyn DiskReader, offset: u64, length: u32) -> String {
    let length = length.min(1023) as usize;
    let name = read_part(source, offset, length, "the backing file's name").unwrap_or_default();
    format!("backing file '{}'", String::from_utf8_lossy(&name).escape_debug())
}
