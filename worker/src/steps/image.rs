//! Image: make the managed image of a target from its VHD.

use goldfleet_model::ids::ManagedImageName;
use goldfleet_model::image::{ImageRef, ImageTags, ManagedImageSpec};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::store::BlobAddress;
use goldfleet_model::target::Target;
use goldfleet_ports::error::{ErrorKind, PortError};
use goldfleet_ports::image_plane::{ChangeStatus, ManagedImage, Provisioning};

use super::{Attempt, StepError, StepOutcome, digest_of};
use crate::attempt_error::AttemptError;

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
pub(super) async fn run(attempt: Attempt<'_>, spec: &ManagedImageSpec) -> Result<StepOutcome, StepError> {
    let Attempt { shared, lease, .. } = attempt;
    let images = shared.ports.images.as_ref();
    let stale = match inspect(attempt, spec).await? {
        ExistingImage::UpToDate => return Ok(StepOutcome::Done),
        ExistingImage::InProgress => return Ok(StepOutcome::RequeueAfter(shared.settings.heartbeat)),
        standing => standing == ExistingImage::Stale,
    };
    check_vhd(attempt, &spec.vhd).await?;
    if stale {
        // An image's disk can't be exchanged: the old one has to go first.
        lease.ensure_held()?;
        tracing::info!(image = %spec.id, "an image of other content is replaced");
        let removal = images.delete(&spec.id, spec.tenant.as_deref()).await?;
        wait_for_change(attempt, removal).await?;
    }
    lease.ensure_held()?;
    let underway = match images.put(spec).await {
        // Since it was looked at, the name was taken for an image of another VHD: a look tells whose.
        Err(error) if error.code == "property-change-not-allowed" => {
            inspect(attempt, spec).await?;
            return Err(error.into());
        }
        underway => underway?,
    };
    wait_for_change(attempt, underway).await?;
    verify_created(attempt, spec).await
}

/// Whether what is there now is the image that was asked for: another job may have asked for one of the same name.
async fn verify_created(attempt: Attempt<'_>, spec: &ManagedImageSpec) -> Result<StepOutcome, StepError> {
    let id = &spec.id;
    let failed = |kind, code, why| Err(PortError::new(kind, format!("{id}: {why}")).with_code(code).into());
    match inspect(attempt, spec).await? {
        ExistingImage::UpToDate => Ok(StepOutcome::Done),
        ExistingImage::InProgress => Ok(StepOutcome::RequeueAfter(attempt.shared.settings.heartbeat)),
        ExistingImage::Absent => {
            failed(ErrorKind::Unavailable, "image-vanished", "the image is gone, and was just made")
        }
        ExistingImage::Failed => {
            failed(ErrorKind::Unavailable, "image-failed", "it is shown as failed, and was just made")
        }
        ExistingImage::Stale => failed(ErrorKind::Conflict, "conflict", "it was replaced by one of other content"),
    }
}

/// Refuses a VHD that is of another content than the job's. One that is not there the platform tells.
async fn check_vhd(Attempt { shared, operation, .. }: Attempt<'_>, vhd: &BlobAddress) -> Result<(), StepError> {
    let Some(found) = shared.ports.blobs.properties(vhd).await? else { return Ok(()) };
    let wanted = &operation.image;
    if digest_of(vhd, &found)? == wanted.digest.to_string() {
        return Ok(());
    }
    let message = format!("{vhd} is not of the content that this job was made for: {wanted} was uploaded anew");
    Err(AttemptError::fatal("manifest-changed", message).into())
}

/// What an image of the name is to this operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExistingImage {
    Absent,
    UpToDate,
    InProgress,
    Failed,
    Stale,
}

async fn inspect(
    Attempt { shared, operation, .. }: Attempt<'_>,
    spec: &ManagedImageSpec,
) -> Result<ExistingImage, StepError> {
    let found = shared.ports.images.get(&spec.id, spec.tenant.as_deref()).await?;
    Ok(match found {
        None => ExistingImage::Absent,
        Some(image) => classify(&image, &operation.image, spec)?,
    })
}

/// Names are made of a template and do not heed case, so that the image may be another target's or another golden image's.
/// Such a one is left alone: only what this very version was before may be replaced.
fn classify(image: &ManagedImage, wanted: &ImageRef, spec: &ManagedImageSpec) -> Result<ExistingImage, AttemptError> {
    let id = &spec.id;
    let Some(digest) = ImageTags::digest_in(&image.tags) else {
        let message = format!("{id} is in the way: an image that goldfleet did not make; remove or rename it");
        return Err(AttemptError::fatal("image-foreign", message));
    };
    if image.region != spec.region {
        let message = format!("{id} is in {}: an image of that name can't be in {} as well", image.region, spec.region);
        return Err(AttemptError::fatal("image-region-change", message));
    }
    let version = ImageTags::version_in(&image.tags);
    if digest != wanted.digest && version != wanted.to_string() {
        let message = format!("{id} is in the way: it was made of {version}, whose name in [images] is the same");
        return Err(AttemptError::fatal("image-foreign", message));
    }
    Ok(match image.provisioning {
        Provisioning::InProgress => ExistingImage::InProgress,
        _ if digest != wanted.digest => ExistingImage::Stale,
        Provisioning::Succeeded => ExistingImage::UpToDate,
        Provisioning::Failed => ExistingImage::Failed,
    })
}

/// Follows a change to its end.
async fn wait_for_change(
    Attempt { shared, lease, .. }: Attempt<'_>,
    mut underway: ChangeStatus,
) -> Result<(), StepError> {
    loop {
        match underway {
            ChangeStatus::Done => return Ok(()),
            ChangeStatus::Failed(error) => return Err(error.into()),
            ChangeStatus::Pending(pending) => {
                shared.ports.clock.sleep(pending.retry_after).await;
                // Asked to stop, the platform goes on alone: whoever comes next finds the image under way or made.
                lease.ensure_held()?;
                underway = shared.ports.images.poll(&pending).await?;
            }
        }
    }
}
