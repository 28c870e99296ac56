//! The kind `copy`: assembles a target's VHD, a fixed VHD in a page blob, from its region's store while chunks arrive
//! there.
//!
//! The footer is written last, after every chunk is proven to be in place. A VHD with its footer is therefore complete.

mod base;
mod prepare;
mod vhd;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::artifact::{DiskRef, DiskRole};
use goldfleet_model::checksum::crc64;
use goldfleet_model::image::VhdMetadata;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use serde::{Deserialize, Serialize};

use crate::context::{Attempt, read_spec, source_of};
use crate::kind::{Kind, Probe, TemporaryBlob, Transfer, Verification};
use crate::outcome::{StepError, StepOutcome};
use crate::transfer::transfer_chunks;
use base::VhdPlan;
use prepare::{PreparedVhd, VhdPreparation};
use vhd::VhdDestination;

/// The kind `copy`.
pub struct Copy;

/// The specification of a `copy` operation. The row names the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySpec {
    /// The disk to assemble.
    #[serde(flatten)]
    pub disk: DiskRef,
    /// The stores to read from: the region's store first, then its parents up to the source.
    pub from: Vec<Store>,
}

#[async_trait]
impl Kind for Copy {
    fn id(&self) -> &'static str {
        "copy"
    }

    fn queue(&self) -> QueueName {
        QueueName::Copy
    }

    fn title(&self) -> &'static str {
        "VHDs in place"
    }

    fn disk(&self, operation: &Operation) -> Option<DiskRole> {
        read_spec::<CopySpec>(operation).ok().map(|spec| spec.disk.role)
    }

    fn transfer(&self, operation: &Operation) -> Option<Transfer> {
        let CopySpec { from, .. } = read_spec(operation).ok()?;
        Some(Transfer { fills: None, from })
    }

    fn temporary_blob(&self, ports: &Ports, operation: &Operation) -> Option<TemporaryBlob> {
        let CopySpec { disk, .. } = read_spec(operation).ok()?;
        Some(TemporaryBlob { blob: ports.vhd(operation.target()?, operation.image.as_ref()?, disk.role), disk })
    }

    fn verification(&self, ports: &Ports, operation: &Operation) -> Verification {
        self.temporary_blob(ports, operation).map_or(Verification::Probe, Verification::Vhd)
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Some(TemporaryBlob { blob: vhd, disk }) = self.temporary_blob(ports, operation) else {
            return Ok(Probe::Foreign);
        };
        let Some(found) = ports.blobs.properties(&vhd).await? else { return Ok(Probe::Absent) };
        Ok(match found.metadata.get(VhdMetadata::DIGEST) {
            None => Probe::Foreign,
            Some(digest) if *digest != disk.manifest.to_string() => Probe::Stale,
            // The footer is written last.
            Some(_) => match ports.blobs.page_ranges(&vhd).await?.last() {
                Some(range) if range.end == found.length => Probe::Done,
                _ => Probe::Underway,
            },
        })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let CopySpec { disk, from } = attempt.spec()?;
        assemble(attempt, attempt.target()?, &disk, &from).await
    }
}

/// Assembles the VHD of a disk at a target.
async fn assemble(
    attempt: Attempt<'_>,
    target: &Target,
    disk: &DiskRef,
    from: &[Store],
) -> Result<StepOutcome, StepError> {
    let Attempt { shared, lease, .. } = attempt;
    let (blobs, source) = (attempt.blobs(), source_of(from)?);
    let manifest = attempt.manifest(source, disk).await?;
    let image = attempt.image()?;
    let vhd = shared.ports.vhd(target, image, disk.role);
    let assembly = VhdPlan { image: &image.name, disk, manifest: &manifest, source, vhd: &vhd };
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
