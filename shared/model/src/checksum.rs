//! CRC-64/NVME checksums, which Azure Storage calls CRC-64.

use crc_fast::CrcAlgorithm;

const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;

/// The CRC-64/NVME of an empty byte string.
pub const CRC64_EMPTY: u64 = 0;

/// Returns the CRC-64/NVME of `bytes`. Azure Storage calls it CRC-64.
#[must_use]
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(ALGORITHM, bytes)
}

/// Computes the CRC-64/NVME of bytes that arrive in pieces.
#[derive(Debug)]
pub struct Crc64(crc_fast::Digest);

impl Default for Crc64 {
    fn default() -> Self {
        Self(crc_fast::Digest::new(ALGORITHM))
    }
}

impl Crc64 {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the checksum of all bytes that were added.
    #[must_use]
    pub fn finish(&self) -> u64 {
        self.0.finalize()
    }
}

/// Returns the CRC-64/NVME of two concatenated byte strings, from the checksum of each and the length of the second.
#[must_use]
pub fn combine_crc64(first: u64, second: u64, second_length: u64) -> u64 {
    crc_fast::checksum_combine(ALGORITHM, first, second, second_length)
}

/// Returns the CRC-64/NVME of concatenated pieces, from the checksum and length of each piece.
#[must_use]
pub fn concatenated_crc64(pieces: impl IntoIterator<Item = (u64, u64)>) -> u64 {
    let mut pieces = pieces.into_iter();
    // A combination takes about 0.15 ms. Most chunks are one run, which needs none.
    let Some((first, _)) = pieces.next() else { return CRC64_EMPTY };
    pieces.fold(first, |crc, (next, length)| combine_crc64(crc, next, length))
}
