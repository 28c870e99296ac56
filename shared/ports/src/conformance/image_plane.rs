//! The conformance suite of image services. The VHDs of the images are in a blob store.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a suite reports by panicking")]

use std::collections::BTreeMap;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use goldfleet_model::ids::{Region, ResourceGroup, SubscriptionId};
use goldfleet_model::image::{ManagedImageId, ManagedImageSpec};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::store::{BlobAddress, Container};
use uuid::Uuid;

use crate::blob_store::BlobStore;
use crate::error::{ErrorKind, PortError, PortResult};
use crate::image_plane::{ChangeStatus, ImageService, ManagedImage, Provisioning};

const MIB: u64 = 1024 * 1024;
const FOOTER: usize = 512;

/// The location at which the suite creates images and VHDs.
#[derive(Debug, Clone)]
pub struct ImageSuiteLocation {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The resource group.
    pub resource_group: ResourceGroup,
    /// The region of the container's account.
    pub region: Region,
    /// The container for VHDs. It must exist.
    pub container: Container,
}

/// Runs the suite at `site`.
pub async fn all(images: &dyn ImageService, blobs: &dyn BlobStore, site: &ImageSuiteLocation) {
    put_image_is_idempotent(images, blobs, site).await;
    put_image_updates_tags(images, blobs, site).await;
    delete_image_removes_it(images, blobs, site).await;
    image_region_is_immutable(images, blobs, site).await;
    image_source_is_immutable(images, blobs, site).await;
    image_names_are_case_insensitive(images, blobs, site).await;
    missing_vhd_is_reported(images, blobs, site).await;
    invalid_vhd_is_reported(images, blobs, site).await;
}

/// An image is created from a VHD according to its specification, and the same request can be repeated.
pub async fn put_image_is_idempotent(images: &dyn ImageService, blobs: &dyn BlobStore, site: &ImageSuiteLocation) {
    let spec = spec_with_vhd(blobs, site).await;
    assert_eq!(images.get(&spec.id, None).await.expect("an answer"), None, "an image before it was made");
    for time in ["first", "second"] {
        finished(images, images.put(&spec).await).await.expect(time);
        let image = images.get(&spec.id, None).await.expect("an answer").expect("an image that was made");
        let expected = ManagedImage {
            id: spec.id.clone(),
            region: spec.region.clone(),
            provisioning: Provisioning::Succeeded,
            tags: spec.tags.clone(),
        };
        assert_eq!(image, expected, "{time} time");
    }
}

/// An existing image gets the tags of the specification.
pub async fn put_image_updates_tags(images: &dyn ImageService, blobs: &dyn BlobStore, site: &ImageSuiteLocation) {
    let mut spec = spec_with_vhd(blobs, site).await;
    finished(images, images.put(&spec).await).await.expect("an image");
    spec.tags = BTreeMap::from([("goldfleet-job".to_owned(), "another".to_owned())]);
    finished(images, images.put(&spec).await).await.expect("other tags");
    let image = images.get(&spec.id, None).await.expect("an answer").expect("an image");
    assert_eq!(image.tags, spec.tags);
}

/// A deletion removes an image, and can be repeated.
pub async fn delete_image_removes_it(images: &dyn ImageService, blobs: &dyn BlobStore, site: &ImageSuiteLocation) {
    let spec = spec_with_vhd(blobs, site).await;
    finished(images, images.put(&spec).await).await.expect("an image");
    for time in ["first", "second"] {
        finished(images, images.delete(&spec.id, None).await).await.expect(time);
        assert_eq!(images.get(&spec.id, None).await.expect("an answer"), None, "{time} time");
    }
}

/// Another region for an existing image is rejected and changes nothing.
pub async fn image_region_is_immutable(images: &dyn ImageService, blobs: &dyn BlobStore, site: &ImageSuiteLocation) {
    let spec = spec_with_vhd(blobs, site).await;
    finished(images, images.put(&spec).await).await.expect("an image");
    let moved = ManagedImageSpec { region: "elsewhere".parse().expect("a region"), ..spec.clone() };
    refused_as(finished(images, images.put(&moved).await).await, ErrorKind::Invalid, "image-region-change");
    let image = images.get(&spec.id, None).await.expect("an answer").expect("an image");
    assert_eq!(image.region, spec.region);
}

/// Another VHD for an image that exists or is being created is rejected and changes nothing.
pub async fn image_source_is_immutable(images: &dyn ImageService, blobs: &dyn BlobStore, site: &ImageSuiteLocation) {
    let spec = spec_with_vhd(blobs, site).await;
    let other = spec_with_vhd(blobs, site).await;
    let other = ManagedImageSpec { id: spec.id.clone(), tags: BTreeMap::new(), ..other };
    let begun = images.put(&spec).await;
    refused_as(finished(images, images.put(&other).await).await, ErrorKind::Invalid, "property-change-not-allowed");
    finished(images, begun).await.expect("an image");
    refused_as(finished(images, images.put(&other).await).await, ErrorKind::Invalid, "property-change-not-allowed");
    let image = images.get(&spec.id, None).await.expect("an answer").expect("an image");
    assert_eq!(image.tags, spec.tags);
}

/// An image is found and deleted although the case of its name or its resource group differs.
pub async fn image_names_are_case_insensitive(
    images: &dyn ImageService,
    blobs: &dyn BlobStore,
    site: &ImageSuiteLocation,
) {
    let spec = spec_with_vhd(blobs, site).await;
    finished(images, images.put(&spec).await).await.expect("an image");
    let loud = ManagedImageId {
        resource_group: spec.id.resource_group.as_str().to_uppercase().parse().expect("a resource group"),
        name: spec.id.name.as_str().to_uppercase().parse().expect("a name"),
        ..spec.id.clone()
    };
    let image = images.get(&loud, None).await.expect("an answer").expect("an image by its name in another case");
    assert_eq!((&image.region, &image.tags), (&spec.region, &spec.tags));
    finished(images, images.delete(&loud, None).await).await.expect("a removal");
    assert_eq!(images.get(&spec.id, None).await.expect("an answer"), None);
}

/// No image is created from a VHD that does not exist.
pub async fn missing_vhd_is_reported(images: &dyn ImageService, _blobs: &dyn BlobStore, site: &ImageSuiteLocation) {
    let spec = spec(site);
    match finished(images, images.put(&spec).await).await {
        Err(error) if error.kind == ErrorKind::NotFound && error.code == "vhd-not-found" => {}
        // A platform may not distinguish a missing VHD from one that it cannot read at the moment.
        Err(error) if error.kind == ErrorKind::Unavailable && error.code == "vhd-not-accessible" => {}
        other => panic!("expected that the VHD is missing, but got {other:?}"),
    }
    // A platform may keep the name of what it could not make.
    let left = images.get(&spec.id, None).await.expect("an answer").map(|image| image.provisioning);
    assert!(matches!(left, None | Some(Provisioning::Failed)), "an image of no VHD: {left:?}");
}

/// No image is created from a blob that is not a fixed VHD of whole mebibytes.
pub async fn invalid_vhd_is_reported(images: &dyn ImageService, blobs: &dyn BlobStore, site: &ImageSuiteLocation) {
    let mut other_cookie = footer();
    other_cookie[0] ^= 1;
    let mut other_checksum = footer();
    other_checksum[64] ^= 1;
    let bad = [(MIB, other_cookie), (MIB, other_checksum), (MIB + 512, footer()), (0, footer())];
    for (size, footer) in bad {
        let spec = spec(site);
        put_vhd(blobs, &spec.vhd, size, footer).await;
        refused_as(finished(images, images.put(&spec).await).await, ErrorKind::Invalid, "vhd-invalid");
    }
}

/// Waits until a change ends.
async fn finished(images: &dyn ImageService, begun: PortResult<ChangeStatus>) -> PortResult<()> {
    let mut state = begun?;
    loop {
        state = match state {
            ChangeStatus::Done => return Ok(()),
            ChangeStatus::Failed(error) => return Err(error),
            ChangeStatus::Pending(pending) => {
                tokio::time::sleep(pending.retry_after).await;
                images.poll(&pending).await?
            }
        }
    }
}

#[track_caller]
fn refused_as(result: PortResult<()>, kind: ErrorKind, code: &str) {
    match result {
        Err(PortError { kind: found, code: found_code, .. }) if found == kind && found_code == code => {}
        other => panic!("expected to be refused as {kind:?} with the code {code}, but got {other:?}"),
    }
}

/// The specification of an image that no other test and no other run uses.
fn spec(site: &ImageSuiteLocation) -> ManagedImageSpec {
    let unique = Uuid::new_v4().simple().to_string();
    ManagedImageSpec {
        id: ManagedImageId {
            subscription: site.subscription,
            resource_group: site.resource_group.clone(),
            name: format!("conformance-{unique}").parse().expect("a name"),
        },
        region: site.region.clone(),
        vhd: site.container.blob(format!("conformance__{unique}.vhd")),
        os: OsType::Linux,
        generation: Generation::V2,
        storage_type: goldfleet_model::image::StorageType::StandardLrs,
        disk_encryption_set: None,
        tenant: None,
        tags: BTreeMap::from([("goldfleet-image".to_owned(), "conformance".to_owned())]),
    }
}

async fn spec_with_vhd(blobs: &dyn BlobStore, site: &ImageSuiteLocation) -> ManagedImageSpec {
    let spec = spec(site);
    put_smallest_vhd(blobs, &spec.vhd).await;
    spec
}

/// Creates the smallest valid VHD: one mebibyte of zeros and a footer. It is not bootable.
pub async fn put_smallest_vhd(blobs: &dyn BlobStore, vhd: &BlobAddress) {
    put_vhd(blobs, vhd, MIB, footer()).await;
}

async fn put_vhd(blobs: &dyn BlobStore, vhd: &BlobAddress, size: u64, footer: [u8; FOOTER]) {
    blobs.create_page_blob(vhd, size + FOOTER as u64, &BTreeMap::new()).await.expect("a page blob");
    let fence = blobs.take_fence(vhd).await.expect("a fence");
    let crc64 = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &footer);
    blobs.put_pages(vhd, fence, size, Bytes::copy_from_slice(&footer), crc64).await.expect("the footer");
}

/// The footer of a fixed VHD of one mebibyte.
fn footer() -> [u8; FOOTER] {
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
