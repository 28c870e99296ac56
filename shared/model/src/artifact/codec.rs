//! Artifact records as text, with one JSON value per line:
//!
//! ```text
//! {"format":"goldfleet-artifact","v":1,"os":"linux","generation":"v2"}
//! {"disk":"os","manifest":"b3:<64 digits>","size":1073741824,"data":5242880}
//! {"disk":"data-0","manifest":"b3:<64 digits>","size":4294967296,"data":1048576}
//! {"uploaded":"2026-11-29T23:00:00Z","upload":"…","by":"alice@build","source":"/images/golden.vhd","system":{…}}
//! {"disks":2,"b3":"<BLAKE3 of all lines above>"}
//! ```
//!
//! The first line and the lines of disks are the content. Their hash is the digest of the version. The last line has
//! the number of disks and a hash, so that a record that was cut short or damaged on its way into the store is
//! detected.

use serde::{Deserialize, Serialize};

use super::{Artifact, ArtifactDisk, ArtifactRecord, DiskRef, DiskRole, Provenance};
use crate::hash::Digest;
use crate::hash::ends_with_own_hash;
use crate::ids::{ImageName, ImageVersion};
use crate::manifest::codec::{check_canonical, json_reason, write_json};
use crate::manifest::{Generation, OsType};

const FORMAT: &str = "goldfleet-artifact";

/// Why an artifact record cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// It does not have the form that [`ArtifactRecord::encode`] writes.
    #[error("the artifact record is damaged at line {line}: {reason}")]
    Damaged {
        /// The line number, from 1.
        line: usize,
        /// What is wrong with the line.
        reason: String,
    },
    /// A later release wrote it.
    #[error(
        "a later release wrote the artifact record (format version {0}), and this release reads version {version} only",
        version = ArtifactRecord::FORMAT_VERSION
    )]
    Newer(u32),
}

impl ArtifactError {
    /// The code of the failure, listed in `docs/failures.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "artifact-damaged",
            Self::Newer(_) => "artifact-version",
        }
    }

    /// The error, and what to do about it if it is the record of this image version.
    #[must_use]
    pub fn with_remedy(&self, image: &ImageName, version: &ImageVersion) -> String {
        match self {
            Self::Damaged { .. } => format!(
                "{self}; remove this version with 'goldfleet cleanup --image {image} --version {version}', and upload it again"
            ),
            Self::Newer(_) => format!("{self}; update goldfleet"),
        }
    }
}

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
    os: OsType,
    generation: Generation,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskLine {
    disk: DiskRole,
    manifest: Digest,
    size: u64,
    data: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    disks: usize,
    /// The BLAKE3 hash of all lines before this one.
    #[serde(with = "hex")]
    b3: [u8; 32],
}

impl Artifact {
    /// The lines of the record that describe the content.
    pub(super) fn encode_content(&self) -> Vec<u8> {
        let v = ArtifactRecord::FORMAT_VERSION;
        let mut text = Vec::with_capacity(512);
        write_json(&mut text, &Header { format: FORMAT.to_owned(), v, os: self.os, generation: self.generation });
        for ArtifactDisk { disk: DiskRef { role, manifest }, size, data_bytes } in &self.disks {
            write_json(&mut text, &DiskLine { disk: *role, manifest: *manifest, size: *size, data: *data_bytes });
        }
        text
    }
}

impl ArtifactRecord {
    /// The version of the format that this program reads and writes.
    pub const FORMAT_VERSION: u32 = 1;

    /// Encodes the record as text. Equal records have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = self.artifact.encode_content();
        write_json(&mut text, &self.provenance);
        let trailer = Trailer { disks: self.artifact.disks.len(), b3: *blake3::hash(&text).as_bytes() };
        write_json(&mut text, &trailer);
        text
    }

    /// Decodes a record. It accepts only the exact bytes that [`ArtifactRecord::encode`] writes.
    ///
    /// # Errors
    /// [`ArtifactError`], with the line that is wrong, or with the remedy for another format version.
    pub fn decode(text: &[u8]) -> Result<Self, ArtifactError> {
        let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
        let error = |line: usize| move |reason: String| ArtifactError::Damaged { line, reason };
        let count = lines.len();
        let [first, disks @ .., provenance, last] = &lines[..] else {
            return Err(error(count.max(1))("it is cut short".to_owned()));
        };
        let version = format_version(first).map_err(error(1))?;
        if version > Self::FORMAT_VERSION {
            return Err(match ends_with_own_hash(text) {
                true => ArtifactError::Newer(version),
                false => error(count)(format!("it states format version {version}, and not the hash of its lines")),
            });
        }
        let header: Header = canonical(first).map_err(error(1))?;
        let disks = disks.iter().enumerate().map(|(n, line)| decode_disk(line).map_err(error(n + 2)));
        let disks: Vec<ArtifactDisk> = disks.collect::<Result<_, _>>()?;
        let provenance: Provenance = canonical(provenance).map_err(error(count - 1))?;
        let trailer: Trailer = canonical(last).map_err(error(count))?;
        check_disks(&disks, trailer.disks).map_err(error(count))?;
        // It is checked last, because an error of a line is more specific than a wrong hash.
        if text.get(..text.len() - last.len()).is_none_or(|above| *blake3::hash(above).as_bytes() != trailer.b3) {
            return Err(error(count)("the lines above do not have the hash that it states".to_owned()));
        }
        Ok(Self { artifact: Artifact { os: header.os, generation: header.generation, disks }, provenance })
    }
}

fn format_version(line: &[u8]) -> Result<u32, String> {
    let version: Version = serde_json::from_slice(line).map_err(|error| json_reason(&error))?;
    match version {
        Version { format, v } if format == FORMAT && v > 0 => Ok(v),
        _ => Err(format!("it is not {FORMAT}")),
    }
}

/// Parses a line that has exactly the bytes that the encoder would write.
fn canonical<T: Serialize + for<'a> Deserialize<'a>>(line: &[u8]) -> Result<T, String> {
    let value: T = serde_json::from_slice(line).map_err(|error| json_reason(&error))?;
    check_canonical(line, |text| write_json(text, &value))?;
    Ok(value)
}

fn decode_disk(line: &[u8]) -> Result<ArtifactDisk, String> {
    let DiskLine { disk: role, manifest, size, data } = canonical(line)?;
    Ok(ArtifactDisk { disk: DiskRef { role, manifest }, size, data_bytes: data })
}

/// Checks that there is one OS disk, that the disks are in order, and that there are as many as stated.
fn check_disks(disks: &[ArtifactDisk], stated: usize) -> Result<(), String> {
    if disks.len() != stated {
        return Err(format!("it has {} disks and should have {stated}", disks.len()));
    }
    let roles: Vec<DiskRole> = disks.iter().map(|disk| disk.disk.role).collect();
    if roles.first() != Some(&DiskRole::Os) || !roles.is_sorted_by(|a, b| a < b) {
        return Err("the disks are not an OS disk and then data disks in the order of their LUNs".to_owned());
    }
    Ok(())
}
