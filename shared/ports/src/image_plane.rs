//! Managed images, which long-running operations create and delete.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::ids::Region;
use goldfleet_model::image::{ImageTags, ManagedImageId, ManagedImageSpec, VhdNames};
use goldfleet_model::manifest::Digest;

use super::error::{ErrorKind, PortError, PortResult};

/// The provisioning state of a managed image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioning {
    /// The image is being created, changed or deleted.
    InProgress,
    /// The image is usable.
    Succeeded,
    /// The last change failed.
    Failed,
}

/// A managed image as the platform reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedImage {
    /// The resource id.
    pub id: ManagedImageId,
    /// Its region.
    pub region: Region,
    /// Its provisioning state.
    pub provisioning: Provisioning,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl ManagedImage {
    /// Whether goldfleet created the image from this content, and it is usable and in this region. The name alone is
    /// not sufficient: the image of another region or of another golden image may have it.
    #[must_use]
    pub fn was_created_from(&self, digest: Digest, region: &Region) -> bool {
        self.provisioning == Provisioning::Succeeded
            && self.region == *region
            && ImageTags::digest_in(&self.tags) == Some(digest)
    }
}

/// A change that the platform has accepted and not finished. It may contain a signed URL: it is kept in memory only,
/// and its `Debug` output contains only the image.
#[derive(Clone)]
pub struct Pending {
    /// The image that is being changed.
    pub id: ManagedImageId,
    /// The address to poll, in the format of the adapter.
    pub poll: String,
    /// How long to wait before polling.
    pub retry_after: Duration,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("id", &self.id).field("retry_after", &self.retry_after).finish_non_exhaustive()
    }
}

/// The state of a change.
#[derive(Debug)]
pub enum ChangeStatus {
    /// It is done.
    Done,
    /// It is in progress: poll it later.
    Pending(Pending),
    /// It failed, for this reason.
    Failed(PortError),
}

/// Rejects changes that are impossible for an existing image: another region or another VHD. For adapters that emulate
/// the platform.
///
/// # Errors
/// [`ErrorKind::Invalid`] with the code of the platform.
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

/// Managed images in subscriptions and resource groups. Their names are not case-sensitive.
///
/// If the platform gives the reason of a refusal, it is the code of the error: `resource-group-not-found`,
/// `vhd-not-found`, `vhd-not-accessible`, `vhd-invalid`, `vhd-in-other-subscription`, `vhd-in-other-region`, `policy-denied`,
/// `authorization-failed`, `image-region-change`, `property-change-not-allowed` (the VHD of an existing image cannot
/// change).
#[async_trait]
pub trait ImageService: Send + Sync {
    /// The naming that this service needs for the VHDs of its images.
    fn vhd_names(&self) -> VhdNames;

    /// Returns an image. None if it does not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn get(&self, id: &ManagedImageId, tenant: Option<&str>) -> PortResult<Option<ManagedImage>>;

    /// Starts to create an image, or to update an existing one to the specification.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn put(&self, spec: &ManagedImageSpec) -> PortResult<ChangeStatus>;

    /// Starts to delete an image. The result is `Done` if the image does not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn delete(&self, id: &ManagedImageId, tenant: Option<&str>) -> PortResult<ChangeStatus>;

    /// Polls the state of a change.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached. If the change itself failed, the result is
    /// [`ChangeStatus::Failed`].
    async fn poll(&self, pending: &Pending) -> PortResult<ChangeStatus>;
}
