//! A VHD as the disk it stands for.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::dynamic::Blocks;
use super::error::VhdError;
use super::footer::{DiskType, FOOTER_SIZE, Footer};
use crate::sparse::data_ranges;

/// An open VHD, fixed or dynamic, read as the disk it stands for. Several threads may read at once.
#[derive(Debug)]
pub struct Disk {
    file: File,
    footer: Footer,
    blocks: Option<Blocks>,
}

impl Disk {
    /// Opens a VHD.
    ///
    /// # Errors
    /// [`VhdError`] where it is none that can be read.
    pub fn open(path: &Path) -> Result<Self, VhdError> {
        let file = File::open(path).map_err(|source| VhdError::unreadable(path, source))?;
        let length = file.metadata().map_err(|source| VhdError::unreadable(path, source))?.len();
        let at = length.checked_sub(FOOTER_SIZE as u64).ok_or(VhdError::TooShort { length })?;
        let mut bytes = [0; FOOTER_SIZE];
        file.read_exact_at(&mut bytes, at).map_err(|source| VhdError::Read { source })?;
        let footer = Footer::parse(&bytes)?;
        let blocks = match footer.disk_type() {
            DiskType::Differencing => return Err(VhdError::Differencing),
            DiskType::Dynamic => Some(Blocks::open(&file, length, &footer)?),
            DiskType::Fixed if footer.size() > at => {
                return Err(VhdError::Truncated { needed: footer.size().saturating_add(FOOTER_SIZE as u64), length });
            }
            DiskType::Fixed if footer.size() < at => {
                let reason = format!("the footer says {} bytes, but {at} lie before it", footer.size());
                return Err(VhdError::Damaged { reason });
            }
            DiskType::Fixed => None,
        };
        Ok(Self { file, footer, blocks })
    }

    /// The disk's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.footer.size()
    }

    /// Whether the file holds blocks as they came to be written.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.blocks.is_some()
    }

    /// The footer of the fixed VHD that this one stands for.
    #[must_use]
    pub fn footer(&self) -> [u8; FOOTER_SIZE] {
        match self.blocks {
            // A fixed VHD's own, to the byte.
            None => self.footer.to_bytes(),
            Some(_) => self.footer.as_fixed().to_bytes(),
        }
    }

    /// The ranges of the disk that may hold data, in order; elsewhere it is zero. Holes of a sparse file are not read to
    /// find that out.
    ///
    /// # Errors
    /// [`VhdError::Read`] where the file system fails.
    pub fn data_ranges(&self) -> Result<Vec<Range<u64>>, VhdError> {
        match &self.blocks {
            Some(blocks) => Ok(blocks.ranges()),
            None => data_ranges(&self.file, self.size()).map_err(|source| VhdError::Read { source }),
        }
    }

    /// Reads the disk from `offset` on, as much as `buffer` takes; that much must be there.
    ///
    /// # Errors
    /// [`VhdError::Read`] where it is not, or the file can't be read.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), VhdError> {
        // Behind the disk lies the footer, which is no part of it.
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size()) {
            return Err(VhdError::Read { source: io::ErrorKind::UnexpectedEof.into() });
        }
        let read = match &self.blocks {
            Some(blocks) => blocks.read(&self.file, offset, buffer),
            None => self.file.read_exact_at(buffer, offset),
        };
        read.map_err(|source| VhdError::Read { source })
    }
}
