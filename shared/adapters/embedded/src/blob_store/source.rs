//! Bytes that are checked before anyone relies on them.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use goldfleet_model::checksum::Crc64;
use goldfleet_model::ranges::split;
use goldfleet_ports::blob_store::SourceRange;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult, SourceFault};

use super::paths::BlobPath;

/// A range of a blob, open for reading.
pub(super) struct SourceReader {
    blob_path: BlobPath,
    file: File,
    range: Range<u64>,
    crc64: u64,
}

impl SourceReader {
    /// # Errors
    /// `NotFound` (`source-not-found`) where the blob is not there, `Corrupt` (`source-corrupt`) where it is too short.
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

    /// The same, where the range is all of the blob: a service has no way to make a blob from a part of one.
    ///
    /// # Errors
    /// As [`SourceReader::open`], and `Corrupt` where the blob is longer.
    pub(super) fn open_whole(root: &Path, source: &SourceRange) -> PortResult<Self> {
        let opened = Self::open(root, source)?;
        let length = opened.file.metadata().map_err(|error| opened.blob_path.io_error("look at", error))?.len();
        if opened.range == (0..length) {
            Ok(opened)
        } else {
            Err(opened.corrupt(&format!("the blob has {length} bytes, not {:?}", opened.range)))
        }
    }

    /// Passes the range piece by piece to `take`. The checksum is known when all of it has been passed: where it is
    /// wrong, what was taken must not be used.
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

    /// Reads the range, which must not be longer than the buffer, and checks it.
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
