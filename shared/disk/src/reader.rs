//! The view of a disk that all formats share.

use std::fmt;
use std::ops::Range;

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

    /// The first range at or after `offset` that may hold data, cut at `offset`; `None` if the rest of the disk is zero.
    /// Everything between `offset` and the range is zero. No data is read to answer this.
    ///
    /// # Errors
    /// [`DiskError`] if the image's allocation tables cannot be read.
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError>;

    /// All ranges that may hold data, in order.
    fn data_ranges(&self) -> DataRanges<'_>
    where
        Self: Sized,
    {
        DataRanges::new(self)
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
