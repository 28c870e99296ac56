//! Checksums, computed apart from the code under test.

/// The CRC-32 of a GPT.
pub fn crc32(bytes: &[u8]) -> u32 {
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes)).unwrap()
}

/// The ones' complement of the sum of all bytes but the 4 of the checksum at `at`, as in VHDs.
pub fn checksum(bytes: &[u8], at: usize) -> u32 {
    let others = bytes[..at].iter().chain(&bytes[at + 4..]);
    !others.fold(0, |sum: u32, &byte| sum.wrapping_add(byte.into()))
}

/// Writes the CRC-32C of a structure of a VHDX at its bytes 4 to 7.
pub fn seal(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let crc = u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes)).unwrap();
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}
