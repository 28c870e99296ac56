//! A file in memory.

use crate::fs::{FileReader, FsError};

/// A file whose bytes are in memory, for structures that are read from somewhere else than a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryFile(pub Vec<u8>);

impl FileReader for MemoryFile {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.0.get(start..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
