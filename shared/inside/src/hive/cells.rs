//! Bins, cells, keys and their lists.

use super::value::Value;
use super::{HEADER, Hive, HiveError, Key, MAX_ENTRIES, damaged, read_exact};
use crate::bytes::{le16, le32, try_le32, try_len16};
use crate::text::{latin1, utf16};

/// The most bytes of a key or a value that are read: a name of 16,383 UTF-16 units and the fields before it.
const MAX_RECORD: usize = 33 << 10;
/// No offset.
const NONE: u32 = u32::MAX;

/// Offsets of fields in a key ("nk").
mod nk {
    pub(super) const FLAGS: usize = 2;
    pub(super) const SUBKEY_COUNT: usize = 0x14;
    pub(super) const SUBKEY_LIST: usize = 0x1c;
    pub(super) const VALUE_COUNT: usize = 0x24;
    pub(super) const VALUE_LIST: usize = 0x28;
    pub(super) const NAME_LENGTH: usize = 0x48;
    pub(super) const NAME: usize = 0x4c;
    /// The name is Latin-1; otherwise UTF-16.
    pub(super) const LATIN1: u16 = 0x20;
}

impl<'a> Hive<'a> {
    /// Checks that the bins follow each other without a gap.
    pub(super) fn check_bins(&self) -> Result<(), HiveError> {
        let mut at = 0;
        while at < self.bins {
            let mut header = [0; 12];
            self.read(at, &mut header)?;
            let (start, length) = (try_le32(&header, 4), le32(&header, 8));
            let end = at.checked_add(length).filter(|end| *end <= self.bins);
            let valid = header.starts_with(b"hbin") && start == Some(at) && length > 0 && length.is_multiple_of(4096);
            let Some(end) = end.filter(|_| valid) else {
                return damaged(format_args!("there is no valid bin at offset {at:#x}"));
            };
            at = end;
        }
        Ok(())
    }

    /// Reads from an offset in the bins.
    fn read(&self, offset: u32, buffer: &mut [u8]) -> Result<(), HiveError> {
        let mut file = self.file.borrow_mut();
        read_exact(file.as_mut(), HEADER as u64 + u64::from(offset), buffer)
    }

    /// The content of the cell at `offset`, cut at `limit` bytes.
    pub(super) fn cell(&self, offset: u32, limit: usize) -> Result<Vec<u8>, HiveError> {
        let left = self.cells_left.get().checked_sub(1).ok_or(HiveError::TooLarge("more than a million cells"))?;
        self.cells_left.set(left);
        let length = self.cell_length(offset)?;
        let mut bytes = vec![0; length.min(limit)];
        self.read(offset + 4, &mut bytes)?;
        Ok(bytes)
    }

    /// The length of the content of the cell at `offset` in bytes. Not to be trusted for an allocation.
    pub(super) fn cell_length(&self, offset: u32) -> Result<usize, HiveError> {
        let invalid = || HiveError::Damaged(format!("there is no valid cell at offset {offset:#x}"));
        if !offset.is_multiple_of(8) || offset.checked_add(8).is_none_or(|end| end > self.bins) {
            return Err(invalid());
        }
        let mut size = [0; 4];
        self.read(offset, &mut size)?;
        // A positive size marks a free cell.
        let length = i32::from_le_bytes(size).checked_neg().and_then(|n| u32::try_from(n).ok()).ok_or_else(invalid)?;
        if length < 8 || offset.checked_add(length).is_none_or(|end| end > self.bins) {
            return Err(invalid());
        }
        usize::try_from(length - 4).map_err(|_| invalid())
    }

    /// Like [`Self::cell`], for a cell that must begin with `signature` and have at least `length` bytes.
    pub(super) fn record(&self, offset: u32, signature: &[u8; 2], length: usize) -> Result<Vec<u8>, HiveError> {
        let bytes = self.cell(offset, MAX_RECORD)?;
        if !bytes.starts_with(signature) || bytes.len() < length {
            return damaged(format_args!("the cell at offset {offset:#x} is not of type {}", latin1(signature)));
        }
        Ok(bytes)
    }

    /// The key in the cell at `offset`.
    pub(super) fn key_at(&self, offset: u32) -> Result<Key<'_, 'a>, HiveError> {
        let bytes = self.record(offset, b"nk", nk::NAME)?;
        let word = |at| try_le32(&bytes, at).unwrap_or(NONE);
        let name = try_len16(&bytes, nk::NAME_LENGTH).and_then(|n| bytes.get(nk::NAME..nk::NAME + n));
        let Some(name) = name else {
            return damaged(format_args!("the name of the key at offset {offset:#x} is longer than its cell"));
        };
        let is_latin1 = le16(&bytes, nk::FLAGS) & nk::LATIN1 != 0;
        Ok(Key {
            hive: self,
            name: if is_latin1 { latin1(name) } else { utf16(name) },
            subkey_count: word(nk::SUBKEY_COUNT),
            subkey_list: word(nk::SUBKEY_LIST),
            value_count: word(nk::VALUE_COUNT),
            value_list: word(nk::VALUE_LIST),
        })
    }

    /// The value in the cell at `offset`.
    pub(super) fn value_at(&self, offset: u32) -> Result<Value<'_, 'a>, HiveError> {
        let bytes = self.record(offset, b"vk", 0x14)?;
        Value::parse(self, &bytes)
    }
}

impl Key<'_, '_> {
    /// The offsets of the subkeys' cells.
    pub(super) fn subkey_offsets(&self) -> Result<Vec<u32>, HiveError> {
        if self.subkey_count == 0 {
            return Ok(Vec::new());
        }
        let mut offsets = Vec::new();
        self.add_subkeys(self.subkey_list, true, &mut offsets)?;
        if u32::try_from(offsets.len()).ok() != Some(self.subkey_count) {
            return damaged(format_args!("a key states {} subkeys and lists {}", self.subkey_count, offsets.len()));
        }
        Ok(offsets)
    }

    /// Adds what one list names. Only the first list may be a list of lists ("ri").
    fn add_subkeys(&self, list: u32, first: bool, offsets: &mut Vec<u32>) -> Result<(), HiveError> {
        let bytes = self.hive.cell(list, 4 + 8 * usize::from(u16::MAX))?;
        let count = try_len16(&bytes, 2).unwrap_or(0);
        let step = match bytes.get(..2) {
            // Each entry has a hint or a hash of the name after the offset.
            Some(b"lf" | b"lh") => 8,
            Some(b"li" | b"ri") => 4,
            _ => return damaged(format_args!("there is no list of subkeys at offset {list:#x}")),
        };
        for index in 0..count {
            let Some(offset) = try_le32(&bytes, 4 + index * step) else {
                return damaged(format_args!("the list of subkeys at offset {list:#x} is cut off"));
            };
            if bytes.starts_with(b"ri") && first {
                self.add_subkeys(offset, false, offsets)?;
            } else if bytes.starts_with(b"ri") {
                return damaged(format_args!("the list of lists at offset {list:#x} is nested"));
            } else {
                offsets.push(offset);
            }
            if offsets.len() > MAX_ENTRIES {
                return Err(HiveError::TooLarge("more than 100,000 subkeys of one key"));
            }
        }
        Ok(())
    }

    /// The offsets of the values' cells.
    pub(super) fn value_offsets(&self) -> Result<Vec<u32>, HiveError> {
        let count = usize::try_from(self.value_count).unwrap_or(usize::MAX);
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > MAX_ENTRIES {
            return Err(HiveError::TooLarge("more than 100,000 values of one key"));
        }
        let bytes = self.hive.cell(self.value_list, count * 4)?;
        let offsets: Vec<u32> = bytes.chunks_exact(4).filter_map(|word| try_le32(word, 0)).collect();
        if offsets.len() != count {
            return damaged(format_args!("a key states {count} values and lists {}", offsets.len()));
        }
        Ok(offsets)
    }
}
