//! Source ranges, which are verified before their bytes are used.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use goldfleet_model::checksum::Crc64;
use goldfleet_model::ranges::split;
use goldfleet_ports::blob_store::{SourceRange, check_source, check_whole_source, corrupt_source, missing_source};
use goldfleet_ports::error::PortResult;

use super::paths::BlobPath;

/// A range of a blob that is open for reading.
pub(crate) struct SourceReader {
    blob_path: BlobPath,
    file: File,
    source: SourceRange,
}

impl SourceReader {
    /// # Errors
    /// `NotFound` (`source-not-found`) if the blob does not exist, `Corrupt` (`source-corrupt`) if it is too short.
    pub(crate) fn open(root: &Path, source: &SourceRange) -> PortResult<Self> {
        let blob_path = BlobPath::parse(root, &source.blob)?;
        let Some((file, found)) = blob_path.open(OpenOptions::new().read(true))? else {
            return Err(missing_source(&source.blob));
        };
        check_source(source, found.len())?;
        Ok(Self { blob_path, file, source: source.clone() })
    }

    /// Opens a range that must be the whole blob: the service cannot create a blob from a part of another blob.
    ///
    /// # Errors
    /// The errors of [`SourceReader::open`], and `Corrupt` if the blob is longer.
    pub(super) fn open_whole(root: &Path, source: &SourceRange) -> PortResult<Self> {
        let opened = Self::open(root, source)?;
        let length = opened.file.metadata().map_err(|error| opened.blob_path.io_error("look at", error))?.len();
        check_whole_source(source, length)?;
        Ok(opened)
    }

    /// Passes the range block by block to `take`. The checksum is known only after the last block. If it is wrong, the
    /// caller must discard all blocks.
    pub(super) fn for_each_block(
        &self,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> PortResult<()>,
    ) -> PortResult<()> {
        let mut crc = Crc64::default();
        for (at, length) in split(&self.source.range, buffer.len()) {
            let piece = &mut buffer[..length];
            self.file.read_exact_at(piece, at).map_err(|error| self.blob_path.io_error("read", error))?;
            crc.update(piece);
            take(piece)?;
        }
        let actual = crc.finish();
        let expected = self.source.crc64;
        if actual == expected {
            return Ok(());
        }
        Err(corrupt_source(&self.source, &format!("the checksum is {actual:016x}, not {expected:016x}")))
    }

    /// Reads the range, which must not be longer than the buffer, without a check of its bytes.
    pub(crate) fn read_unverified<'b>(&self, buffer: &'b mut [u8]) -> PortResult<&'b [u8]> {
        let length = usize::try_from(self.source.range.end - self.source.range.start).unwrap_or(usize::MAX);
        let piece = &mut buffer[..length];
        self.file
            .read_exact_at(piece, self.source.range.start)
            .map_err(|error| self.blob_path.io_error("read", error))?;
        Ok(piece)
    }

    /// Reads and verifies the range, which must not be longer than the buffer.
    pub(crate) fn read_whole<'b>(&self, buffer: &'b mut [u8]) -> PortResult<&'b [u8]> {
        let mut length = 0;
        self.for_each_block(buffer, |piece| {
            length += piece.len();
            Ok(())
        })?;
        Ok(&buffer[..length])
    }
}
