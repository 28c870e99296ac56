//! Opening raw disks.

use std::sync::Arc;

use super::format::{Format, detect_format, ends_as_vhd};
use super::{OpenDisk, OpenError};
use crate::formats::raw;
use crate::{DiskError, DiskReader, Finding, codes, unsupported};

/// Opens a file that is stated to be a raw disk. Another format would be read as a disk that no machine boots, so it is
/// an error.
pub(super) fn open_stated(source: Arc<dyn DiskReader>, head: &[u8]) -> Result<OpenDisk, OpenError> {
    let has_boot_sector = head.get(510..512) == Some(&[0x55, 0xaa]);
    let other = if ends_as_vhd(&*source) {
        Some("a VHD: it ends with a footer")
    } else {
        match detect_format(head).filter(|_| !has_boot_sector) {
            Some(Format::Vhdx) => Some("a VHDX by its first bytes"),
            Some(Format::Qcow2) => Some("a qcow2 image by its first bytes"),
            Some(_) => Some("a VMDK by its first bytes"),
            None => None,
        }
    };
    match other {
        Some(other) => {
            let message = format!("it is stated to be a raw disk, but it is {other}");
            Err(OpenError::new(Format::Unknown, Finding::new(&codes::FORMAT_MISMATCH, message)))
        }
        None => Ok(OpenDisk::new(source, Format::Raw)),
    }
}

/// Opens a file without any sign of another format. It is a raw disk if its content proves where it ends.
pub(super) fn open_detected(source: Arc<dyn DiskReader>, head: &[u8]) -> Result<OpenDisk, OpenError> {
    let failed = |error: DiskError| OpenError::disk(Format::Unknown, &error);
    if let Some(file) = unsupported::detect(head) {
        return Err(OpenError::unsupported(file));
    }
    if let Some(at) = source.size().checked_sub(512) {
        let mut tail = [0; 512];
        source.read_at(at, &mut tail).map_err(failed)?;
        if let Some(file) = unsupported::detect_trailer(&tail) {
            return Err(OpenError::unsupported(file));
        }
    }
    if raw::has_proven_end(&*source).map_err(failed)? {
        return Ok(OpenDisk::new(source, Format::Raw));
    }
    if raw::looks_partitioned(head) {
        let message = "it has partitions but no VHD footer, and no backup of a GPT in its last sector: it is a raw disk, or a VHD \
             that is cut short";
        return Err(OpenError::new(Format::Raw, Finding::new(&codes::RAW, message)));
    }
    let message =
        "it is not a disk image of a known format: it has no VHD footer, no known first bytes and no partition table";
    Err(OpenError::new(Format::Unknown, Finding::new(&codes::UNKNOWN_FORMAT, message)))
}
