//! File records and their attributes.

use super::damaged;
use crate::bytes::{le16, try_le16, try_le32, try_le64, try_len16, try_len32};
use crate::fs::FsError;
use crate::text::{latin1, utf16};

/// Types of attributes.
pub(super) mod kind {
    pub(crate) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(crate) const VOLUME_NAME: u32 = 0x60;
    pub(crate) const VOLUME_INFORMATION: u32 = 0x70;
    pub(crate) const DATA: u32 = 0x80;
    pub(crate) const INDEX_ROOT: u32 = 0x90;
    pub(crate) const INDEX_ALLOCATION: u32 = 0xa0;
    pub(crate) const REPARSE_POINT: u32 = 0xc0;
    pub(super) const END: u32 = 0xffff_ffff;
}

/// Bytes that one fix-up protects, whatever the sector size.
const STRIDE: usize = 512;
const IN_USE: u16 = 1;
const FOLDER: u16 = 2;
/// The part of a reference that is a record's number; the rest is a sequence number.
pub(super) const NUMBER: u64 = 0xffff_ffff_ffff;

/// Checks a record or an index block and puts back the bytes that the fix-ups replaced: the last two bytes of every 512
/// are stored apart, so that a write that was cut off is noticed.
pub(super) fn fix_up(bytes: &mut [u8], signature: &[u8; 4]) -> Result<(), FsError> {
    if !bytes.starts_with(signature) {
        return Err(damaged(format_args!("there is no '{}' signature", latin1(signature))));
    }
    let array = try_len16(bytes, 4).unwrap_or(0);
    let count = try_len16(bytes, 6).unwrap_or(0);
    let saved = bytes.get(array..array + 2 * count).map(<[u8]>::to_vec).unwrap_or_default();
    if !bytes.len().is_multiple_of(STRIDE) || count != bytes.len() / STRIDE + 1 || saved.len() != 2 * count {
        return Err(damaged("the fix-up array is invalid"));
    }
    for (sector, original) in bytes.chunks_exact_mut(STRIDE).zip(saved[2..].chunks_exact(2)) {
        if sector[STRIDE - 2..] != saved[..2] {
            return Err(damaged("a record was only partly written"));
        }
        sector[STRIDE - 2..].copy_from_slice(original);
    }
    Ok(())
}

/// A file record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) number: u64,
    bytes: Vec<u8>,
}

/// One attribute in a record.
#[derive(Debug, Clone)]
pub(super) struct Attribute<'a> {
    pub(super) kind: u32,
    pub(super) name: String,
    pub(super) id: u16,
    pub(super) flags: u16,
    pub(super) body: Body<'a>,
}

/// Where an attribute's data is.
#[derive(Debug, Clone)]
pub(super) enum Body<'a> {
    /// In the record.
    Resident(&'a [u8]),
    /// In clusters.
    NonResident(Extent<'a>),
}

/// The part of an attribute whose clusters one record lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent<'a> {
    /// Index of the first cluster in the attribute.
    pub(super) first: u64,
    /// The encoded runs.
    pub(super) runs: &'a [u8],
    /// Length of the attribute in bytes. Valid only in the first extent.
    pub(super) size: u64,
    /// Bytes from here on are zero. Valid only in the first extent.
    pub(super) initialized: u64,
}

impl Record {
    /// Checks the bytes of record `number`.
    pub(super) fn parse(number: u64, mut bytes: Vec<u8>) -> Result<Self, FsError> {
        fix_up(&mut bytes, b"FILE").map_err(|error| damaged(format_args!("file record {number}: {error}")))?;
        let record = Self { number, bytes };
        if record.flags() & IN_USE == 0 {
            return Err(damaged(format_args!("file record {number} is not in use")));
        }
        Ok(record)
    }

    fn flags(&self) -> u16 {
        le16(&self.bytes, 0x16)
    }

    /// Whether it describes a folder.
    pub(super) fn is_folder(&self) -> bool {
        self.flags() & FOLDER != 0
    }

    /// How often the record was used for another file; part of references to it.
    pub(super) fn sequence(&self) -> u64 {
        u64::from(le16(&self.bytes, 0x10))
    }

    /// The attributes in this record.
    pub(super) fn attributes(&self) -> Result<Vec<Attribute<'_>>, FsError> {
        let invalid = || damaged(format_args!("an attribute of file record {} is invalid", self.number));
        let mut attributes = Vec::new();
        let mut at = try_len16(&self.bytes, 0x14).unwrap_or(0);
        loop {
            let kind = try_le32(&self.bytes, at).ok_or_else(invalid)?;
            if kind == kind::END {
                return Ok(attributes);
            }
            let length = try_len32(&self.bytes, at + 4).filter(|length| *length >= 0x18).ok_or_else(invalid)?;
            let bytes = at.checked_add(length).and_then(|end| self.bytes.get(at..end)).ok_or_else(invalid)?;
            attributes.push(Attribute::parse(kind, bytes).ok_or_else(invalid)?);
            at += length;
        }
    }

    /// The attribute of a type and name in this record.
    pub(super) fn attribute(&self, kind: u32, name: &str) -> Result<Option<Attribute<'_>>, FsError> {
        Ok(self.attributes()?.into_iter().find(|attribute| attribute.kind == kind && attribute.name == name))
    }
}

impl<'a> Attribute<'a> {
    fn parse(kind: u32, bytes: &'a [u8]) -> Option<Self> {
        let name_start = try_len16(bytes, 10)?;
        let name = bytes.get(name_start..name_start + 2 * usize::from(bytes[9])).or((bytes[9] == 0).then_some(&[]))?;
        let body = if bytes[8] == 0 {
            let start = try_len16(bytes, 0x14)?;
            Body::Resident(bytes.get(start..start.checked_add(try_len32(bytes, 0x10)?)?)?)
        } else {
            Body::NonResident(Extent {
                first: try_le64(bytes, 0x10)?,
                runs: bytes.get(try_len16(bytes, 0x20)?..)?,
                size: try_le64(bytes, 0x30)?,
                initialized: try_le64(bytes, 0x38)?,
            })
        };
        Some(Self { kind, name: utf16(name), id: try_le16(bytes, 14)?, flags: try_le16(bytes, 12)?, body })
    }
}
