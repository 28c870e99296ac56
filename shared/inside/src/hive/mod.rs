//! Registry hives: the files in which Windows stores its registry, and the boot configuration (BCD).
//!
//! A hive is a header of 4,096 bytes and a series of bins, which hold cells. A cell is a key, a value, a list or data.
//! Offsets of cells count from the first bin. Only what a caller asks for is read; nothing is trusted: a cell outside
//! the bins, a list that is longer than a key states, or more than [`MAX_CELLS`] cells end the read with [`HiveError`].

#[cfg(test)]
pub(crate) mod build;
mod cells;
mod value;

use std::cell::{Cell, RefCell};
use std::fmt;

pub use value::{Value, kind};

use crate::bytes::try_le32;
use crate::fs::{FileReader, FsError};
use crate::text::same_name;

/// Length of the header in bytes; the first bin follows it.
pub const HEADER: usize = 4096;
/// The most cells that one [`Hive`] reads. The largest SYSTEM hives hold about 300,000.
pub const MAX_CELLS: u32 = 1_000_000;
/// The most subkeys or values of one key that are listed.
pub const MAX_ENTRIES: usize = 100_000;

/// Why a hive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HiveError {
    /// The structures contradict each other or the format.
    #[error("the hive is damaged: {0}")]
    Damaged(String),
    /// The structures are larger than any that Windows writes.
    #[error("the hive is too large: {0}")]
    TooLarge(&'static str),
    /// The file cannot be read.
    #[error("{0}")]
    File(#[from] FsError),
}

pub(crate) fn damaged<T>(text: impl fmt::Display) -> Result<T, HiveError> {
    Err(HiveError::Damaged(text.to_string()))
}

/// An open hive.
pub struct Hive<'a> {
    file: RefCell<Box<dyn FileReader + 'a>>,
    /// Total length of the bins in bytes.
    bins: u32,
    root: u32,
    dirty: bool,
    cells_left: Cell<u32>,
}

impl fmt::Debug for Hive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hive")
            .field("bins", &self.bins)
            .field("root", &self.root)
            .field("dirty", &self.dirty)
            .finish_non_exhaustive()
    }
}

/// The fields of a hive's header that matter to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) primary_sequence: u32,
    pub(crate) secondary_sequence: u32,
    pub(crate) root: u32,
    pub(crate) bins: u32,
}

impl Header {
    /// Reads the first 512 bytes of a hive or of its log.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HiveError> {
        if !bytes.starts_with(b"regf") {
            return damaged("it does not begin with 'regf'");
        }
        let word = |at| try_le32(bytes, at).ok_or(HiveError::Damaged("the header is cut off".to_owned()));
        if word(0x1fc)? != checksum(bytes) {
            return damaged("the checksum of the header is wrong");
        }
        if word(0x14)? != 1 {
            return damaged(format_args!("unknown format version {}", word(0x14)?));
        }
        Ok(Self { primary_sequence: word(4)?, secondary_sequence: word(8)?, root: word(0x24)?, bins: word(0x28)? })
    }
}

/// The checksum of a header: the exclusive or of its first 127 words, never 0 or all ones.
pub(crate) fn checksum(header: &[u8]) -> u32 {
    let sum = (0..127).filter_map(|i| try_le32(header, i * 4)).fold(0, |sum, word| sum ^ word);
    match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}

impl<'a> Hive<'a> {
    /// Opens a hive. Reads the header and the headers of all bins.
    ///
    /// # Errors
    /// [`HiveError`] if these are damaged.
    pub fn open(mut file: Box<dyn FileReader + 'a>) -> Result<Self, HiveError> {
        let mut bytes = [0; 512];
        read_exact(file.as_mut(), 0, &mut bytes)?;
        let header = Header::parse(&bytes)?;
        let available = file.size().saturating_sub(HEADER as u64);
        if u64::from(header.bins) > available {
            return damaged(format_args!("the header states {} bytes of bins, the file has {available}", header.bins));
        }
        let hive = Self {
            file: RefCell::new(file),
            bins: header.bins,
            root: header.root,
            dirty: header.primary_sequence != header.secondary_sequence,
            cells_left: Cell::new(MAX_CELLS),
        };
        hive.check_bins()?;
        Ok(hive)
    }

    /// Whether changes were being written when Windows stopped. Part of the hive may be old; the rest is in its log.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The root key.
    ///
    /// # Errors
    /// [`HiveError`] if it cannot be read.
    pub fn root(&self) -> Result<Key<'_, 'a>, HiveError> {
        self.key_at(self.root)
    }

    /// The key at a path below the root, such as `Setup\State`. Names are compared without case.
    ///
    /// # Errors
    /// [`HiveError`] if a key on the way cannot be read.
    pub fn key(&self, path: &str) -> Result<Option<Key<'_, 'a>>, HiveError> {
        self.root()?.descend(path)
    }
}

/// A key of a hive.
#[derive(Debug)]
pub struct Key<'h, 'a> {
    hive: &'h Hive<'a>,
    name: String,
    subkey_count: u32,
    subkey_list: u32,
    value_count: u32,
    value_list: u32,
}

impl<'h, 'a> Key<'h, 'a> {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All subkeys, in the order of the hive. Each is read when it is asked for: many may have the same long name.
    ///
    /// # Errors
    /// [`HiveError`] if the list cannot be read; an item is an error if the subkey cannot be read.
    pub fn subkeys(&self) -> Result<impl Iterator<Item = Result<Key<'h, 'a>, HiveError>> + use<'h, 'a>, HiveError> {
        let hive = self.hive;
        Ok(self.subkey_offsets()?.into_iter().map(move |offset| hive.key_at(offset)))
    }

    /// The subkey with a name, compared without case.
    ///
    /// # Errors
    /// [`HiveError`] if the list or a subkey before it cannot be read.
    pub fn subkey(&self, name: &str) -> Result<Option<Key<'h, 'a>>, HiveError> {
        for key in self.subkeys()? {
            let key = key?;
            if same_name(&key.name, name) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The key at a path below this one.
    ///
    /// # Errors
    /// [`HiveError`] if a key on the way cannot be read.
    pub fn descend(self, path: &str) -> Result<Option<Key<'h, 'a>>, HiveError> {
        let mut key = self;
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            match key.subkey(name)? {
                Some(next) => key = next,
                None => return Ok(None),
            }
        }
        Ok(Some(key))
    }

    /// All values, in the order of the hive. Each is read when it is asked for.
    ///
    /// # Errors
    /// [`HiveError`] if the list cannot be read; an item is an error if the value cannot be read.
    pub fn values(&self) -> Result<impl Iterator<Item = Result<Value<'h, 'a>, HiveError>> + use<'h, 'a>, HiveError> {
        let hive = self.hive;
        Ok(self.value_offsets()?.into_iter().map(move |offset| hive.value_at(offset)))
    }

    /// The value with a name, compared without case. The default value's name is empty.
    ///
    /// # Errors
    /// [`HiveError`] if the list or a value before it cannot be read.
    pub fn value(&self, name: &str) -> Result<Option<Value<'h, 'a>>, HiveError> {
        for value in self.values()? {
            let value = value?;
            if same_name(value.name(), name) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

/// Fills `buffer` from `offset`; a file that ends before is damage, as the length was checked or stated by the hive.
pub(crate) fn read_exact(file: &mut dyn FileReader, offset: u64, buffer: &mut [u8]) -> Result<(), HiveError> {
    let mut done = 0;
    while done < buffer.len() {
        let count = file.read_at(offset + done as u64, &mut buffer[done..])?;
        if count == 0 {
            return damaged(format_args!("the file ends at byte {}", offset + done as u64));
        }
        done += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
