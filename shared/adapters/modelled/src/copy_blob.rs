//! Copy Blob, as other tools use it: a service copies a whole page blob by itself, and nobody has to ask for more.
//!
//! Best effort on Azure, here it gets all that the limits leave. It is what goldfleet is compared with; goldfleet's own
//! steps use it inside an account only, to begin with an earlier version.

use std::collections::BTreeMap;
use std::sync::Arc;

use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::no_blob;
use goldfleet_ports::error::PortResult;

use super::extents::{Extents, Piece};
use super::state::{BlobId, NewBlob};
use super::{Model, blob_store};

/// How much a service copies in one go. Small enough that copies which run together share their limits fairly.
const COPY_BLOCK: u64 = 64 * 1024 * 1024;

impl Model {
    /// Makes a page blob of `length` bytes of data, at once. What they are, nobody knows.
    ///
    /// # Errors
    /// `AlreadyExists` where there is a blob.
    pub fn put_page_blob(&self, blob: &BlobAddress, length: u64) -> PortResult<()> {
        self.world().ensure_container(&blob.container);
        let mut content = Extents::default();
        content.insert(0, length, Piece::Unknown);
        let made = NewBlob { length, content: Arc::new(content), metadata: BTreeMap::new(), is_page_blob: true };
        self.add(blob, made)
    }

    /// Copies a whole page blob from server to server, and returns when it is there. Inside an account copies wait for
    /// each other; elsewhere they take what all limits on their way leave. None is ever refused for being too many.
    ///
    /// # Errors
    /// `NotFound` where there is no source, `AlreadyExists` where there is a blob at the other end.
    pub async fn copy_blob(&self, from: &BlobAddress, to: &BlobAddress) -> PortResult<()> {
        let found = self.world().find(from);
        let found = found.ok_or_else(|| no_blob(from))?;
        let length = self.world().blob(found).map_or(0, |blob| blob.length);
        self.put_page_blob(to, length)?;
        self.wait_for_copy(found, from, to, length).await;
        Ok(())
    }

    /// Waits for as long as a copy takes.
    pub(super) async fn wait_for_copy(&self, found: BlobId, from: &BlobAddress, to: &BlobAddress, length: u64) {
        if from.container.account == to.container.account {
            let until = {
                let now = self.moment();
                let mut world = self.world();
                let account = world.account(&to.container.account);
                world.accounts[account].copies.take(now, length)
            };
            self.wait_until(until).await;
            return;
        }
        let mut at = 0;
        while at < length {
            let bytes = COPY_BLOCK.min(length - at);
            let until = blob_store::copy_piece(self, found, to, bytes);
            self.wait_until(until).await;
            at += bytes;
        }
    }
}
