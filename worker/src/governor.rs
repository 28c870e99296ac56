//! How many requests a process has in flight.

use std::sync::Arc;

use goldfleet_shared::model::ids::AccountName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Admits requests. Every request that moves data asks here first, naming the account that takes the load.
#[derive(Debug, Clone)]
pub struct Governor {
    requests: Arc<Semaphore>,
}

impl Governor {
    /// Admits at most `requests` at once in this process.
    #[must_use]
    pub fn new(requests: usize) -> Self {
        Self { requests: Arc::new(Semaphore::new(requests.max(1))) }
    }

    /// Waits for the right to send a request to `account`; it ends when the permit is dropped.
    pub async fn admit(&self, account: &AccountName) -> Option<OwnedSemaphorePermit> {
        let _ = account;
        // The semaphore is never closed; without a permit the request would simply go unlimited.
        Arc::clone(&self.requests).acquire_owned().await.ok()
    }
}
