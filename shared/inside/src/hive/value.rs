//! Values and their data.

use super::{Hive, HiveError, damaged};
use crate::bytes::{le16, le32, try_le32, try_len16};
use crate::text::{latin1, utf16};

/// The most bytes of one value that are read. Windows advises at most 1 MiB; the largest that a check needs are a few
/// KiB.
pub(super) const MAX_DATA: usize = 4 << 20;
/// Bytes per segment of data that is too long for one cell ("db").
const SEGMENT: usize = 16_344;

/// Types of values, as `winnt.h` numbers them.
pub mod kind {
    /// A string: UTF-16, terminated by zero.
    pub const SZ: u32 = 1;
    /// A string with environment variables.
    pub const EXPAND_SZ: u32 = 2;
    /// Bytes.
    pub const BINARY: u32 = 3;
    /// A 32-bit number.
    pub const DWORD: u32 = 4;
    /// A list of strings, terminated by an empty one.
    pub const MULTI_SZ: u32 = 7;
    /// A 64-bit number.
    pub const QWORD: u32 = 11;
}

/// A value of a key. Its data is read when it is asked for.
#[derive(Debug)]
pub struct Value<'h, 'a> {
    hive: &'h Hive<'a>,
    name: String,
    kind: u32,
    length: usize,
    data: Location,
}

#[derive(Debug)]
enum Location {
    Inline([u8; 4]),
    Cell(u32),
}

impl<'h, 'a> Value<'h, 'a> {
    /// Reads a "vk" cell of at least 20 bytes.
    pub(super) fn parse(hive: &'h Hive<'a>, bytes: &[u8]) -> Result<Self, HiveError> {
        let word = |at| le32(bytes, at);
        let name = try_len16(bytes, 2).and_then(|n| bytes.get(0x14..0x14 + n));
        let Some(name) = name else {
            return damaged("the name of a value is longer than its cell");
        };
        let is_latin1 = le16(bytes, 0x10) & 1 != 0;
        let size = word(4);
        let inline = size & 0x8000_0000 != 0;
        let length = usize::try_from(size & 0x7fff_ffff).unwrap_or(usize::MAX);
        if inline && length > 4 {
            return damaged(format_args!("a value states {length} bytes within its record, which has 4"));
        }
        let data = if inline { Location::Inline(word(8).to_le_bytes()) } else { Location::Cell(word(8)) };
        let name = if is_latin1 { latin1(name) } else { utf16(name) };
        Ok(Self { hive, name, kind: word(0xc), length, data })
    }

    /// The name. Empty for a key's default value.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type: one of [`kind`] or another number of `winnt.h`.
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.kind
    }

    /// The data.
    ///
    /// # Errors
    /// [`HiveError`] if it cannot be read or has more than 4 MiB.
    pub fn data(&self) -> Result<Vec<u8>, HiveError> {
        let offset = match self.data {
            Location::Inline(bytes) => return Ok(bytes[..self.length].to_vec()),
            Location::Cell(_) if self.length == 0 => return Ok(Vec::new()),
            Location::Cell(offset) => offset,
        };
        if self.length > MAX_DATA {
            return Err(HiveError::TooLarge("a value of more than 4 MiB"));
        }
        // A cell of Windows' own holds at most one segment, one of hivex holds any length.
        if self.hive.cell_length(offset)? >= self.length {
            return self.hive.cell(offset, self.length);
        }
        self.big_data(offset)
    }

    /// Data in several cells.
    fn big_data(&self, offset: u32) -> Result<Vec<u8>, HiveError> {
        let record = self.hive.record(offset, b"db", 8)?;
        let count = try_len16(&record, 2).unwrap_or(0);
        let list = self.hive.cell(try_le32(&record, 4).unwrap_or(u32::MAX), count * 4)?;
        let mut data = Vec::new();
        for segment in list.chunks_exact(4).filter_map(|word| try_le32(word, 0)) {
            let wanted = (self.length - data.len()).min(SEGMENT);
            data.extend(self.hive.cell(segment, wanted)?);
            if data.len() == self.length {
                return Ok(data);
            }
        }
        damaged(format_args!("a value states {} bytes and has {}", self.length, data.len()))
    }

    /// A 32-bit number; `None` if the value has another type or length.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub fn dword(&self) -> Result<Option<u32>, HiveError> {
        if self.kind != kind::DWORD || self.length != 4 {
            return Ok(None);
        }
        Ok(try_le32(&self.data()?, 0))
    }

    /// A string; `None` if the value has another type.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub fn string(&self) -> Result<Option<String>, HiveError> {
        if !matches!(self.kind, kind::SZ | kind::EXPAND_SZ) {
            return Ok(None);
        }
        let text = utf16(&self.data()?);
        Ok(text.split('\0').next().map(str::to_owned))
    }

    /// A list of strings; `None` if the value is neither a list nor a string.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub fn strings(&self) -> Result<Option<Vec<String>>, HiveError> {
        if !matches!(self.kind, kind::SZ | kind::EXPAND_SZ | kind::MULTI_SZ) {
            return Ok(None);
        }
        let text = utf16(&self.data()?);
        Ok(Some(text.split('\0').filter(|part| !part.is_empty()).map(str::to_owned).collect()))
    }
}
