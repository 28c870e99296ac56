//! Fast detection of zeros.

/// Bytes that are compared before each branch: enough for vector registers, few enough to stop early.
const BLOCK: usize = 256;

/// Whether all bytes are zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // Most data does not begin with zeros, so that one comparison is enough.
    if bytes.first_chunk::<8>().is_some_and(|head| u64::from_ne_bytes(*head) != 0) {
        return false;
    }
    let mut blocks = bytes.chunks_exact(BLOCK);
    // Without a branch inside a block, the compiler uses vector instructions.
    blocks.all(|block| block.iter().fold(0_u8, |seen, &byte| seen | byte) == 0)
        && bytes[bytes.len() - bytes.len() % BLOCK..].iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zero_detects_any_set_bit() {
        let mut bytes = vec![0; 3 * BLOCK + 17];
        assert!(is_zero(&bytes));
        assert!(is_zero(&[]));
        for at in 0..bytes.len() {
            bytes[at] = 0x80;
            assert!(!is_zero(&bytes), "{at}");
            bytes[at] = 0;
        }
    }
}
