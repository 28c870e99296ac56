//! The managed images of the modelled cloud. Every resource group exists, and no policy refuses a request.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_disk::{DiskType, FOOTER_SIZE, Footer};
use goldfleet_model::image::{ManagedImageId, ManagedImageSpec, VhdNames};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::image_plane::{ChangeStatus, ImageService, ManagedImage, Pending, Provisioning, check_unchanged};

use super::Model;
use super::arm::Image;
use super::limits::ArmKind;
use super::pipe::{SimNanos, nanos};
use super::state::CloudState;

/// The size of the data in a VHD must be a multiple of this. Source: Azure, preparing a VHD: the virtual size is whole
/// MiB.
const MIB: u64 = 1024 * 1024;

/// The managed images of a modelled cloud.
#[derive(Clone)]
pub struct ModelledImages(Arc<Model>);

impl ModelledImages {
    /// Opens the images of `model`.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        Self(model)
    }

    /// The status of a change that completes at `ready`.
    fn underway(&self, id: &ManagedImageId, ready: SimNanos) -> ChangeStatus {
        let now = self.0.moment();
        if ready <= now {
            return ChangeStatus::Done;
        }
        let (_, again) = self.0.world().pace.image();
        let retry_after = again.min(Duration::from_nanos(ready - now)).max(Duration::from_millis(1));
        ChangeStatus::Pending(Pending { id: id.clone(), poll: key(id), retry_after })
    }
}

#[async_trait]
impl ImageService for ModelledImages {
    fn vhd_names(&self) -> VhdNames {
        VhdNames::Flat
    }

    async fn get(&self, id: &ManagedImageId, _tenant: Option<&str>) -> PortResult<Option<ManagedImage>> {
        let found = self
            .0
            .run_request(|world, now| {
                world.begin_management(now, id.subscription, ArmKind::Read, |world| {
                    Ok(world.arm.images.get(&key(id)).cloned())
                })
            })
            .await?;
        let now = self.0.moment();
        Ok(found.map(|image| ManagedImage {
            id: id.clone(),
            region: image.region,
            provisioning: if image.ready <= now { Provisioning::Succeeded } else { Provisioning::InProgress },
            tags: image.tags,
        }))
    }

    async fn put(&self, spec: &ManagedImageSpec) -> PortResult<ChangeStatus> {
        let there = self
            .0
            .run_request(|world, now| {
                world.begin_management(now, spec.id.subscription, ArmKind::Write, |world| world.check_image(spec))
            })
            .await?;
        let now = self.0.moment();
        let mut world = self.0.world();
        let (takes, _) = world.pace.image();
        // New tags of an existing image take effect immediately.
        let ready = there.unwrap_or(now.saturating_add(nanos(takes)));
        let image = Image { region: spec.region.clone(), tags: spec.tags.clone(), vhd: spec.vhd.clone(), ready };
        world.arm.images.insert(key(&spec.id), image);
        drop(world);
        Ok(self.underway(&spec.id, ready))
    }

    async fn delete(&self, id: &ManagedImageId, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        self.0
            .run_request(|world, now| world.begin_management(now, id.subscription, ArmKind::Delete, |_| Ok(())))
            .await?;
        self.0.world().arm.images.remove(&key(id));
        Ok(ChangeStatus::Done)
    }

    async fn poll(&self, pending: &Pending) -> PortResult<ChangeStatus> {
        let subscription = pending.id.subscription;
        let ready = self
            .0
            .run_request(|world, now| {
                let ready = |world: &mut CloudState| Ok(world.arm.images.get(&pending.poll).map(|image| image.ready));
                world.begin_management(now, subscription, ArmKind::Read, ready)
            })
            .await?;
        Ok(ready.map_or(ChangeStatus::Done, |ready| self.underway(&pending.id, ready)))
    }
}

/// The key of an image. Resource names are case-insensitive.
fn key(id: &ManagedImageId) -> String {
    id.to_string().to_lowercase()
}

impl CloudState {
    /// Applies the checks of Azure. If the image was requested before, returns the time of its completion.
    fn check_image(&mut self, spec: &ManagedImageSpec) -> PortResult<Option<SimNanos>> {
        let there = self.arm.images.get(&key(&spec.id)).cloned();
        if let Some(image) = &there {
            check_unchanged(spec, &image.region, &image.vhd.to_string())?;
        }
        self.check_vhd(spec)?;
        Ok(there.map(|image| image.ready))
    }

    fn check_vhd(&self, spec: &ManagedImageSpec) -> PortResult<()> {
        let vhd = &spec.vhd;
        let refused = |code: &str, message: String| PortError::new(ErrorKind::Invalid, message).with_code(code);
        let Some(blob) = self.find(vhd).and_then(|id| self.blob(id)) else {
            let missing = PortError::new(ErrorKind::NotFound, format!("there is no VHD {vhd}"));
            return Err(missing.with_code("vhd-not-found"));
        };
        if let Some((owner, region)) = self.account_placement(&vhd.container.account) {
            if owner != spec.id.subscription {
                return Err(refused("vhd-in-other-subscription", format!("{vhd} is in subscription {owner}")));
            }
            if *region != spec.region {
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
            Some(_) => Ok(()),
            None => Err(refused("vhd-invalid", format!("{vhd} is no fixed VHD of whole MiB"))),
        }
    }
}
