//! Gives a [`DiskReader`] to the file system crates.

use std::sync::Arc;

use goldfleet_disk::{DiskError, DiskReader};

/// A disk as the file system crates read it.
#[derive(Debug, Clone)]
pub(crate) struct Source(pub(crate) Arc<dyn DiskReader>);

impl ext4_view::Ext4Read for Source {
    fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.read_at(start, buffer)?)
    }
}

impl lamxfs::BlockRead for Source {
    type Error = DiskError;

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.0.read_at(offset, buffer)
    }
}
