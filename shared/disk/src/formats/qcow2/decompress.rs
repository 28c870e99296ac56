//! Compressed clusters.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::header::Compression;
use crate::DiskError;

/// The maximum number of decoders that are kept for further clusters.
const MAX_KEPT: usize = 16;

/// Bytes of decompressed clusters that are kept: small reads often come from the same cluster.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// Decompresses clusters. Several threads may do so at once.
pub(super) struct Decompressor {
    compression: Compression,
    cluster_size: usize,
    deflate: Mutex<Vec<Decompress>>,
    zstd: Mutex<Vec<FrameDecoder>>,
    recent: Mutex<VecDeque<(u64, Arc<[u8]>)>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl Decompressor {
    pub(super) fn new(compression: Compression, cluster_size: usize) -> Self {
        Self { compression, cluster_size, deflate: Mutex::default(), zstd: Mutex::default(), recent: Mutex::default() }
    }

    /// Fills `part` with the bytes at `inside` of the cluster whose compressed data is at `offset`; `load` reads that
    /// data.
    pub(super) fn read(
        &self,
        offset: u64,
        inside: usize,
        part: &mut [u8],
        load: impl FnOnce() -> Result<Vec<u8>, DiskError>,
    ) -> Result<(), DiskError> {
        let damaged = || DiskError::damaged(format!("the compressed cluster at byte {offset} cannot be decompressed"));
        if part.len() == self.cluster_size {
            // A cluster that is read as a whole is probably not read again.
            return self.decompress(&load()?, part).ok_or_else(damaged);
        }
        // The list is valid whenever the lock is free, even after a panic in another thread.
        let recent = || self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = recent().iter().find(|(at, _)| *at == offset).map(|(_, bytes)| Arc::clone(bytes));
        let bytes = match kept {
            Some(bytes) => bytes,
            None => {
                let mut cluster = vec![0; self.cluster_size];
                self.decompress(&load()?, &mut cluster).ok_or_else(damaged)?;
                let bytes: Arc<[u8]> = cluster.into();
                let mut recent = recent();
                recent.push_back((offset, Arc::clone(&bytes)));
                while recent.len() > (MAX_KEPT_BYTES / self.cluster_size).clamp(1, 64) {
                    recent.pop_front();
                }
                bytes
            }
        };
        part.copy_from_slice(&bytes[inside..inside + part.len()]);
        Ok(())
    }

    /// Fills `cluster`; `None` if the data does not give a whole cluster.
    fn decompress(&self, data: &[u8], cluster: &mut [u8]) -> Option<()> {
        match self.compression {
            Compression::Deflate => {
                let mut decoder = take(&self.deflate).unwrap_or_else(|| Decompress::new(false));
                decoder.reset(false);
                let done = inflate(&mut decoder, data, cluster);
                keep(&self.deflate, decoder);
                done
            }
            Compression::Zstd => {
                let mut decoder = take(&self.zstd).unwrap_or_default();
                let mut stream = StreamingDecoder::new_with_decoder(data, &mut decoder).ok()?;
                let done = stream.read_exact(cluster).ok();
                keep(&self.zstd, decoder);
                done
            }
        }
    }
}

/// Inflates until the cluster is full. Further data belongs to other clusters.
fn inflate(decoder: &mut Decompress, data: &[u8], cluster: &mut [u8]) -> Option<()> {
    loop {
        let (read, written) = (decoder.total_in(), decoder.total_out());
        let (from, to) = (usize::try_from(read).ok()?, usize::try_from(written).ok()?);
        if to == cluster.len() {
            return Some(());
        }
        let status = decoder.decompress(data.get(from..)?, cluster.get_mut(to..)?, FlushDecompress::None).ok()?;
        let stalled = (decoder.total_in(), decoder.total_out()) == (read, written);
        let full = decoder.total_out() == cluster.len() as u64;
        if !full && (status == Status::StreamEnd || stalled) {
            return None;
        }
    }
}

fn take<T>(pool: &Mutex<Vec<T>>) -> Option<T> {
    pool.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn keep<T>(pool: &Mutex<Vec<T>>, item: T) {
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.len() < MAX_KEPT {
        pool.push(item);
    }
}
