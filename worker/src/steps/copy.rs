//! Copy: assemble a target's VHD, a fixed VHD as a page blob, from its region's store as chunks arrive there.
//!
//! The footer is written last, when every chunk is in place: a VHD with its footer is whole.

use bytes::Bytes;
use goldfleet_model::checksum::crc64;
use goldfleet_model::ids::AccountName;
use goldfleet_model::manifest::ChunkEntry;
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_model::target::Target;
use goldfleet_ports::blob_store::{BlobStore, Fence, SourceRange};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use super::base::{Assembly, Base};
use super::prepare::{Prepared, Preparing};
use super::transfer::{Destination, fill};
use super::{Attempt, Outcome, StepError, source_of};
use crate::hold::{Hold, Stop};

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
    let requests = shared.settings.chunk_requests;
    let destination = VhdDestination { blobs, hold, vhd: &vhd, fence, base: base.as_ref(), requests };
    match fill(attempt, &manifest, from, &destination).await? {
        Outcome::Done => {}
        wait @ Outcome::Continue(_) => return Ok(wait),
    }
    hold.check()?;
    let footer = Bytes::copy_from_slice(&manifest.footer);
    let checksum = crc64(&footer);
    blobs.put_pages(&vhd, fence, manifest.size, footer, checksum).await?;
    Ok(Outcome::Done)
}

struct VhdDestination<'a> {
    blobs: &'a dyn BlobStore,
    hold: &'a Hold,
    vhd: &'a BlobAddress,
    fence: Fence,
    base: Option<&'a Base>,
    requests: usize,
}

impl VhdDestination<'_> {
    /// To be asked before every request: a chunk may have more runs than the lease has time left for. Asked to stop for any
    /// other reason, a chunk that was begun is still made whole.
    fn check(&self) -> PortResult<()> {
        match self.hold.check() {
            Err(Stop::Lost) => Err(PortError::new(ErrorKind::Fenced, format!("{}: the lease is lost", self.vhd))),
            _ => Ok(()),
        }
    }
}

impl Destination for VhdDestination<'_> {
    fn account(&self) -> &AccountName {
        &self.vhd.container.account
    }

    fn requests(&self) -> usize {
        self.requests
    }

    /// Every request has a chunk's place written with the bytes of its checksum, or cleared where it has none, or is
    /// refused by the fence: in whatever order they land, the place is the same.
    async fn put(&self, entry: &ChunkEntry, source: &BlobAddress) -> PortResult<u64> {
        for range in self.base.iter().flat_map(|base| base.leftovers(entry)) {
            self.check()?;
            self.blobs.clear_pages(self.vhd, self.fence, range).await?;
        }
        let mut moved = 0;
        for run in &entry.runs {
            let at = u64::from(run.at);
            let length = u64::from(run.length);
            let range = SourceRange { blob: source.clone(), range: at..at + length, crc64: run.crc64 };
            self.check()?;
            self.blobs.put_pages_from(self.vhd, self.fence, run.offset, &range).await?;
            moved += length;
        }
        Ok(moved)
    }
}
