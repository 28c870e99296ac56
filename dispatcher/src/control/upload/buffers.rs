//! Reusable buffers: a reader fills one, it is sent without copying, and it is free again when the last request drops
//! it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use goldfleet_disk::chunk::WindowBuffer;

/// A pool with a maximum number of buffers. Readers wait for a free one, so memory does not depend on the size of the
/// disk.
///
/// The buffer that was returned last is taken first. While sending keeps up, most buffers are never allocated.
#[derive(Clone)]
pub(super) struct Buffers(Arc<Pool>);

struct Pool {
    free: Mutex<Vec<WindowBuffer>>,
    freed: Condvar,
}

/// A buffer that is in use. It returns to the pool when it is dropped.
pub(super) struct Buffer {
    pub(super) bytes: WindowBuffer,
    pool: Arc<Pool>,
}

impl Pool {
    fn free(&self) -> MutexGuard<'_, Vec<WindowBuffer>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffers {
    pub(super) fn new(count: usize) -> Self {
        let free = std::iter::repeat_with(WindowBuffer::default).take(count).collect();
        Self(Arc::new(Pool { free: Mutex::new(free), freed: Condvar::new() }))
    }

    /// Waits for a free buffer. Blocks the thread.
    pub(super) fn take(&self) -> Buffer {
        let mut free = self.0.free();
        loop {
            if let Some(bytes) = free.pop() {
                return Buffer { bytes, pool: Arc::clone(&self.0) };
            }
            free = self.0.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.free().push(std::mem::take(&mut self.bytes));
        self.pool.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_returned_buffer_is_reused_first() {
        let buffers = Buffers::new(3);
        let mut used = buffers.take();
        used.bytes.set_length(4096);
        drop(used);
        assert_eq!(buffers.take().bytes.len(), 4096);
        let taken = [buffers.take(), buffers.take(), buffers.take()];
        let sizes = taken.each_ref().map(|buffer| buffer.bytes.len());
        assert_eq!(sizes, [4096, 0, 0], "only one was ever used");
    }

    #[test]
    fn readers_wait_for_free_buffer() {
        let buffers = Buffers::new(1);
        let first = buffers.take();
        let others = buffers.clone();
        let reader = std::thread::spawn(move || others.take().bytes.len());
        drop(first);
        assert_eq!(reader.join().unwrap(), 0);
    }
}
