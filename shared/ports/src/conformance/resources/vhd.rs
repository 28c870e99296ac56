//! The smallest VHDs from which images can be created.

use std::collections::BTreeMap;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use goldfleet_model::store::BlobAddress;

use crate::blob_store::BlobStore;

pub(super) const MIB: u64 = 1024 * 1024;
const FOOTER: usize = 512;

/// Creates the smallest valid VHD: one mebibyte of zeros and a footer. It is not bootable.
pub async fn put_smallest_vhd(blobs: &dyn BlobStore, vhd: &BlobAddress) {
    put_vhd(blobs, vhd, MIB, footer()).await;
}

pub(super) async fn put_vhd(blobs: &dyn BlobStore, vhd: &BlobAddress, size: u64, footer: [u8; FOOTER]) {
    blobs.create_page_blob(vhd, size + FOOTER as u64, &BTreeMap::new()).await.expect("a page blob");
    let fence = blobs.take_fence(vhd).await.expect("a fence");
    let crc64 = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &footer);
    blobs.put_pages(vhd, fence, size, Bytes::copy_from_slice(&footer), crc64).await.expect("the footer");
}

/// The footer of a fixed VHD of one mebibyte.
pub(super) fn footer() -> [u8; FOOTER] {
    let mut footer = [0; FOOTER];
    footer[..8].copy_from_slice(b"conectix");
    footer[8..12].copy_from_slice(&2_u32.to_be_bytes());
    footer[12..16].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
    footer[16..24].copy_from_slice(&u64::MAX.to_be_bytes());
    footer[40..48].copy_from_slice(&MIB.to_be_bytes());
    footer[48..56].copy_from_slice(&MIB.to_be_bytes());
    footer[60..64].copy_from_slice(&2_u32.to_be_bytes());
    let sum = footer.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}
