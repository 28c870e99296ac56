//! Image: make the managed image of a target from its VHD.

use goldfleet_shared::model::ids::ManagedImageName;
use goldfleet_shared::model::image::{ImageRef, ImageTags, ManagedImageSpec};
use goldfleet_shared::model::manifest::{Generation, OsType};
use goldfleet_shared::model::target::Target;
use goldfleet_shared::ports::image_plane::{ManagedImage, Provisioning, Underway};

use super::{Attempt, Outcome, StepError};
use crate::failed::Failed;

/// What the operation's managed image is to be.
pub(super) fn spec(
    Attempt { shared, operation, .. }: Attempt<'_>,
    target: &Target,
    name: &ManagedImageName,
    os: OsType,
    generation: Generation,
) -> ManagedImageSpec {
    ManagedImageSpec {
        id: target.image(name.clone()),
        region: target.region.clone(),
        vhd: shared.ports.vhd(target, &operation.image),
        os,
        generation,
        storage_type: shared.settings.storage_type,
        disk_encryption_set: target.disk_encryption_set.clone(),
        tenant: target.tenant.clone(),
        tags: ImageTags { image: operation.image.clone(), job: operation.job.clone() }.to_map(),
    }
}

/// Runs an image operation.
///
/// # Errors
/// [`StepError`] where it was stopped or the attempt failed.
pub(super) async fn run(attempt: Attempt<'_>, spec: &ManagedImageSpec) -> Result<Outcome, StepError> {
    let images = attempt.shared.ports.images.as_ref();
    let tenant = spec.tenant.as_deref();
    let underway = match images.get(&spec.id, tenant).await? {
        None => begin(attempt, spec).await?,
        Some(image) => match standing(&image, &attempt.operation.image, spec)? {
            Standing::Made => return Ok(Outcome::Done),
            Standing::Changing => return Ok(Outcome::Continue(attempt.shared.settings.beat)),
            Standing::Broken => begin(attempt, spec).await?,
            // An image's disk can't be exchanged: the old one has to go first.
            Standing::Stale => {
                attempt.hold.check()?;
                tracing::info!(image = %spec.id, "an image of other content is replaced");
                let removal = images.delete(&spec.id, tenant).await?;
                finish(attempt, removal).await?;
                begin(attempt, spec).await?
            }
        },
    };
    finish(attempt, underway).await?;
    Ok(Outcome::Done)
}

/// What an image that is already there is to this operation.
enum Standing {
    Made,
    Changing,
    Broken,
    Stale,
}

/// Names are made of a template and do not heed case, so that the image may be another target's or another golden image's.
/// Such a one is left alone: only what this very version was before may be replaced.
fn standing(image: &ManagedImage, wanted: &ImageRef, spec: &ManagedImageSpec) -> Result<Standing, Failed> {
    let id = &spec.id;
    let Some(digest) = ImageTags::digest_in(&image.tags) else {
        let message = format!("{id} is in the way: an image that goldfleet did not make; remove or rename it");
        return Err(Failed::fatal("image-foreign", message));
    };
    if image.region != spec.region {
        let message = format!("{id} is in {}: an image of that name can't be in {} as well", image.region, spec.region);
        return Err(Failed::fatal("image-region-change", message));
    }
    let version = ImageTags::version_in(&image.tags);
    if digest != wanted.digest && version != wanted.to_string() {
        let message = format!("{id} is in the way: it was made of {version}, whose name in [images] is the same");
        return Err(Failed::fatal("image-foreign", message));
    }
    Ok(match image.provisioning {
        Provisioning::Underway => Standing::Changing,
        _ if digest != wanted.digest => Standing::Stale,
        Provisioning::Succeeded => Standing::Made,
        Provisioning::Failed => Standing::Broken,
    })
}

async fn begin(Attempt { shared, hold, .. }: Attempt<'_>, spec: &ManagedImageSpec) -> Result<Underway, StepError> {
    hold.check()?;
    Ok(shared.ports.images.put(spec).await?)
}

/// Follows a change to its end.
async fn finish(Attempt { shared, hold, .. }: Attempt<'_>, mut underway: Underway) -> Result<(), StepError> {
    loop {
        match underway {
            Underway::Done => return Ok(()),
            Underway::Failed(error) => return Err(error.into()),
            Underway::Pending(pending) => {
                shared.ports.clock.sleep(pending.retry_after).await;
                // Asked to stop, the platform goes on alone: whoever comes next finds the image under way or made.
                hold.check()?;
                underway = shared.ports.images.poll(&pending).await?;
            }
        }
    }
}
