//! The MD5 of each run, for the manifest. It is computed on separate threads while other chunks are read and sent.
//!
//! It is computed once for each content: not again for a chunk that occurs twice on the disk, and not again in a second
//! pass over the disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use goldfleet_disk::chunk::PackedChunk;
use goldfleet_model::manifest::{ChunkEntry, ChunkHash, Md5Sum};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use tokio::sync::Semaphore;

use crate::control::context::ScanThreads;

/// The MD5s computed so far, and a limit for the number of threads that compute more.
pub(super) struct Md5s {
    readers: ScanThreads,
    /// One permit per core. More threads would only compete with each other and with the readers.
    threads: Semaphore,
    /// The length and the MD5 of each run, by the hash of their chunk. Equal chunks at different places of the disk may
    /// be divided into runs differently.
    known: Mutex<HashMap<ChunkHash, Vec<(u32, Md5Sum)>>>,
}

impl Md5s {
    pub(super) fn new(readers: ScanThreads) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { readers, threads: Semaphore::new(cores), known: Mutex::default() }
    }

    /// The entry of a chunk in the manifest. `bytes` is the content of the chunk.
    ///
    /// # Errors
    /// If the process is shutting down.
    pub(super) async fn entry(&self, chunk: PackedChunk, bytes: &Bytes) -> PortResult<ChunkEntry> {
        if let Some(md5) = self.known(&chunk) {
            return Ok(chunk.into_entry(&md5));
        }
        let entry = match self.readers {
            ScanThreads::Sender => {
                let md5 = chunk.md5_of_runs(bytes);
                chunk.into_entry(&md5)
            }
            ScanThreads::Threads => self.on_a_thread(chunk, bytes.clone()).await?,
        };
        let runs = entry.runs.iter().map(|run| (run.length, run.md5)).collect();
        self.lock().insert(entry.hash, runs);
        Ok(entry)
    }

    async fn on_a_thread(&self, chunk: PackedChunk, bytes: Bytes) -> PortResult<ChunkEntry> {
        // The semaphore is never closed.
        let _permit = self.threads.acquire().await;
        let summed = tokio::task::spawn_blocking(move || {
            let md5 = chunk.md5_of_runs(&bytes);
            chunk.into_entry(&md5)
        });
        summed
            .await
            .map_err(|error| PortError::new(ErrorKind::Unavailable, format!("an MD5 was not computed: {error}")))
    }

    fn known(&self, chunk: &PackedChunk) -> Option<Vec<Md5Sum>> {
        let known = self.lock();
        let runs = known.get(&chunk.hash)?;
        let same = runs.iter().map(|(length, _)| *length).eq(chunk.runs.iter().map(|run| run.length));
        same.then(|| runs.iter().map(|(_, md5)| *md5).collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChunkHash, Vec<(u32, Md5Sum)>>> {
        // No code panics while it holds the lock, and the map is consistent in any case.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_disk::chunk::PackedRun;

    use super::*;

    fn chunk(offset: u64, lengths: &[u32]) -> PackedChunk {
        let mut at = 0;
        let runs = lengths.iter().map(|&length| {
            let run = PackedRun { offset: offset + u64::from(at), length, at, crc64: 0 };
            at += length;
            run
        });
        let runs = runs.collect();
        PackedChunk { hash: ChunkHash::of(b"chunk"), length: at, runs }
    }

    #[tokio::test]
    async fn md5_of_equal_chunk_is_computed_once_per_run_layout() {
        for readers in [ScanThreads::Threads, ScanThreads::Sender] {
            let md5s = Md5s::new(readers);
            let bytes: Bytes = vec![7; 1024].into();
            let first = md5s.entry(chunk(0, &[1024]), &bytes).await.unwrap();
            assert_eq!(first.md5(), Some(Md5Sum::of(&bytes)));
            // If the MD5 were computed again, these other bytes would change the result.
            let again = md5s.entry(chunk(4 << 20, &[1024]), &Bytes::new()).await.unwrap();
            assert_eq!((again.md5(), again.runs[0].offset), (first.md5(), 4 << 20));
            let cut = md5s.entry(chunk(8 << 20, &[512, 512]), &bytes).await.unwrap();
            assert_eq!(cut.runs.iter().map(|run| run.md5).collect::<Vec<_>>(), [Md5Sum::of(&bytes[..512]); 2]);
        }
    }
}
