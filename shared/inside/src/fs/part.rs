//! A part of a file.

use std::fmt;
use std::ops::Range;

use super::{FileReader, FsError};

/// A part of a file, as a file.
pub struct Part<'a> {
    file: &'a mut dyn FileReader,
    range: Range<u64>,
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Part").field(&self.range).finish()
    }
}

impl<'a> Part<'a> {
    /// The bytes `range` of a file.
    pub fn new(file: &'a mut dyn FileReader, range: Range<u64>) -> Self {
        Self { file, range }
    }
}

impl FileReader for Part<'_> {
    fn size(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let rest = self.size().saturating_sub(offset);
        let count = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        self.file.read_at(self.range.start.saturating_add(offset), &mut buffer[..count])
    }
}
