//! Verifies that a managed image was created from the version.

use goldfleet_model::image::{ImageRef, ImageTags};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::{Provisioning, Resource};

use super::{ImageLocation, Location, VerifyFault, VerifyReport, VerifyRun};

impl VerifyRun<'_> {
    pub(super) async fn image(
        &self,
        at: Location<'_>,
        place: &ImageLocation,
        seen: &mut VerifyReport,
    ) -> PortResult<()> {
        let ports = &self.control.ports;
        let look = || ports.resources.get(&place.id, place.tenant.as_deref());
        let wanted = self.image_version()?;
        let found = self.control.ports.retry(look).await?;
        seen.images = 1;
        match found {
            None => seen.faults.push(at.describe_fault("is not there")),
            Some(found) if found.was_created_from(wanted.digest, &place.region) => {}
            Some(found) => seen.faults.push(difference(at, place, wanted, &found)),
        }
        Ok(())
    }
}

/// Why an image does not match the version.
fn difference(at: Location<'_>, place: &ImageLocation, wanted: &ImageRef, found: &Resource) -> VerifyFault {
    match found.provisioning {
        Provisioning::InProgress => return at.describe_fault("is being made or changed"),
        Provisioning::Failed => return at.describe_fault("is not usable: its last change failed"),
        Provisioning::Succeeded => {}
    }
    if found.body.region != place.region {
        return at.describe_fault(format!("is in {}, not in {}", found.body.region, place.region));
    }
    match ImageTags::digest_in(&found.body.tags) {
        Some(digest) => at.describe_fault(format!("is made of {digest}, not of {}", wanted.digest)),
        None => at.describe_fault("was not made by goldfleet: it has no tag with a digest"),
    }
}
