//! The data of attributes, also of those that several records describe.

use super::record::{Attribute, Body, NUMBER, Record, kind};
use super::runs::Runs;
use super::{Ntfs, damaged};
use crate::bytes::{le16, le64, try_le32, try_len16};
use crate::fs::FsError;
use crate::text::utf16;

/// The most bytes of an attribute list; Windows' limit.
const MAX_LIST: u64 = 256 << 10;
/// Flags of an attribute.
const COMPRESSED: u16 = 0x00ff;
const ENCRYPTED: u16 = 0x4000;

/// The data of one attribute.
#[derive(Debug, Clone)]
pub(super) enum Stream {
    /// All of it.
    Resident(Vec<u8>),
    /// Where it is.
    NonResident {
        runs: Runs,
        /// Length in bytes.
        size: u64,
        /// Bytes from here on are zero.
        initialized: u64,
        /// Why it cannot be read, if it cannot.
        unreadable: Option<&'static str>,
    },
}

impl Stream {
    /// Length in bytes, as stated by the file system.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Resident(bytes) => bytes.len() as u64,
            Self::NonResident { size, .. } => *size,
        }
    }

    /// The stream of an attribute's first or only extent.
    pub(super) fn of(attribute: &Attribute<'_>, volume: u64) -> Result<Self, FsError> {
        let extent = match &attribute.body {
            Body::Resident(bytes) => return Ok(Self::Resident(bytes.to_vec())),
            Body::NonResident(extent) => extent,
        };
        if extent.first != 0 {
            return Err(damaged("the beginning of an attribute is missing"));
        }
        let unreadable = match attribute.flags {
            flags if flags & ENCRYPTED != 0 => Some("the file is encrypted (EFS)"),
            flags if flags & COMPRESSED != 0 => Some("the file is compressed by NTFS"),
            _ => None,
        };
        let mut runs = Runs::default();
        runs.append(extent.runs, volume)?;
        Ok(Self::NonResident { runs, size: extent.size, initialized: extent.initialized, unreadable })
    }

    /// Appends the next extent.
    pub(super) fn extend(&mut self, attribute: &Attribute<'_>, volume: u64) -> Result<(), FsError> {
        match (self, &attribute.body) {
            (Self::NonResident { runs, .. }, Body::NonResident(extent)) if extent.first == runs.clusters() => {
                runs.append(extent.runs, volume)
            }
            _ => Err(damaged("the parts of an attribute do not follow each other")),
        }
    }
}

/// One entry of an attribute list: which record holds an attribute or a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    pub(super) reference: u64,
    id: u16,
}

impl Ntfs {
    /// The data of the attribute of a type and name. `base` is the file's base record.
    pub(super) fn stream(&self, base: &Record, kind: u32, name: &str) -> Result<Option<Stream>, FsError> {
        let Some(list) = base.attribute(kind::ATTRIBUTE_LIST, "")? else {
            let attribute = base.attribute(kind, name)?;
            return attribute.map(|attribute| Stream::of(&attribute, self.geometry.clusters)).transpose();
        };
        let mut stream: Option<Stream> = None;
        for listed in self.listed(&list, kind, name)? {
            self.with_listed(base, listed, kind, name, |attribute| match &mut stream {
                Some(stream) => stream.extend(attribute, self.geometry.clusters),
                None => Stream::of(attribute, self.geometry.clusters).map(|first| stream = Some(first)),
            })?;
        }
        Ok(stream)
    }

    /// Calls `then` with the attribute that an entry of the attribute list names.
    pub(super) fn with_listed(
        &self,
        base: &Record,
        listed: Listed,
        kind: u32,
        name: &str,
        then: impl FnOnce(&Attribute<'_>) -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        self.budget.check()?;
        let other;
        let record = if listed.reference & NUMBER == base.number {
            base
        } else {
            other = self.record(listed.reference)?;
            &other
        };
        let attributes = record.attributes()?;
        let same = |a: &&Attribute<'_>| a.kind == kind && a.id == listed.id && a.name == name;
        match attributes.iter().find(same) {
            Some(attribute) => then(attribute),
            None => Err(damaged(format_args!("file record {} lacks an attribute that is listed in it", record.number))),
        }
    }

    /// The entries of an attribute list for a type and name, in the order of their parts.
    pub(super) fn listed(&self, list: &Attribute<'_>, kind: u32, name: &str) -> Result<Vec<Listed>, FsError> {
        let stream = Stream::of(list, self.geometry.clusters)?;
        let bytes = self.read_all(&stream, MAX_LIST)?;
        let mut found = Vec::new();
        let mut rest = bytes.as_slice();
        while rest.len() >= 0x1a {
            let length = try_len16(rest, 4).filter(|length| (0x1a..=rest.len()).contains(length));
            let length = length.ok_or_else(|| damaged("an entry of an attribute list is invalid"))?;
            let entry = &rest[..length];
            let name_start = usize::from(entry[7]);
            let entry_name = entry.get(name_start..name_start + 2 * usize::from(entry[6])).map(utf16);
            let same_name = if entry[6] == 0 { name.is_empty() } else { entry_name.as_deref() == Some(name) };
            if try_le32(entry, 0) == Some(kind) && same_name {
                let word = |at| le64(entry, at);
                let listed = Listed { reference: word(0x10), id: le16(entry, 0x18) };
                found.push((word(8), listed));
            }
            rest = &rest[length..];
        }
        found.sort_by_key(|(first, _)| *first);
        Ok(found.into_iter().map(|(_, listed)| listed).collect())
    }

    /// Reads a stream of at most `limit` bytes.
    pub(super) fn read_all(&self, stream: &Stream, limit: u64) -> Result<Vec<u8>, FsError> {
        let length = Some(stream.size()).filter(|size| *size <= limit).ok_or(FsError::TooLong(limit))?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| FsError::TooLong(limit))?];
        self.read_exact(stream, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `buffer`; a stream that ends before is damage.
    pub(super) fn read_exact(&self, stream: &Stream, offset: u64, buffer: &mut [u8]) -> Result<(), FsError> {
        let mut done = 0;
        while done < buffer.len() {
            let count = self.read_stream(stream, offset + done as u64, &mut buffer[done..])?;
            if count == 0 {
                return Err(damaged("an attribute is shorter than what refers to it"));
            }
            done += count;
        }
        Ok(())
    }

    /// Reads from a stream; returns 0 at its end.
    pub(super) fn read_stream(&self, stream: &Stream, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let left = usize::try_from(stream.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let buffer = &mut buffer[..wanted];
        if wanted == 0 {
            return Ok(0);
        }
        match stream {
            Stream::Resident(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                buffer.copy_from_slice(&bytes[start..start + wanted]);
                Ok(wanted)
            }
            Stream::NonResident { unreadable: Some(reason), .. } => Err(FsError::Unsupported((*reason).into())),
            Stream::NonResident { runs, initialized, .. } => self.read_runs(runs, *initialized, offset, buffer),
        }
    }

    fn read_runs(&self, runs: &Runs, initialized: u64, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let until_zeros = usize::try_from(initialized.saturating_sub(offset)).unwrap_or(usize::MAX);
        if until_zeros == 0 {
            buffer.fill(0);
            return Ok(buffer.len());
        }
        let size = self.geometry.cluster;
        let run = runs.find(offset / size).ok_or_else(|| damaged("an attribute is longer than its clusters"))?;
        // The offset is in the run, so the subtractions do not overflow; the end of a hole may not fit into 64 bits.
        let within = offset - run.first * size;
        let in_run = usize::try_from(run.count.saturating_mul(size) - within).unwrap_or(usize::MAX);
        let length = buffer.len();
        let buffer = &mut buffer[..length.min(until_zeros).min(in_run)];
        match run.cluster {
            Some(cluster) => self.volume.read_at(self.geometry.offset(cluster)? + within, buffer)?,
            None => buffer.fill(0),
        }
        Ok(buffer.len())
    }
}
