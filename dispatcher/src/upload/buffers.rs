//! Buffers that go round: filled by a reader, sent as they are, and back to a reader when the last request has let go.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// A fixed number of buffers. Readers wait for one that is free, so that memory does not depend on the disk's size.
#[derive(Clone)]
pub(super) struct Buffers {
    free: Arc<Mutex<Receiver<Vec<u8>>>>,
    back: SyncSender<Vec<u8>>,
}

/// A buffer on its way. It goes back when it is dropped.
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    back: SyncSender<Vec<u8>>,
}

impl Buffers {
    pub(super) fn new(count: usize) -> Self {
        let (back, free) = sync_channel(count);
        for _ in 0..count {
            let _ = back.try_send(Vec::new());
        }
        Self { free: Arc::new(Mutex::new(free)), back }
    }

    /// Waits for a free buffer, blocking the thread.
    pub(super) fn take(&self) -> Buffer {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // `self` holds a sender, so the channel is never closed.
        Buffer { bytes: free.recv().unwrap_or_default(), back: self.back.clone() }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self.back.try_send(std::mem::take(&mut self.bytes)) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}
