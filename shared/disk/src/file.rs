//! A file as a disk, and a part of a disk as a disk.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::reader::check_range;
use crate::{DiskError, DiskReader};

/// A file, byte for byte. Holes of a sparse file are not data ranges.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    size: u64,
}

impl FileDisk {
    /// The file with its current length.
    ///
    /// # Errors
    /// [`DiskError::Io`] if the file's length cannot be read.
    pub fn new(file: File) -> Result<Self, DiskError> {
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl DiskReader for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, buffer.len())?;
        Ok(self.file.read_exact_at(buffer, offset)?)
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        // This moves the file's cursor, which reads do not use.
        Ok(crate::sparse::next_data(&self.file, offset, self.size)?)
    }
}

/// A part of another disk.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    source: Arc<dyn DiskReader>,
    start: u64,
    size: u64,
}

impl Section {
    /// The `size` bytes of `source` from `start` on.
    ///
    /// # Errors
    /// [`DiskError::Truncated`] if the source ends before them.
    pub(crate) fn new(source: Arc<dyn DiskReader>, start: u64, size: u64) -> Result<Self, DiskError> {
        crate::reader::require(&*source, start, size, "the disk's data")?;
        Ok(Self { source, start, size })
    }
}

impl DiskReader for Section {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, buffer.len())?;
        self.source.read_at(self.start + offset, buffer)
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        if offset >= self.size {
            return Ok(None);
        }
        let range = self.source.next_data(self.start + offset)?;
        Ok(range
            .map(|range| range.start - self.start..(range.end - self.start).min(self.size))
            .filter(|range| range.start < range.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;

    #[test]
    fn file_holes_are_not_data() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(&[1; 4096], 4 << 20).unwrap();
        let disk = FileDisk::new(file).unwrap();
        let ranges: Vec<_> = disk.data_ranges().collect::<Result<_, _>>().unwrap();
        // If the file system does not report holes, all of the file is data.
        let only = |range: Range<u64>| ranges.len() == 1 && ranges[0] == range;
        assert!(only(4 << 20..(4 << 20) + 4096) || only(0..8 << 20), "{ranges:?}");
        assert!(disk.next_data(8 << 20).unwrap().is_none());
    }

    #[test]
    fn section_is_limited_to_its_range() {
        let source: Arc<dyn DiskReader> = Arc::new(MemoryDisk((0..100).collect()));
        let section = Section::new(Arc::clone(&source), 10, 20).unwrap();
        let mut buffer = [0; 5];
        section.read_at(15, &mut buffer).unwrap();
        assert_eq!(buffer, [25, 26, 27, 28, 29]);
        assert!(section.read_at(16, &mut buffer).is_err());
        assert_eq!(section.next_data(3).unwrap(), Some(3..20));
        assert!(Section::new(source, 90, 11).is_err());
    }
}
