//! Copy: assemble a target's VHD, a fixed VHD as a page blob, from its region's store as chunks arrive there.
//!
//! The footer is written last, when every chunk is proven to be in place: a VHD with its footer is whole.

use bytes::Bytes;
use goldfleet_model::checksum::crc64;
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;

use super::base::VhdPlan;
use super::prepare::{PreparedVhd, VhdPreparation};
use super::transfer::transfer_chunks;
use super::vhd::VhdDestination;
use super::{Attempt, StepError, StepOutcome, source_of};

/// Runs a copy.
///
/// # Errors
/// [`StepError`] where it was stopped or the attempt failed.
pub(super) async fn run(attempt: Attempt<'_>, target: &Target, from: &[Store]) -> Result<StepOutcome, StepError> {
    let Attempt { shared, lease, operation } = attempt;
    let (blobs, source) = (attempt.blobs(), source_of(from)?);
    let manifest = attempt.manifest(source).await?;
    let vhd = shared.ports.vhd(target, &operation.image);
    let assembly = VhdPlan { image: &operation.image, manifest: &manifest, source, vhd: &vhd };
    let PreparedVhd { incarnation, base, done, bytes, whole } = VhdPreparation { attempt, assembly }.prepare().await?;
    lease.set_progress(incarnation, done, bytes, manifest.data_bytes());
    if whole {
        return Ok(StepOutcome::Done);
    }
    lease.ensure_held()?;
    let fence = blobs.take_fence(&vhd).await?;
    for range in base.iter().flat_map(|base| base.removed_ranges(&manifest)) {
        lease.ensure_held()?;
        blobs.clear_pages(&vhd, fence, range).await?;
    }
    let destination = VhdDestination::new(attempt, &vhd, fence, base.as_ref());
    destination.record_what_stays(&manifest).await?;
    match transfer_chunks(attempt, &manifest, from, &destination).await? {
        StepOutcome::Done => {}
        wait @ StepOutcome::RequeueAfter(_) => return Ok(wait),
    }
    destination.clear_where_the_disk_is_zero(&manifest).await?;
    lease.ensure_held()?;
    let footer = Bytes::copy_from_slice(&manifest.footer);
    let checksum = crc64(&footer);
    blobs.put_pages(&vhd, destination.fence(), manifest.size, footer, checksum).await?;
    Ok(StepOutcome::Done)
}
