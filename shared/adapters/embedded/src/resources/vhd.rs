//! The checks of Azure on the VHD of an image.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use crate::blob_store::paths::{BlobPath, io_error};

/// The size of the data in a VHD must be a multiple of this. Source: Azure, preparing a VHD: the virtual size is whole
/// MiB.
const MIB: u64 = 1024 * 1024;

/// The length of a VHD footer. Source: the VHD format, 512 bytes. The offsets below have the same source.
const FOOTER: usize = 512;

fn address(blob: &str) -> PortResult<BlobAddress> {
    blob.parse().map_err(|error| {
        PortError::new(ErrorKind::Invalid, format!("{blob} is not a blob of this cloud: {error}"))
            .with_code("vhd-invalid")
    })
}

/// The file of the VHD at `blob`.
pub(super) fn file_of(root: &Path, blob: &str) -> PortResult<PathBuf> {
    Ok(BlobPath::parse(root, &address(blob)?)?.file)
}

/// Applies the checks of Azure to the VHD at `blob`, a URL in the format of this adapter. Blocks.
pub(super) fn check_vhd(root: &Path, blob: &str) -> PortResult<()> {
    let vhd = address(blob)?;
    let place = BlobPath::parse(root, &vhd)?;
    let Some((file, found)) = place.open(OpenOptions::new().read(true))? else {
        return Err(PortError::new(ErrorKind::NotFound, format!("there is no VHD {vhd}")).with_code("vhd-not-found"));
    };
    let invalid = |why: &str| {
        PortError::new(ErrorKind::Invalid, format!("{vhd} is not a VHD that Azure accepts: {why}"))
            .with_code("vhd-invalid")
    };
    match found.len().checked_sub(FOOTER as u64) {
        Some(size) if size > 0 && size.is_multiple_of(MIB) => check_footer(&place, &file, size, invalid),
        _ => Err(invalid(&format!("{} bytes are not whole MiB and a footer of {FOOTER} bytes", found.len()))),
    }
}

fn check_footer(place: &BlobPath, file: &File, offset: u64, invalid: impl Fn(&str) -> PortError) -> PortResult<()> {
    let mut footer = [0; FOOTER];
    file.read_exact_at(&mut footer, offset)
        .map_err(|error| io_error(&format!("could not read {}", place.file.display()), error))?;
    if &footer[..8] != b"conectix" {
        return Err(invalid("its last 512 bytes are not a footer"));
    }
    if footer[60..64] != 2_u32.to_be_bytes() {
        return Err(invalid("its size is not fixed"));
    }
    // The checksum is the complement of the sum of all other bytes.
    let sum = footer[..64].iter().chain(&footer[68..]).map(|byte| u32::from(*byte)).sum::<u32>();
    if footer[64..68] != (!sum).to_be_bytes() {
        return Err(invalid("its footer's checksum is wrong"));
    }
    Ok(())
}
