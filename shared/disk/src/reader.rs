//! The interface to disks of all formats.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::DiskError;

/// A disk that can be read at any offset. Several threads may read at once.
pub trait DiskReader: fmt::Debug + Send + Sync {
    /// The disk's size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` with the bytes of the disk from `offset` on. Unallocated ranges read as zeros.
    ///
    /// # Errors
    /// [`DiskError::OutOfRange`] if the range extends beyond the disk's end, and any other [`DiskError`] if the image cannot
    /// be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;

    /// The first range that may hold data and ends after `offset`; its start is at least `offset`. `None` if the rest
    /// of the disk is zero. Everything between `offset` and the range is zero. The next range may begin where this one
    /// ends. Only allocation tables are read for this, no data.
    ///
    /// # Errors
    /// [`DiskError`] if the image's allocation tables cannot be read.
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError>;

    /// Checks all allocation tables of the image: each part lies inside the file, and no two parts share bytes.
    /// `check_limits` is called regularly; its error ends the check.
    ///
    /// # Errors
    /// [`DiskError`] if the tables cannot be read or contradict each other, and the errors of `check_limits`.
    fn verify(&self, check_limits: &dyn Fn() -> Result<(), DiskError>) -> Result<(), DiskError> {
        check_limits()
    }

    /// All ranges that may hold data, in order.
    fn data_ranges(&self) -> DataRanges<'_>
    where
        Self: Sized,
    {
        DataRanges::new(self)
    }
}

impl<T: DiskReader + ?Sized> DiskReader for Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        (**self).read_at(offset, buffer)
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        (**self).next_data(offset)
    }

    fn verify(&self, check_limits: &dyn Fn() -> Result<(), DiskError>) -> Result<(), DiskError> {
        (**self).verify(check_limits)
    }
}

/// Iterates over the ranges of a disk that may hold data. Stops after the first error.
#[derive(Debug)]
pub struct DataRanges<'a> {
    disk: &'a dyn DiskReader,
    offset: Option<u64>,
}

impl<'a> DataRanges<'a> {
    /// The data ranges of a disk.
    #[must_use]
    pub fn new(disk: &'a dyn DiskReader) -> Self {
        Self { disk, offset: Some(0) }
    }
}

impl Iterator for DataRanges<'_> {
    type Item = Result<Range<u64>, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.disk.next_data(self.offset?);
        self.offset = match &next {
            Ok(Some(range)) => Some(range.end),
            Ok(None) | Err(_) => None,
        };
        next.transpose()
    }
}

/// Checks that a read lies inside a disk of `size` bytes.
pub(crate) fn check_range(size: u64, offset: u64, length: usize) -> Result<(), DiskError> {
    let length = length as u64;
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(DiskError::OutOfRange { offset, length, size }),
    }
}

/// The bytes at `offset`. They must be inside the source; `what` names them in the error.
pub(crate) fn read_part(source: &dyn DiskReader, offset: u64, length: usize, what: &str) -> Result<Vec<u8>, DiskError> {
    require(source, offset, length as u64, what)?;
    let mut bytes = vec![0; length];
    source.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// Checks that a part of an image lies inside its file.
pub(crate) fn require(source: &dyn DiskReader, offset: u64, length: u64, what: &str) -> Result<(), DiskError> {
    let needed = offset
        .checked_add(length)
        .ok_or_else(|| DiskError::damaged(format!("{what} is said to be at byte {offset}, beyond every file")))?;
    if needed > source.size() {
        return Err(DiskError::Truncated { what: what.to_owned(), needed, length: source.size() });
    }
    Ok(())
}

/// A disk in memory, for tests and for disks made from small parts.
#[derive(Clone, PartialEq, Eq)]
pub struct MemoryDisk(pub Vec<u8>);

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryDisk").field(&self.0.len()).finish()
    }
}

impl DiskReader for MemoryDisk {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get(start..start.checked_add(buffer.len())?))
            .ok_or(DiskError::OutOfRange { offset, length: buffer.len() as u64, size: self.size() })?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        Ok((offset < self.size()).then(|| offset..self.size()))
    }
}
