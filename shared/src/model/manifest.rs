//! The manifest of an image version: what its disk consists of.
//!
//! A manifest is text, one JSON value a line, so that it can be read with any tool and streamed:
//!
//! ```text
//! {"format":"goldfleet-manifest","v":1,"os":"linux","generation":"v2","size":1073741824,"footer":"636f6e65…"}
//! {"h":"<hash of the chunk>","r":[[0,4096,"<crc of the run>"],[65536,512,"…"]]}
//! {"chunks":1}
//! ```
//!
//! A line a chunk, in the order of the disk: its hash, and its runs as disk offset, length and CRC-64/NVME. The last line
//! counts the chunks, so that a manifest that was cut short is told. Name, version and time are not in it: equal content
//! has an equal digest, whatever it is called.

use std::collections::HashSet;
use std::fmt;
use std::io::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use super::hash::{ChunkHash, Digest, digest_of};
use super::ids::InvalidName;
use crate::chunk::{CRC64_EMPTY, combine_crc64};

/// The windows of the disk that become chunks, in bytes. Also the most that one page write takes (Azure: 4 MiB).
pub const CHUNK_SIZE: u64 = 4 * 1024 * 1024;

/// Runs begin and end at multiples of this, in bytes: Azure's page.
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
    /// As on the command line.
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
    /// BIOS, from a master boot record.
    V1,
    /// UEFI, from an EFI system partition.
    V2,
}

impl Generation {
    /// As on the command line.
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

/// The name of a chunk in a store.
#[must_use]
pub fn chunk_name(hash: &ChunkHash) -> String {
    format!("chunks/{hash}")
}

/// The name of an image version's manifest in the source store.
#[must_use]
pub fn manifest_name(image: &str, version: &str) -> String {
    format!("manifests/{image}/{version}.jsonl")
}

/// A stretch of the disk that holds data, as it lies in its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it begins on the disk, in bytes; a multiple of [`SECTOR`].
    pub offset: u64,
    /// Its length in bytes; a multiple of [`SECTOR`].
    pub length: u32,
    /// Where it begins in the chunk, in bytes: the lengths of the runs before it.
    pub at: u32,
    /// The CRC-64/NVME of its bytes.
    pub crc64: u64,
}

/// A chunk of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkEntry {
    /// The hash of its bytes.
    pub hash: ChunkHash,
    /// Its length in bytes: the sum of its runs.
    pub length: u32,
    /// Its runs, in the order of the disk; at least one.
    pub runs: Vec<Run>,
}

impl ChunkEntry {
    /// The CRC-64/NVME of the whole chunk, combined from its runs'.
    #[must_use]
    pub fn crc64(&self) -> u64 {
        self.runs.iter().fold(CRC64_EMPTY, |crc, run| combine_crc64(crc, run.crc64, u64::from(run.length)))
    }
}

/// What the disk of an image version consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The operating system.
    pub os: OsType,
    /// The Hyper-V generation.
    pub generation: Generation,
    /// The disk's logical size in bytes, without the footer.
    pub size: u64,
    /// The footer of the fixed VHD.
    pub footer: [u8; 512],
    /// The chunks, in the order of the disk.
    pub chunks: Vec<ChunkEntry>,
}

/// Why a manifest can't be read: the line, counted from 1, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the manifest is damaged at line {line}: {reason}")]
pub struct ManifestError {
    /// The line.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

const FORMAT: &str = "goldfleet-manifest";
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    v: u32,
    os: OsType,
    generation: Generation,
    size: u64,
    #[serde(with = "hex")]
    footer: [u8; 512],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    chunks: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    h: ChunkHash,
    r: Vec<(u64, u32, String)>,
}

impl Manifest {
    /// Bytes of all chunks, without zero runs.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }

    /// Bytes of the chunks, each content counted once: what a store needs.
    #[must_use]
    pub fn unique_bytes(&self) -> u64 {
        let mut seen = HashSet::new();
        self.chunks.iter().filter(|chunk| seen.insert(chunk.hash)).map(|chunk| u64::from(chunk.length)).sum()
    }

    /// The manifest as text. The same manifest always gives the same bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let head = Head {
            format: FORMAT.to_owned(),
            v: FORMAT_VERSION,
            os: self.os,
            generation: self.generation,
            size: self.size,
            footer: self.footer,
        };
        let mut text = Vec::with_capacity(1500 + self.chunks.len() * 128);
        // Neither writing to memory nor serialising strings and numbers fails.
        let _ = serde_json::to_writer(&mut text, &head);
        for chunk in &self.chunks {
            let _ = write!(text, "\n{{\"h\":\"{}\",\"r\":[", chunk.hash);
            for (n, run) in chunk.runs.iter().enumerate() {
                let comma = if n == 0 { "" } else { "," };
                let _ = write!(text, "{comma}[{},{},\"{:016x}\"]", run.offset, run.length, run.crc64);
            }
            text.extend_from_slice(b"]}");
        }
        let _ = writeln!(text, "\n{{\"chunks\":{}}}", self.chunks.len());
        text
    }

    /// Reads what [`Manifest::encode`] wrote, and nothing else.
    ///
    /// # Errors
    /// [`ManifestError`] with the line that is wrong.
    pub fn decode(text: &[u8]) -> Result<Self, ManifestError> {
        let error = |line: usize, reason: String| ManifestError { line, reason };
        let body = text.strip_suffix(b"\n").ok_or_else(|| error(1, "it does not end with a line feed".to_owned()))?;
        let lines: Vec<&[u8]> = body.split(|&byte| byte == b'\n').collect();
        let [first, middle @ .., last] = &lines[..] else {
            return Err(error(lines.len(), "it is cut short".to_owned()));
        };
        let head: Head = serde_json::from_slice(first).map_err(|e| error(1, e.to_string()))?;
        check_head(&head).map_err(|reason| error(1, reason))?;
        let tail: Tail = serde_json::from_slice(last).map_err(|_| {
            error(lines.len(), "the line that counts the chunks is missing: it is cut short".to_owned())
        })?;
        if tail.chunks != middle.len() {
            return Err(error(lines.len(), format!("it has {} chunks and should have {}", middle.len(), tail.chunks)));
        }
        let mut chunks = Vec::with_capacity(middle.len());
        let mut from = 0;
        for (n, line) in middle.iter().enumerate() {
            let chunk = decode_chunk(line, from, head.size).map_err(|reason| error(n + 2, reason))?;
            from = chunk.runs.last().map_or(from, |run| (run.offset / CHUNK_SIZE + 1) * CHUNK_SIZE);
            chunks.push(chunk);
        }
        let manifest = Self { os: head.os, generation: head.generation, size: head.size, footer: head.footer, chunks };
        // One content, one text: or equal content could have two digests.
        if manifest.encode() == text {
            Ok(manifest)
        } else {
            Err(error(1, "it is not in the form it is written in".to_owned()))
        }
    }
}

fn check_head(head: &Head) -> Result<(), String> {
    if head.format != FORMAT {
        return Err(format!("it is no {FORMAT}"));
    }
    if head.v != FORMAT_VERSION {
        return Err(format!("it has version {}, this program reads version {FORMAT_VERSION}", head.v));
    }
    if head.size == 0 || !head.size.is_multiple_of(SECTOR) || head.size > CHUNK_SIZE << 20 {
        return Err(format!("a disk can't have {} bytes", head.size));
    }
    Ok(())
}

/// Reads a chunk whose window begins at `from` or later, on a disk of `size` bytes.
fn decode_chunk(line: &[u8], from: u64, size: u64) -> Result<ChunkEntry, String> {
    let line: Line = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    let first = line.r.first().ok_or("a chunk without runs")?.0;
    let window_end = (first / CHUNK_SIZE + 1).checked_mul(CHUNK_SIZE).ok_or("a run beyond every disk")?;
    let (mut at, mut free) = (0_u32, from);
    let mut runs = Vec::with_capacity(line.r.len());
    for (offset, length, crc) in line.r {
        let end = offset.checked_add(u64::from(length)).ok_or("a run beyond every disk")?;
        let aligned = offset.is_multiple_of(SECTOR) && u64::from(length).is_multiple_of(SECTOR) && length > 0;
        if !aligned {
            return Err(format!("a run of {length} bytes at {offset} is not made of whole sectors"));
        }
        if offset < free || end > window_end.min(size) {
            return Err(format!(
                "a run of {length} bytes at {offset} overlaps another, or leaves its window or the disk"
            ));
        }
        let crc64 = u64::from_str_radix(&crc, 16).map_err(|_| format!("{crc:?} is no checksum"))?;
        runs.push(Run { offset, length, at, crc64 });
        // A window holds 4 MiB, so this can't overflow.
        at += length;
        free = end;
    }
    Ok(ChunkEntry { hash: line.h, length: at, runs })
}

#[cfg(test)]
mod tests;
