//! From a disk to chunks: windows are read without their holes, zero runs are left out, the rest is packed, hashed and
//! summed.
//!
//! Hash and threshold were chosen by the benchmark `cargo bench -p goldfleet-tests --bench scan`; its figures are in
//! `docs/performance.md`. BLAKE3 takes a fifth of the time of SHA-256 (9.3 GiB/s a core against 1.9), and is still what a scan
//! spends most of its time on.

mod buffer;
mod pack;
mod scan;
mod zero;

pub use buffer::WindowBuffer;
pub use pack::{ZERO_RUN_THRESHOLD, pack, pack_with};
pub use scan::{read_window, windows};
pub use zero::is_zero;

use crc_fast::CrcAlgorithm;

const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;

/// The CRC-64/NVME of nothing.
pub const CRC64_EMPTY: u64 = 0;

/// The CRC-64/NVME of bytes: what Azure Storage calls CRC-64.
#[must_use]
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(ALGORITHM, bytes)
}

/// The CRC-64/NVME of bytes that come piece by piece.
#[derive(Debug)]
pub(crate) struct Crc64(crc_fast::Digest);

impl Default for Crc64 {
    fn default() -> Self {
        Self(crc_fast::Digest::new(ALGORITHM))
    }
}

impl Crc64 {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0.finalize()
    }
}

/// The CRC-64/NVME of two stretches of bytes one after the other, from theirs and the second's length.
#[must_use]
pub fn combine_crc64(first: u64, second: u64, second_length: u64) -> u64 {
    crc_fast::checksum_combine(ALGORITHM, first, second, second_length)
}
