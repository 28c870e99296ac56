//! Managed images, made and removed by operations that take their time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::ids::Region;
use goldfleet_model::image::{ImageTags, ManagedImageId, ManagedImageSpec, VhdNames};
use goldfleet_model::manifest::Digest;

use super::error::{ErrorKind, PortError, PortResult};

/// How far a managed image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioning {
    /// Being made, changed or removed.
    InProgress,
    /// There.
    Succeeded,
    /// The last change failed.
    Failed,
}

/// A managed image as the platform knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedImage {
    /// Where it is.
    pub id: ManagedImageId,
    /// Its region.
    pub region: Region,
    /// How far it is.
    pub provisioning: Provisioning,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl ManagedImage {
    /// Whether it is there, in this region, and was made by goldfleet of this content. The name alone does not tell: it may
    /// be another region's, or another golden image's.
    #[must_use]
    pub fn was_created_from(&self, digest: Digest, region: &Region) -> bool {
        self.provisioning == Provisioning::Succeeded
            && self.region == *region
            && ImageTags::digest_in(&self.tags) == Some(digest)
    }
}

/// A change that the platform has accepted and is working on. It may hold an address with a signature in it: it is kept in
/// memory only, and its `Debug` shows the image alone.
#[derive(Clone)]
pub struct Pending {
    /// The image that is changed.
    pub id: ManagedImageId,
    /// Where to ask, as the adapter understands it.
    pub poll: String,
    /// How long to wait before asking.
    pub retry_after: Duration,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("id", &self.id).field("retry_after", &self.retry_after).finish_non_exhaustive()
    }
}

/// Where a change stands.
#[derive(Debug)]
pub enum ChangeStatus {
    /// It is done.
    Done,
    /// Ask again later.
    Pending(Pending),
    /// It failed, for this reason.
    Failed(PortError),
}

/// Refuses what an image that is there can't be brought to: another region, or another VHD. For the adapters that play the
/// platform.
///
/// # Errors
/// [`ErrorKind::Invalid`] with the platform's code.
pub fn check_unchanged(spec: &ManagedImageSpec, region: &Region, vhd: &str) -> PortResult<()> {
    let refused = |message, code| Err(PortError::new(ErrorKind::Invalid, message).with_code(code));
    if spec.region != *region {
        return refused(
            format!("{} is in {region} and can't be moved to {}", spec.id, spec.region),
            "image-region-change",
        );
    }
    if spec.vhd.to_string() != vhd {
        let message = format!("{} was made of {vhd} and can't be made of {} as well", spec.id, spec.vhd);
        return refused(message, "property-change-not-allowed");
    }
    Ok(())
}

/// Managed images of subscriptions and resource groups, whose names do not heed case.
///
/// Where the platform tells why it refuses, the error's code says so: `resource-group-not-found`, `vhd-not-found`, `vhd-not-accessible`,
/// `vhd-invalid`, `vhd-in-other-subscription`, `vhd-in-other-region`, `policy-denied`, `authorization-failed`,
/// `image-region-change`, `property-change-not-allowed` (an image that is there keeps its VHD).
#[async_trait]
pub trait ImageService: Send + Sync {
    /// How the VHDs that it makes images of must be named.
    fn vhd_names(&self) -> VhdNames;

    /// An image; none where it is not there.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn get(&self, id: &ManagedImageId, tenant: Option<&str>) -> PortResult<Option<ManagedImage>>;

    /// Begins to make an image, or to bring one that is there to the specification.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn put(&self, spec: &ManagedImageSpec) -> PortResult<ChangeStatus>;

    /// Begins to remove an image. One that is not there is `Done`.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn delete(&self, id: &ManagedImageId, tenant: Option<&str>) -> PortResult<ChangeStatus>;

    /// Asks how far a change is.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached; that the change itself failed is [`ChangeStatus::Failed`].
    async fn poll(&self, pending: &Pending) -> PortResult<ChangeStatus>;
}
