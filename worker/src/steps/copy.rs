//! Copy: assemble a target's VHD, a fixed VHD as a page blob, from its region's store as chunks arrive there.
//!
//! The footer is written last, when every chunk is proven to be in place: a VHD with its footer is whole.

use bytes::Bytes;
use goldfleet_model::checksum::crc64;
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;

use super::base::Assembly;
use super::prepare::{Prepared, Preparing};
use super::transfer::fill;
use super::vhd::VhdDestination;
use super::{Attempt, Outcome, StepError, source_of};

/// Runs a copy.
///
/// # Errors
/// [`StepError`] where it was stopped or the attempt failed.
pub(super) async fn run(attempt: Attempt<'_>, target: &Target, from: &[Store]) -> Result<Outcome, StepError> {
    let Attempt { shared, hold, operation } = attempt;
    let (blobs, source) = (attempt.blobs(), source_of(from)?);
    let manifest = attempt.manifest(source).await?;
    let vhd = shared.ports.vhd(target, &operation.image);
    let assembly = Assembly { image: &operation.image, manifest: &manifest, source, vhd: &vhd };
    let Prepared { incarnation, base, done, bytes, whole } = Preparing { attempt, assembly }.prepare().await?;
    hold.set_progress(incarnation, done, bytes, manifest.data_bytes());
    if whole {
        return Ok(Outcome::Done);
    }
    hold.check()?;
    let fence = blobs.take_fence(&vhd).await?;
    for range in base.iter().flat_map(|base| base.vanished(&manifest)) {
        hold.check()?;
        blobs.clear_pages(&vhd, fence, range).await?;
    }
    let destination = VhdDestination::new(attempt, &vhd, fence, base.as_ref());
    destination.record_what_stays(&manifest).await?;
    match fill(attempt, &manifest, from, &destination).await? {
        Outcome::Done => {}
        wait @ Outcome::Continue(_) => return Ok(wait),
    }
    destination.clear_where_the_disk_is_zero(&manifest).await?;
    hold.check()?;
    let footer = Bytes::copy_from_slice(&manifest.footer);
    let checksum = crc64(&footer);
    blobs.put_pages(&vhd, destination.fence(), manifest.size, footer, checksum).await?;
    Ok(Outcome::Done)
}
