//! The manifest of a disk: its size and its content.
//!
//! It contains no name, version or time, so equal disks have an equal digest under any name. [`codec`] defines the
//! encoding.

pub mod codec;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::checksum::concatenated_crc64;
use serde::{Deserialize, Serialize};

use super::chunk_set::ChunkSet;
pub use super::hash::{ChunkHash, Digest, Md5Sum, digest_of};
use super::ids::{ImageName, ImageVersion, InvalidName};
pub use codec::ManifestError;

/// The size of the disk windows that become chunks, in bytes. It is also the maximum size of one page write (Azure: 4
/// MiB).
pub const CHUNK_SIZE: u64 = 4 * 1024 * 1024;

/// Offsets and lengths of runs are multiples of this, in bytes. It is the size of an Azure page.
pub const SECTOR: u64 = 512;

/// The operating system on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OsType {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}

impl OsType {
    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }
}

impl fmt::Display for OsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for OsType {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        [Self::Linux, Self::Windows].into_iter().find(|os| os.as_str() == text).ok_or_else(|| InvalidName {
            what: "operating system",
            given: text.to_owned(),
            rule: "use linux or windows",
        })
    }
}

/// The Hyper-V generation of the machines that a disk boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// BIOS, boots from a master boot record.
    V1,
    /// UEFI, boots from an EFI system partition.
    V2,
}

impl Generation {
    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Generation {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        [Self::V1, Self::V2].into_iter().find(|generation| generation.as_str() == text).ok_or_else(|| InvalidName {
            what: "generation",
            given: text.to_owned(),
            rule: "use v1 or v2",
        })
    }
}

/// The prefix of the names of chunks in a store.
pub const CHUNKS: &str = "chunks/";

/// The prefix of the names of manifests in the source store.
pub const MANIFESTS: &str = "manifests/";

/// The name of a chunk in a store.
#[must_use]
pub fn chunk_name(hash: &ChunkHash) -> String {
    format!("{CHUNKS}{hash}")
}

/// The number of hexadecimal digits of its digest in the name of a manifest.
const NAME_DIGITS: usize = 32;

/// The name of the manifest of a disk of an image version in the source store: `manifests/<image>/<version>/<32
/// digits>.jsonl`. The name depends on the content, so two uploads of one version with different content never write to
/// the same blob.
#[must_use]
pub fn manifest_name(image: &ImageName, version: &ImageVersion, digest: &Digest) -> String {
    let digits = digest.to_string();
    let digits = digits.trim_start_matches("b3:").get(..NAME_DIGITS).unwrap_or_default();
    format!("{MANIFESTS}{image}/{version}/{digits}.jsonl")
}

/// The content that the name of a blob under [`MANIFESTS`] states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestName {
    /// The manifest of a disk of this version.
    Disk(ImageName, ImageVersion),
    /// The manifest of this version, as earlier releases named it.
    Earlier(ImageName, ImageVersion),
}

impl ManifestName {
    /// Parses the name of a blob. None if it is not the name of a manifest.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.strip_prefix(MANIFESTS)?.strip_suffix(".jsonl")?.split('/').collect();
        match parts[..] {
            [image, version] => Some(Self::Earlier(image.parse().ok()?, version.parse().ok()?)),
            [image, version, digits] => {
                let is_hash =
                    digits.len() == NAME_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                is_hash.then_some(Self::Disk(image.parse().ok()?, version.parse().ok()?))
            }
            _ => None,
        }
    }
}

/// The name of an image version's manifest in the source store of an earlier release, which had no artifact records.
#[must_use]
pub fn earlier_manifest_name(image: &ImageName, version: &ImageVersion) -> String {
    format!("{MANIFESTS}{image}/{version}.jsonl")
}

/// A contiguous range of the disk that holds data, as it is stored in its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The offset on the disk, in bytes; a multiple of [`SECTOR`].
    pub offset: u64,
    /// The length in bytes; a multiple of [`SECTOR`].
    pub length: u32,
    /// The offset in the chunk, in bytes: the sum of the lengths of the earlier runs.
    pub at: u32,
    /// The CRC-64/NVME of its bytes.
    pub crc64: u64,
    /// The MD5 of its bytes.
    pub md5: Md5Sum,
}

impl Run {
    /// The byte range on the disk.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.length)
    }
}

/// A chunk of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkEntry {
    /// The hash of its bytes.
    pub hash: ChunkHash,
    /// Its length in bytes: the sum of its runs.
    pub length: u32,
    /// Its runs, in disk order; at least one.
    pub runs: Vec<Run>,
}

impl ChunkEntry {
    /// The CRC-64/NVME of the whole chunk, combined from those of its runs.
    #[must_use]
    pub fn crc64(&self) -> u64 {
        concatenated_crc64(self.runs.iter().map(|run| (run.crc64, u64::from(run.length))))
    }

    /// The MD5 of the whole chunk, if it is known: a chunk of one run has the MD5 of that run. MD5s cannot be combined.
    #[must_use]
    pub fn md5(&self) -> Option<Md5Sum> {
        match &self.runs[..] {
            [only] => Some(only.md5),
            _ => None,
        }
    }
}

/// The content of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The disk's logical size in bytes, without the footer.
    pub size: u64,
    /// The footer of the fixed VHD.
    pub footer: [u8; 512],
    /// The chunks, in disk order.
    pub chunks: Vec<ChunkEntry>,
}

impl Manifest {
    /// The number of chunks.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        // The size limit of disks keeps the count below this bound.
        u32::try_from(self.chunks.len()).unwrap_or(ChunkSet::MAX_LEN)
    }

    /// The byte range of the footer in the VHD: at its end.
    #[must_use]
    pub fn footer_range(&self) -> Range<u64> {
        self.size..self.size + self.footer.len() as u64
    }

    /// The length of the VHD in bytes, including the footer.
    #[must_use]
    pub fn vhd_length(&self) -> u64 {
        self.footer_range().end
    }

    /// The sum of the lengths of all chunks in bytes, without zero runs.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }

    /// Describes the differences to another manifest. Empty if both have the same digest.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.size != other.size {
            found.push(format!("its size ({} bytes, not {})", self.size, other.size));
        }
        if self.chunks != other.chunks {
            found.push("its data".to_owned());
        }
        // The size is also in the footer, so a different size is reported only once.
        if self.footer != other.footer && self.size == other.size {
            found.push("the VHD's footer: each conversion writes a new id and time into it".to_owned());
        }
        found
    }
}

#[cfg(test)]
mod tests;
