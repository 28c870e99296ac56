//! Source ranges, which are verified before their bytes are used.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use goldfleet_model::checksum::Crc64;
use goldfleet_model::ranges::split;
use goldfleet_ports::blob_store::SourceRange;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult, SourceFault};

use super::paths::BlobPath;

/// A range of a blob that is open for reading.
pub(super) struct SourceReader {
    blob_path: BlobPath,
    file: File,
    range: Range<u64>,
    crc64: u64,
}

impl SourceReader {
    /// # Errors
    /// `NotFound` (`source-not-found`) if the blob does not exist, `Corrupt` (`source-corrupt`) if it is too short.
    pub(super) fn open(root: &Path, source: &SourceRange) -> PortResult<Self> {
        let blob_path = BlobPath::parse(root, &source.blob)?;
        let Some((file, found)) = blob_path.open(OpenOptions::new().read(true))? else {
            let message = format!("the source {} is not there", source.blob);
            return Err(PortError::new(ErrorKind::NotFound, message).with_source_fault(SourceFault::Missing));
        };
        let opened = Self { blob_path, file, range: source.range.clone(), crc64: source.crc64 };
        if source.range.start > source.range.end {
            return Err(PortError::new(ErrorKind::Invalid, format!("{}: the range is backwards", opened.name())));
        }
        if source.range.end > found.len() {
            return Err(opened.corrupt(&format!("the blob has only {} bytes", found.len())));
        }
        Ok(opened)
    }

    /// Opens a range that must be the whole blob: the service cannot create a blob from a part of another blob.
    ///
    /// # Errors
    /// The errors of [`SourceReader::open`], and `Corrupt` if the blob is longer.
    pub(super) fn open_whole(root: &Path, source: &SourceRange) -> PortResult<Self> {
        let opened = Self::open(root, source)?;
        let length = opened.file.metadata().map_err(|error| opened.blob_path.io_error("look at", error))?.len();
        if opened.range == (0..length) {
            Ok(opened)
        } else {
            Err(opened.corrupt(&format!("the blob has {length} bytes, not {:?}", opened.range)))
        }
    }

    /// Passes the range block by block to `take`. The checksum is known only after the last block. If it is wrong, the
    /// caller must discard all blocks.
    pub(super) fn for_each_block(
        &self,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> PortResult<()>,
    ) -> PortResult<()> {
        let mut crc = Crc64::default();
        for (at, length) in split(&self.range, buffer.len()) {
            let piece = &mut buffer[..length];
            self.file.read_exact_at(piece, at).map_err(|error| self.blob_path.io_error("read", error))?;
            crc.update(piece);
            take(piece)?;
        }
        let actual = crc.finish();
        if actual == self.crc64 {
            return Ok(());
        }
        Err(self.corrupt(&format!("the checksum is {actual:016x}, not {:016x}", self.crc64)))
    }

    /// Reads and verifies the range, which must not be longer than the buffer.
    pub(super) fn read_whole<'b>(&self, buffer: &'b mut [u8]) -> PortResult<&'b [u8]> {
        let mut length = 0;
        self.for_each_block(buffer, |piece| {
            length += piece.len();
            Ok(())
        })?;
        Ok(&buffer[..length])
    }

    fn corrupt(&self, why: &str) -> PortError {
        PortError::new(ErrorKind::Corrupt, format!("{}: {why}", self.name())).with_source_fault(SourceFault::Corrupt)
    }

    fn name(&self) -> String {
        format!("the source {}, bytes {} to {}", self.blob_path.blob, self.range.start, self.range.end)
    }
}
