//! Managed images, and the rules that hold for all types.

use goldfleet_model::image::Caching;
use goldfleet_model::resource::{CreationData, DiskProperties, ImageDataDisk, Properties, ResourceBody, ResourceId};

use super::vhd::{MIB, footer, put_vhd};
use super::{ResourceSuite, refused_as, tags};
use crate::error::ErrorKind;
use crate::resources::{Provisioning, PutMode, PutRequest};

impl ResourceSuite<'_> {
    /// An image is created from a VHD according to its request, and the same request can be repeated.
    pub async fn put_image_is_idempotent(self) {
        let request = self.image_of(&self.new_vhd().await);
        assert_eq!(self.find(&request.id).await, None, "an image before it was made");
        for time in ["first", "second"] {
            self.put(&request).await.expect(time);
            let image = self.existing(&request.id).await;
            assert_eq!(image.id, request.id, "{time} time");
            assert_eq!(image.provisioning, Provisioning::Succeeded, "{time} time");
            assert_eq!((&image.body.region, &image.body.tags), (&request.body.region, &request.body.tags));
            let (Properties::Image(found), Properties::Image(asked)) =
                (&image.body.properties, &request.body.properties)
            else {
                panic!("expected an image, found {image:?}")
            };
            assert_eq!(found.hyper_v_generation, asked.hyper_v_generation, "{time} time");
            let (found, asked) = (found.os_disk().expect("a disk"), asked.os_disk().expect("a disk"));
            assert_eq!((found.source(), found.os_type), (asked.source(), asked.os_type), "{time} time");
        }
    }

    /// An image has the data disks of its request, with their LUNs and caches. Each must exist.
    pub async fn image_has_data_disks(self) {
        let missing = ImageDataDisk::of_vhd(3, self.resources.blob_url(&self.missing_vhd()), Caching::ReadOnly);
        let present = ImageDataDisk::of_vhd(3, self.resources.blob_url(&self.new_vhd().await), Caching::ReadOnly);
        let with = |mut request: PutRequest, disk: &ImageDataDisk| {
            if let Properties::Image(image) = &mut request.body.properties {
                *image = image.clone().with_data_disks([disk.clone()]);
            }
            request
        };
        let request = with(self.image_of(&self.new_vhd().await), &missing);
        self.put(&request).await.expect_err("a data disk without its VHD");
        // Azure may leave an image that failed.
        let left = self.find(&request.id).await;
        assert!(left.is_none_or(|image| image.provisioning == Provisioning::Failed), "a refused image");
        let request = with(self.image_of(&self.new_vhd().await), &present);
        self.put(&request).await.expect("an image");
        let image = self.existing(&request.id).await;
        let Properties::Image(found) = &image.body.properties else { panic!("expected an image, found {image:?}") };
        let disks = &found.storage_profile.as_ref().expect("disks").data_disks;
        let found: Vec<_> =
            disks.iter().map(|data| (data.lun, data.disk.source(), data.disk.caching.as_deref())).collect();
        assert_eq!(found, [(3, present.disk.source(), Some("ReadOnly"))]);
    }

    /// An existing resource gets the tags of the request.
    pub async fn put_updates_tags(self) {
        let mut request = self.image_of(&self.new_vhd().await);
        self.put(&request).await.expect("an image");
        request.body.tags = tags("another");
        self.put(&request).await.expect("other tags");
        assert_eq!(self.existing(&request.id).await.body.tags, request.body.tags);
    }

    /// A deletion removes a resource, and can be repeated.
    pub async fn delete_removes_resource(self) {
        let disk = self.new_disk().await.id;
        let image = self.image_of(&self.new_vhd().await);
        let snapshot = self.snapshot_of(&disk, false);
        for request in [&image, &snapshot] {
            self.put(request).await.expect("a resource");
        }
        for id in [&image.id, &snapshot.id, &disk] {
            for time in ["first", "second"] {
                self.delete(id).await.expect(time);
                assert_eq!(self.find(id).await, None, "{id}, {time} time");
            }
        }
    }

    /// Another region for an existing resource is rejected and changes nothing.
    pub async fn image_region_is_immutable(self) {
        let image = self.image_of(&self.new_vhd().await);
        let snapshot = self.snapshot_of(&self.new_disk().await.id, true);
        for (request, code) in [(&image, "image-region-change"), (&snapshot, "region-change")] {
            self.put(request).await.expect("a resource");
            let body = ResourceBody { region: self.location.other_region.clone(), ..request.body.clone() };
            let moved = PutRequest { body, ..request.clone() };
            refused_as(self.put(&moved).await, ErrorKind::Invalid, code);
            assert_eq!(self.existing(&request.id).await.body.region, request.body.region);
        }
    }

    /// Another VHD for an image that exists or is being created is rejected and changes nothing.
    pub async fn image_source_is_immutable(self) {
        let request = self.image_of(&self.new_vhd().await);
        let other = self.image_of(&self.new_vhd().await);
        let other = PutRequest { id: request.id.clone(), body: other.body.with_tags(tags("other")), ..other };
        let begun = self.resources.put(&request).await;
        refused_as(self.put(&other).await, ErrorKind::Invalid, "property-change-not-allowed");
        self.finished(begun).await.expect("an image");
        refused_as(self.put(&other).await, ErrorKind::Invalid, "property-change-not-allowed");
        assert_eq!(self.existing(&request.id).await.body.tags, request.body.tags);
    }

    /// A resource is found and deleted although the case of its name or its resource group differs.
    pub async fn names_are_case_insensitive(self) {
        let request = self.image_of(&self.new_vhd().await);
        self.put(&request).await.expect("an image");
        let loud = ResourceId {
            resource_group: request.id.resource_group.as_str().to_uppercase().parse().expect("a resource group"),
            name: request.id.name.as_str().to_uppercase().parse().expect("a name"),
            ..request.id.clone()
        };
        let image = self.existing(&loud).await;
        assert_eq!((&image.body.region, &image.body.tags), (&request.body.region, &request.body.tags));
        self.delete(&loud).await.expect("a removal");
        assert_eq!(self.find(&request.id).await, None);
    }

    /// A request that only creates does not change an existing resource.
    pub async fn create_mode_keeps_existing_resource(self) {
        let image = PutRequest { mode: PutMode::Create, ..self.image_of(&self.new_vhd().await) };
        let disk = PutRequest { mode: PutMode::Create, ..self.upload_disk() };
        for request in [image, disk] {
            self.put(&request).await.expect("a resource");
            let again = PutRequest { body: request.body.clone().with_tags(tags("another")), ..request.clone() };
            let refusal = self.put(&again).await.expect_err("a refusal");
            assert_eq!(refusal.kind, ErrorKind::AlreadyExists, "{refusal:?}");
            assert_eq!(self.existing(&request.id).await.body.tags, request.body.tags);
        }
    }

    /// The body of a request must be of the type of its id.
    pub async fn type_of_body_must_match(self) {
        let disk = DiskProperties::new(CreationData::upload(super::DISK_SIZE));
        let wrong = PutRequest {
            body: ResourceBody::new(self.location.region.clone(), Properties::Disk(disk)),
            ..self.image_of(&self.missing_vhd())
        };
        refused_as(self.put(&wrong).await, ErrorKind::Invalid, "resource-type-mismatch");
        assert_eq!(self.find(&wrong.id).await, None);
    }

    /// No image is created from a VHD that does not exist.
    pub async fn missing_vhd_is_reported(self) {
        let request = self.image_of(&self.missing_vhd());
        match self.put(&request).await {
            Err(error) if error.kind == ErrorKind::NotFound && error.code == "vhd-not-found" => {}
            // A platform may not distinguish a missing VHD from one that it cannot read at the moment.
            Err(error) if error.kind == ErrorKind::Unavailable && error.code == "vhd-not-accessible" => {}
            other => panic!("expected that the VHD is missing, but got {other:?}"),
        }
        // A platform may keep the name of a resource that it could not create.
        let left = self.find(&request.id).await.map(|image| image.provisioning);
        assert!(matches!(left, None | Some(Provisioning::Failed)), "an image of no VHD: {left:?}");
    }

    /// No image is created from a blob that is not a fixed VHD of whole mebibytes.
    pub async fn invalid_vhd_is_reported(self) {
        let mut other_cookie = footer();
        other_cookie[0] ^= 1;
        let mut other_checksum = footer();
        other_checksum[64] ^= 1;
        for (size, footer) in [(MIB, other_cookie), (MIB, other_checksum), (MIB + 512, footer()), (0, footer())] {
            let vhd = self.missing_vhd();
            put_vhd(self.blobs, &vhd, size, footer).await;
            refused_as(self.put(&self.image_of(&vhd)).await, ErrorKind::Invalid, "vhd-invalid");
        }
    }
}
