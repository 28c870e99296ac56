//! Whether a managed image was made of the version.

use goldfleet_model::image::ImageTags;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::image_plane::{ManagedImage, Provisioning};
use goldfleet_ports::retry::retrying;

use super::{Checking, Fault, ImagePlace, Place, Verified};

impl Checking<'_> {
    pub(super) async fn image(&self, at: Place<'_>, place: &ImagePlace, seen: &mut Verified) -> PortResult<()> {
        let ports = &self.desk.ports;
        let look = || ports.images.get(&place.id, place.tenant.as_deref());
        let found = retrying(ports.clock.as_ref(), PortError::is_retryable, look).await?;
        seen.images = 1;
        match found {
            None => seen.faults.push(at.wrong("is not there")),
            Some(found) if found.is_made_of(self.image.digest, &place.region) => {}
            Some(found) => seen.faults.push(self.difference(at, place, &found)),
        }
        Ok(())
    }

    /// Why an image is not what it should be.
    fn difference(&self, at: Place<'_>, place: &ImagePlace, found: &ManagedImage) -> Fault {
        match found.provisioning {
            Provisioning::Underway => return at.wrong("is being made or changed"),
            Provisioning::Failed => return at.wrong("is not whole: its last change failed"),
            Provisioning::Succeeded => {}
        }
        if found.region != place.region {
            return at.wrong(format!("is in {}, not in {}", found.region, place.region));
        }
        match ImageTags::digest_in(&found.tags) {
            Some(digest) => at.wrong(format!("is made of {digest}, not of {}", self.image.digest)),
            None => at.wrong("was not made by goldfleet: it has no tag with a digest"),
        }
    }
}
