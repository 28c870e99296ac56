//! Operations of page blobs only: pages and fences.

use std::ops::Range;
use std::sync::Arc;

use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::Fence;
use goldfleet_ports::error::PortResult;
use jiff::Timestamp;

use crate::Model;
use crate::errors;
use crate::extents::Extents;
use crate::state::{BlobId, CloudState, NewBlob};

impl CloudState {
    /// The page blob at an address, if no newer fence than `fence` was taken.
    pub(super) fn page_blob(&self, address: &BlobAddress, fence: Option<Fence>) -> PortResult<BlobId> {
        let Some(id) = self.find(address) else { return Err(errors::no_blob(address)) };
        match self.blob(id).and_then(|blob| blob.fence) {
            None => {
                let error = errors::invalid(format!("{address} is no page blob"));
                Err(error.with_code("not-a-page-blob"))
            }
            Some(newest) if fence.is_some_and(|fence| fence < newest) => Err(errors::fenced(address)),
            Some(_) => Ok(id),
        }
    }

    /// The page blob at an address, if no newer fence was taken and the range is inside the blob.
    pub(super) fn pages(&self, address: &BlobAddress, fence: Fence, range: &Range<u64>) -> PortResult<BlobId> {
        let id = self.page_blob(address, Some(fence))?;
        let length = self.blob(id).map_or(0, |blob| blob.length);
        if range.end <= length {
            return Ok(id);
        }
        Err(errors::invalid(format!("{address} ends at {length}, before {}", range.end)))
    }

    /// Takes a fence on a page blob. Fences come from the version counter of all blobs.
    pub(super) fn raise_fence(&mut self, address: &BlobAddress, now: Timestamp) -> PortResult<Fence> {
        let id = self.page_blob(address, None)?;
        let blob = self.renew(id, now).ok_or_else(|| errors::no_blob(address))?;
        let raised = Fence(blob.version);
        blob.fence = Some(raised);
        Ok(raised)
    }
}

impl Model {
    /// Creates a blob with the current time.
    pub(crate) fn add(&self, address: &BlobAddress, made: NewBlob) -> PortResult<()> {
        let now = self.now();
        self.world().add(address, made, now)
    }

    /// Changes the pages of a request's blob, if it still exists and no newer fence was taken.
    pub(super) fn write(
        &self,
        id: BlobId,
        address: &BlobAddress,
        fence: Fence,
        change: impl FnOnce(&mut Extents),
    ) -> PortResult<()> {
        let now = self.now();
        let mut world = self.world();
        if world.page_blob(address, Some(fence))? != id {
            return Err(errors::no_blob(address));
        }
        let blob = world.renew(id, now).ok_or_else(|| errors::no_blob(address))?;
        change(Arc::make_mut(&mut blob.content));
        Ok(())
    }
}
