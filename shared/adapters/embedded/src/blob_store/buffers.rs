//! The buffers for copying bytes between blobs. Their number is small and they are reused, because a worker must stay
//! under 64 MiB of memory at any amount of work.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use goldfleet_ports::blob_store::MAX_PAGE_WRITE;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The number of buffers of a process.
const BUFFERS: usize = 4;

/// The size of a buffer: the maximum size of a page write.
const BUFFER_SIZE: usize = 4 * 1024 * 1024;
const _: () = assert!(BUFFER_SIZE as u64 == MAX_PAGE_WRITE);

static PERMITS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(BUFFERS)));
static FREE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A borrowed buffer. Dropping it returns it to the pool.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    _permit: OwnedSemaphorePermit,
}

impl Buffer {
    /// Waits for a buffer.
    pub(crate) async fn acquire() -> PortResult<Self> {
        let closed = |_| PortError::new(ErrorKind::Unavailable, "the process no longer copies");
        let permit = PERMITS.clone().acquire_owned().await.map_err(closed)?;
        let idle = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Self { bytes: idle.unwrap_or_else(|| vec![0; BUFFER_SIZE].into()), _permit: permit })
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}
