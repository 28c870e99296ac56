//! A disk whose bytes are requested from a service.
//!
//! Only ranges with data are requested. Everything else reads as zeros.

mod cache;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_disk::{DiskError, DiskReader};
use goldfleet_model::ranges;
use goldfleet_ports::error::{PortError, PortResult};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use cache::{BLOCK, BlockCache};

/// The number of reads at a time. A service gives one request only a part of its rate.
pub(crate) const READERS: usize = 8;

/// The bytes of one request at most. Source: that of `goldfleet_ports::disk_content::MAX_READ`.
const REQUEST: u64 = goldfleet_ports::disk_content::MAX_READ;

/// Requests the bytes of a disk.
#[async_trait]
pub(crate) trait RemoteContent: fmt::Debug + Send + Sync {
    /// The bytes of a range with at most 4 MiB. Transient errors were retried.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn read(&self, range: Range<u64>) -> PortResult<Bytes>;
}

/// Runs requests for callers that block.
#[derive(Debug, Clone)]
pub struct Requests {
    runtime: Handle,
    stop: CancellationToken,
    failure: Arc<Mutex<Option<PortError>>>,
}

impl Requests {
    /// Requests on the runtime of the caller, until they are cancelled.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { runtime: Handle::current(), stop, failure: Arc::default() }
    }

    /// Waits for a request. Blocks the thread, which must not be one of the runtime's own.
    ///
    /// # Errors
    /// [`DiskError::Cancelled`] if the requests were cancelled, [`DiskError::Io`] if the service failed: see
    /// [`Requests::take_failure`].
    pub(crate) fn wait<T>(&self, request: impl Future<Output = PortResult<T>>) -> Result<T, DiskError> {
        let ended = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                ended = request => Some(ended),
            }
        });
        match ended {
            None => Err(DiskError::Cancelled),
            Some(ended) => ended.map_err(|error| self.failed(error)),
        }
    }

    /// The first error of a service, if there was one. A disk error has only its text.
    #[must_use]
    pub fn take_failure(&self) -> Option<PortError> {
        // No code panics while it holds the lock.
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&self, error: PortError) -> DiskError {
        let shown = std::io::Error::other(error.to_string());
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        DiskError::Io(shown)
    }
}

/// A disk whose bytes are requested from a service.
#[derive(Debug)]
pub(crate) struct RemoteDisk {
    size: u64,
    data: Vec<Range<u64>>,
    content: Arc<dyn RemoteContent>,
    requests: Requests,
    cache: BlockCache,
}

impl RemoteDisk {
    /// The first `size` bytes of a content, with data in these ranges, which are in order.
    pub(crate) fn new(size: u64, data: &[Range<u64>], content: Arc<dyn RemoteContent>, requests: Requests) -> Self {
        let data = ranges::merged(data.iter().cloned(), size);
        Self { size, data, content, requests, cache: BlockCache::default() }
    }

    fn request(&self, range: Range<u64>) -> Result<Bytes, DiskError> {
        let length = range.end - range.start;
        let bytes = self.requests.wait(self.content.read(range))?;
        if bytes.len() as u64 == length {
            return Ok(bytes);
        }
        Err(DiskError::Damaged(format!("the service returned {} bytes in place of {length}", bytes.len())))
    }

    /// The part of a block that is requested. The rest of the block is zero.
    fn block_data(&self, number: u64) -> Option<Range<u64>> {
        let block = number * BLOCK..self.size.min((number + 1) * BLOCK);
        let parts: Vec<Range<u64>> = ranges::parts(&self.data, block, BLOCK).collect();
        Some(parts.first()?.start..parts.last()?.end)
    }

    /// Reads a small part through the cache.
    fn read_cached(&self, range: Range<u64>, buffer: &mut [u8]) -> Result<(), DiskError> {
        for number in range.start / BLOCK..=(range.end - 1) / BLOCK {
            let Some(data) = self.block_data(number) else { continue };
            let wanted = data.start.max(range.start)..data.end.min(range.end);
            if wanted.is_empty() {
                continue;
            }
            let bytes = self.cache.block(number, || self.request(data.clone()))?;
            let part = &bytes[index(wanted.start - data.start)..index(wanted.end - data.start)];
            buffer[index(wanted.start - range.start)..index(wanted.end - range.start)].copy_from_slice(part);
        }
        Ok(())
    }
}

/// Offsets in a buffer fit: the buffer is in memory.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl DiskReader for RemoteDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let length = buffer.len() as u64;
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let range = offset..end.ok_or(DiskError::OutOfRange { offset, length, size: self.size })?;
        buffer.fill(0);
        if range.is_empty() {
            return Ok(());
        }
        if length < BLOCK {
            return self.read_cached(range, buffer);
        }
        for part in ranges::parts(&self.data, range, REQUEST) {
            let bytes = self.request(part.clone())?;
            buffer[index(part.start - offset)..index(part.end - offset)].copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        Ok(ranges::next(&self.data, offset))
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_disk::DataRanges;
    use goldfleet_ports::error::ErrorKind;

    use super::*;

    /// Bytes, and the ranges that were requested.
    #[derive(Debug)]
    struct Bytewise {
        bytes: Vec<u8>,
        asked: Mutex<Vec<Range<u64>>>,
        fails_at: u64,
    }

    #[async_trait]
    impl RemoteContent for Bytewise {
        async fn read(&self, range: Range<u64>) -> PortResult<Bytes> {
            self.asked.lock().unwrap().push(range.clone());
            if range.contains(&self.fails_at) {
                return Err(PortError::new(ErrorKind::Unavailable, "broken").with_code("server-busy"));
            }
            Ok(Bytes::copy_from_slice(&self.bytes[index(range.start)..index(range.end)]))
        }
    }

    const MIB: u64 = 1 << 20;

    /// 16 MiB with data at the beginning, from 2 MiB to 11 MiB, and in the last page.
    fn content() -> Bytewise {
        let mut bytes = vec![0; 16 << 20];
        for (at, byte) in bytes.iter_mut().enumerate() {
            if at < 4096 || (2 << 20..11 << 20).contains(&at) || at >= (16 << 20) - 512 {
                *byte = u8::try_from(at % 251).unwrap() | 1;
            }
        }
        Bytewise { bytes, asked: Mutex::default(), fails_at: u64::MAX }
    }

    fn data() -> [Range<u64>; 3] {
        [0..4096, 2 * MIB..11 * MIB, 16 * MIB - 512..16 * MIB]
    }

    /// Reads on a thread that may block.
    async fn on_thread<T: Send + 'static>(
        content: &Arc<Bytewise>,
        stop: CancellationToken,
        read: impl FnOnce(&RemoteDisk) -> T + Send + 'static,
    ) -> T {
        let requests = Requests::new(stop);
        let disk = RemoteDisk::new(16 * MIB, &data(), Arc::clone(content) as _, requests);
        tokio::task::spawn_blocking(move || read(&disk)).await.unwrap()
    }

    #[tokio::test]
    async fn only_data_is_requested() {
        let content = Arc::new(content());
        let read = on_thread(&content, CancellationToken::new(), |disk| {
            let mut read = vec![7; 16 << 20];
            disk.read_at(0, &mut read).unwrap();
            (read, DataRanges::new(disk).collect::<Result<Vec<_>, _>>().unwrap())
        });
        let (read, ranges) = read.await;
        assert!(read == content.bytes, "the bytes differ");
        assert_eq!(ranges, data());
        let asked = content.asked.lock().unwrap();
        let expected = [0..4096, 2 * MIB..6 * MIB, 6 * MIB..10 * MIB, 10 * MIB..11 * MIB, 16 * MIB - 512..16 * MIB];
        assert_eq!(*asked, expected);
    }

    #[tokio::test]
    async fn small_reads_share_requests() {
        let content = Arc::new(content());
        let read = on_thread(&content, CancellationToken::new(), |disk| {
            let mut read = Vec::new();
            for at in (0..16 * MIB).step_by(64 << 10) {
                let mut part = vec![7; 64 << 10];
                disk.read_at(at, &mut part).unwrap();
                read.extend(part);
            }
            assert!(disk.read_at(16 * MIB - 1, &mut [0; 2]).is_err());
            disk.read_at(16 * MIB, &mut []).unwrap();
            read
        });
        assert!(read.await == content.bytes, "the bytes differ");
        let asked = content.asked.lock().unwrap();
        assert_eq!(asked.len(), 1 + 9 * 4 + 1, "one for each block with data: {asked:?}");
        assert_eq!((asked.first(), asked.last()), (Some(&(0..4096)), Some(&(16 * MIB - 512..16 * MIB))));
    }

    #[tokio::test]
    async fn failure_of_service_is_kept() {
        let content = Arc::new(Bytewise { fails_at: 3 * MIB, ..content() });
        let read = on_thread(&content, CancellationToken::new(), |disk| {
            let read = disk.read_at(2 * MIB, &mut vec![0; 4 << 20]);
            (read.map_err(|error| error.to_string()), disk.requests.take_failure())
        });
        let (read, failure) = read.await;
        assert!(read.unwrap_err().contains("broken"));
        assert_eq!(failure.unwrap().code, "server-busy");
    }

    #[tokio::test]
    async fn cancelled_requests_end() {
        let stop = CancellationToken::new();
        stop.cancel();
        let content = Arc::new(content());
        let read = on_thread(&content, stop, |disk| disk.read_at(0, &mut [0; 512]));
        assert!(matches!(read.await, Err(DiskError::Cancelled)));
        assert!(content.asked.lock().unwrap().is_empty());
    }
}
