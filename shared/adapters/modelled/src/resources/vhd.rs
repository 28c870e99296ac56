//! The checks of Azure on the VHD of an image.

use std::ops::Range;

use goldfleet_disk::{DiskType, FOOTER_SIZE, Footer};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::PutRequest;

use crate::state::CloudState;

/// The size of the data in a VHD must be a multiple of this. Source: Azure, preparing a VHD: the virtual size is whole
/// MiB.
const MIB: u64 = 1024 * 1024;

impl CloudState {
    /// Checks the VHD at `blob`, a URL in the format of this adapter. Returns the number of bytes of its disk.
    pub(super) fn check_vhd(&self, request: &PutRequest, blob: &str) -> PortResult<u64> {
        let refused = |code: &str, message: String| PortError::new(ErrorKind::Invalid, message).with_code(code);
        let vhd: BlobAddress = blob
            .parse()
            .map_err(|error| refused("vhd-invalid", format!("{blob} is not a blob of this cloud: {error}")))?;
        let Some(blob) = self.find(&vhd).and_then(|id| self.blob(id)) else {
            let missing = PortError::new(ErrorKind::NotFound, format!("there is no VHD {vhd}"));
            return Err(missing.with_code("vhd-not-found"));
        };
        if let Some((owner, region)) = self.account_placement(&vhd.container.account) {
            if owner != request.id.subscription {
                return Err(refused("vhd-in-other-subscription", format!("{vhd} is in subscription {owner}")));
            }
            if *region != request.body.region {
                return Err(refused("vhd-in-other-region", format!("{vhd} is in {region}")));
            }
        }
        let data = blob.length.checked_sub(FOOTER_SIZE as u64).filter(|data| *data > 0 && data.is_multiple_of(MIB));
        let footer = data.filter(|_| blob.fence.is_some()).and_then(|data| {
            let range: Range<u64> = data..blob.length;
            let bytes: [u8; FOOTER_SIZE] = blob.content.bytes(&range)?[..].try_into().ok()?;
            Footer::parse(&bytes).ok().filter(|footer| footer.disk_type() == DiskType::Fixed)
        });
        match footer {
            Some(footer) => Ok(footer.size()),
            None => Err(refused("vhd-invalid", format!("{vhd} is not a fixed VHD of whole MiB"))),
        }
    }
}
