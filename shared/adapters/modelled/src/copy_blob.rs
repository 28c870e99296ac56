//! Copy Blob, as other tools use it: the service copies a whole page blob without further requests.
//!
//! On Azure such a copy is best-effort. In the model it uses all the bandwidth that the limits leave. It serves as the
//! baseline for comparisons with goldfleet. goldfleet's own steps use it only inside an account, to clone a base
//! version.

use std::collections::BTreeMap;
use std::sync::Arc;

use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::PortResult;

use super::errors;
use super::extents::{Extents, Piece};
use super::state::{BlobId, NewBlob};
use super::{Model, blob_store};

/// The size of one piece of a copy, in bytes. It is small enough that concurrent copies share their limits fairly.
const COPY_BLOCK: u64 = 64 * 1024 * 1024;

impl Model {
    /// Creates a page blob with `length` bytes of unknown data. Takes no time.
    ///
    /// # Errors
    /// `AlreadyExists` if the blob exists.
    pub fn put_page_blob(&self, blob: &BlobAddress, length: u64) -> PortResult<()> {
        self.world().ensure_container(&blob.container);
        let mut content = Extents::default();
        content.insert(0, length, Piece::Unknown);
        let made = NewBlob { length, content: Arc::new(content), metadata: BTreeMap::new(), is_page_blob: true };
        self.add(blob, made)
    }

    /// Copies a whole page blob between servers, and returns when the copy is complete. Copies inside an account run
    /// one after the other. Other copies use what all limits on their path leave. A copy is never throttled.
    ///
    /// # Errors
    /// `NotFound` if the source does not exist, `AlreadyExists` if the destination exists.
    pub async fn copy_blob(&self, from: &BlobAddress, to: &BlobAddress) -> PortResult<()> {
        let found = self.world().find(from);
        let found = found.ok_or_else(|| errors::no_blob(from))?;
        let length = self.world().blob(found).map_or(0, |blob| blob.length);
        self.put_page_blob(to, length)?;
        self.wait_for_copy(found, from, to, length).await;
        Ok(())
    }

    /// Waits for the duration of a copy.
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
