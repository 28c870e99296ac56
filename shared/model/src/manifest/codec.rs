//! Manifests as text. There is one JSON value per line, so that any tool can read them and they can be streamed:
//!
//! ```text
//! {"format":"goldfleet-manifest","v":4,"size":1073741824,"footer":"636f6e65…"}
//! {"h":"<hash of the chunk>","r":[[0,4096,"<CRC of the run>","<MD5 of the run>"],[65536,512,"…","…"]]}
//! {"chunks":1,"b3":"<BLAKE3 of all lines above>"}
//! ```
//!
//! There is one line per chunk, in disk order: its hash, and its runs as disk offset, length, CRC-64/NVME and MD5. A
//! run's offset in its chunk and the chunk's length follow from the lengths. The last line contains the number of
//! chunks, so that a truncated manifest is detected, and a hash, so that a manifest that was damaged on its way into
//! the store is detected even if each line can be decoded.
//!
//! Earlier versions are rejected. Version 1 had no MD5: without the MD5, a service that does not verify a CRC-64 writes
//! damaged bytes. Version 2 had no hash in its last line. Version 3 was the manifest of a version with one disk.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use crate::hash::ends_with_own_hash;
use crate::ids::{ImageName, ImageVersion};

use super::{CHUNK_SIZE, ChunkEntry, ChunkHash, Manifest, Md5Sum, Run, SECTOR};

const FORMAT: &str = "goldfleet-manifest";
const FORMAT_VERSION: u32 = Manifest::FORMAT_VERSION;

/// Why a manifest cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It does not have the form that [`Manifest::encode`] writes.
    #[error("the manifest is damaged at line {line}: {reason}")]
    Damaged {
        /// The line number, from 1.
        line: usize,
        /// What is wrong with the line.
        reason: String,
    },
    /// An earlier release wrote the manifest.
    #[error(
        "an earlier release wrote the manifest (format version {0}), and this release reads version {FORMAT_VERSION} only"
    )]
    Older(u32),
    /// A later release wrote the manifest.
    #[error(
        "a later release wrote the manifest (format version {0}), and this release reads version {FORMAT_VERSION} only"
    )]
    Newer(u32),
}

impl ManifestError {
    /// The code of the failure, listed in `docs/failures.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "manifest-damaged",
            Self::Older(_) | Self::Newer(_) => "manifest-version",
        }
    }

    /// The error, and what to do about it if it is a manifest of this image version.
    #[must_use]
    pub fn with_remedy(&self, image: &ImageName, version: &ImageVersion) -> String {
        match self {
            Self::Damaged { .. } => {
                format!(
                    "{self}; upload the same source as --image {image} --version {version} again, which writes it again"
                )
            }
            Self::Older(_) => format!(
                "{self}; remove this version with 'goldfleet cleanup --image {image} --version {version}', and upload it again"
            ),
            Self::Newer(_) => format!("{self}; update goldfleet"),
        }
    }
}

/// An upper bound of disk sizes, in bytes. The largest Azure disk has 4,095 GiB.
const SIZE_LIMIT: u64 = 4096 << 30;

/// The fields that the first line of every format version has.
#[derive(Deserialize)]
struct Version {
    format: String,
    v: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    v: u32,
    size: u64,
    #[serde(with = "hex")]
    footer: [u8; 512],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    chunks: usize,
    /// The BLAKE3 hash of all lines before this one.
    #[serde(with = "hex")]
    b3: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    h: ChunkHash,
    r: Vec<(u64, u32, String, String)>,
}

impl Manifest {
    /// The version of the format that this program reads and writes.
    pub const FORMAT_VERSION: u32 = 4;

    /// Encodes the manifest as text. Equal manifests have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let head =
            Header { format: FORMAT.to_owned(), v: Manifest::FORMAT_VERSION, size: self.size, footer: self.footer };
        let mut text = Vec::with_capacity(1500 + self.chunks.len() * 160);
        write_json(&mut text, &head);
        for chunk in &self.chunks {
            write_chunk(&mut text, chunk);
        }
        let trailer = Trailer { chunks: self.chunks.len(), b3: hash_of(&text) };
        write_json(&mut text, &trailer);
        text
    }

    /// Decodes a manifest. It accepts only the exact bytes that [`Manifest::encode`] writes: if one content had two
    /// encodings, it would have two digests.
    ///
    /// # Errors
    /// [`ManifestError`], with the line that is wrong, or with the remedy for another format version.
    pub fn decode(text: &[u8]) -> Result<Self, ManifestError> {
        let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
        let error = |line: usize| move |reason: String| ManifestError::Damaged { line, reason };
        let [first, middle @ .., last] = &lines[..] else {
            return Err(error(lines.len().max(1))("it is cut short".to_owned()));
        };
        match format_version(first).map_err(error(1))? {
            FORMAT_VERSION => {}
            older if older < FORMAT_VERSION => return Err(ManifestError::Older(older)),
            newer if ends_with_own_hash(text) => return Err(ManifestError::Newer(newer)),
            newer => {
                let reason = format!("it states format version {newer}, and not the hash of its lines");
                return Err(error(lines.len())(reason));
            }
        }
        let head = decode_head(first).map_err(error(1))?;
        let tail = decode_tail(last, middle.len()).map_err(error(lines.len()))?;
        let mut chunks = Vec::with_capacity(middle.len());
        let mut from = 0;
        for (n, line) in middle.iter().enumerate() {
            let chunk = decode_chunk(line, from, head.size).map_err(error(n + 2))?;
            from = chunk.runs.last().map_or(from, |run| (run.offset / CHUNK_SIZE + 1) * CHUNK_SIZE);
            chunks.push(chunk);
        }
        // It is checked last, because an error of a line is more specific than a wrong hash.
        let hashed = text.len() - last.len();
        if text.get(..hashed).is_none_or(|above| hash_of(above) != tail.b3) {
            return Err(error(lines.len())("the lines above do not have the hash that it states".to_owned()));
        }
        Ok(Self { size: head.size, footer: head.footer, chunks })
    }
}

/// The BLAKE3 hash of the lines before the last one.
fn hash_of(lines: &[u8]) -> [u8; 32] {
    *blake3::hash(lines).as_bytes()
}

pub(crate) fn write_json(text: &mut Vec<u8>, value: &impl Serialize) {
    // Writing to memory and serialising strings and numbers do not fail.
    let _ = serde_json::to_writer(&mut *text, value);
    text.push(b'\n');
}

fn write_chunk(text: &mut Vec<u8>, chunk: &ChunkEntry) {
    // Writing to memory does not fail.
    let _ = write!(text, "{{\"h\":\"{}\",\"r\":[", chunk.hash);
    for (n, run) in chunk.runs.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let Run { offset, length, crc64, md5, .. } = run;
        let _ = write!(text, "{comma}[{offset},{length},\"{crc64:016x}\",\"{md5}\"]");
    }
    text.extend_from_slice(b"]}\n");
}

/// Checks that a line has exactly the bytes that the encoder would write.
pub(crate) fn check_canonical(line: &[u8], write: impl FnOnce(&mut Vec<u8>)) -> Result<(), String> {
    let mut written = Vec::with_capacity(line.len());
    write(&mut written);
    if written == line { Ok(()) } else { Err("it is not in the canonical form".to_owned()) }
}

/// The message of serde with the column only. Lines are parsed one by one, so serde always reports line 1.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    let (text, column) = (error.to_string(), error.column());
    let place = format!(" at line {} column {column}", error.line());
    format!("{} (column {column})", text.strip_suffix(&place).unwrap_or(&text))
}

fn format_version(line: &[u8]) -> Result<u32, String> {
    let version: Version = serde_json::from_slice(line).map_err(|error| json_reason(&error))?;
    if version.format == FORMAT { Ok(version.v) } else { Err(format!("it is not {FORMAT}")) }
}

fn decode_head(line: &[u8]) -> Result<Header, String> {
    let head: Header = serde_json::from_slice(line).map_err(|error| json_reason(&error))?;
    if head.size == 0 || !head.size.is_multiple_of(SECTOR) || head.size > SIZE_LIMIT {
        return Err(format!("a disk cannot have {} bytes", head.size));
    }
    check_canonical(line, |text| write_json(text, &head))?;
    Ok(head)
}

fn decode_tail(line: &[u8], chunks: usize) -> Result<Trailer, String> {
    let tail: Trailer = serde_json::from_slice(line)
        .map_err(|_| "the line with the number of chunks and the hash is missing: it is cut short".to_owned())?;
    if tail.chunks != chunks {
        return Err(format!("it has {chunks} chunks and should have {}", tail.chunks));
    }
    check_canonical(line, |text| write_json(text, &tail))?;
    Ok(tail)
}

/// Decodes a chunk whose window begins at `from` or later, on a disk of `size` bytes.
fn decode_chunk(line: &[u8], from: u64, size: u64) -> Result<ChunkEntry, String> {
    let read: Line = serde_json::from_slice(line).map_err(|error| json_reason(&error))?;
    let first = read.r.first().ok_or("a chunk without runs")?.0;
    let window_end =
        (first / CHUNK_SIZE + 1).checked_mul(CHUNK_SIZE).ok_or("a run ends after the end of the largest disk")?;
    let (mut at, mut free) = (0_u32, from);
    let mut runs = Vec::with_capacity(read.r.len());
    for (offset, length, crc, md5) in read.r {
        let end = offset.checked_add(u64::from(length)).ok_or("a run ends after the end of the largest disk")?;
        let aligned = offset.is_multiple_of(SECTOR) && u64::from(length).is_multiple_of(SECTOR) && length > 0;
        if !aligned {
            return Err(format!("a run of {length} bytes at {offset} is not made of whole sectors"));
        }
        if offset < free || end > window_end.min(size) {
            return Err(format!(
                "a run of {length} bytes at {offset} overlaps another, or leaves its window or the disk"
            ));
        }
        let crc64 = u64::from_str_radix(&crc, 16).map_err(|_| format!("{crc:?} is not a checksum"))?;
        let md5: Md5Sum = md5.parse().map_err(|_| format!("{md5:?} is not an MD5"))?;
        runs.push(Run { offset, length, at, crc64, md5 });
        // A window has 4 MiB, so this cannot overflow.
        at += length;
        free = end;
    }
    let chunk = ChunkEntry { hash: read.h, length: at, runs };
    check_canonical(line, |text| write_chunk(text, &chunk))?;
    Ok(chunk)
}
