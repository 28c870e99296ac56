//! Opening files that are compressed as a whole.

use std::sync::Arc;

use super::format::{Format, detect_format};
use super::{OpenDisk, OpenError, Opener};
use crate::formats::compressed::{self, CompressedDisk, Compression};
use crate::formats::vhd;
use crate::{DiskError, DiskReader, Finding, codes, unsupported};

impl Opener<'_> {
    /// Opens a raw disk or a fixed VHD inside a compressed stream.
    pub(super) fn open_compressed(
        &self,
        source: Arc<dyn DiskReader>,
        compression: Compression,
    ) -> Result<OpenDisk, OpenError> {
        let failed = |error: DiskError| {
            let mut failed = OpenError::disk(Format::Unknown, &error);
            if let DiskError::Limit(_) = error {
                failed.finding.remedy = compression.remedy();
            }
            failed
        };
        let head = compressed::head(&source, compression).map_err(failed)?;
        require_stream_format(&head, compression)?;
        let disk = CompressedDisk::open(source, compression, &|| self.check_limits()).map_err(failed)?;
        if disk.size() == 0 {
            return Err(OpenError::new(Format::Unknown, Finding::new(&codes::EMPTY, "the compressed file is empty")));
        }
        let open = self.open_plain(Arc::new(disk), &head, &[]);
        let mut open = open.map_err(|error| of_content(error, compression))?;
        open.compression = Some(compression);
        open.sequential = true;
        Ok(open)
    }
}

/// Refuses formats that need random access, and files that are not disk images.
fn require_stream_format(head: &[u8], compression: Compression) -> Result<(), OpenError> {
    let image = match (Compression::detect(head), detect_format(head)) {
        (Some(Compression::Xz), _) => "an xz file",
        (Some(Compression::Gzip), _) => "a gzip file",
        (Some(Compression::Zstd), _) => "a zstd file",
        (Some(Compression::Bzip2), _) => "a bzip2 file",
        (None, Some(Format::Vhdx)) => "a VHDX",
        (None, Some(Format::Qcow2)) => "a qcow2 image",
        (None, Some(_)) => "a VMDK",
        (None, None) if head.starts_with(vhd::COOKIE) => "a dynamic or differencing VHD",
        (None, None) => {
            let Some(file) = unsupported::detect(head) else { return Ok(()) };
            let mut error = OpenError::unsupported(file);
            error.finding.message = format!("it is {} compressed with {compression}", file.name);
            return Err(of_content(error, compression));
        }
    };
    let message = format!("it is {image} compressed with {compression}, which cannot be read as a stream");
    let finding = Finding::new(&codes::COMPRESSED_RANDOM_ACCESS, message).with_remedy(compression.remedy());
    Err(OpenError::new(Format::Unknown, finding))
}

/// Replaces commands of other programs, which would read the compressed file.
fn of_content(mut error: OpenError, compression: Compression) -> OpenError {
    let is_command = error.finding.remedy.contains(" IN ") && !error.finding.remedy.contains("goldfleet");
    if is_command {
        error.finding.remedy = compression.remedy();
    }
    error
}
