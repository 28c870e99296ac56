//! A bounded cache of blocks. The checks before an upload read tables and directories in small parts, and each part
//! would be a request.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// The size of a block in bytes.
pub(super) const BLOCK: u64 = 256 * 1024;

/// The maximum number of blocks: 32 MiB.
const BLOCKS: usize = 128;

/// The blocks that were read last.
#[derive(Debug, Default)]
pub(super) struct BlockCache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    blocks: Vec<Block>,
    uses: u64,
}

#[derive(Debug)]
struct Block {
    number: u64,
    used: u64,
    bytes: Bytes,
}

impl BlockCache {
    /// A block, from the cache or from `read`. Two threads may read the same block.
    pub(super) fn block<E>(&self, number: u64, read: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.uses += 1;
            let now = kept.uses;
            if let Some(block) = kept.blocks.iter_mut().find(|block| block.number == number) {
                block.used = now;
                return Ok(block.bytes.clone());
            }
        }
        let bytes = read()?;
        // The cache has only complete blocks, also after a panic in another thread.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let block = Block { number, used: kept.uses, bytes: bytes.clone() };
        if kept.blocks.len() < BLOCKS {
            kept.blocks.push(block);
        } else if let Some(oldest) = kept.blocks.iter_mut().min_by_key(|block| block.used) {
            *oldest = block;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_is_read_once_and_cache_is_bounded() {
        let cache = BlockCache::default();
        let mut reads = 0;
        let mut block = |number| {
            cache.block::<()>(number, || {
                reads += 1;
                Ok(Bytes::from_static(b"block"))
            })
        };
        for number in [0, 0, 1, 0] {
            assert_eq!(block(number), Ok(Bytes::from_static(b"block")));
        }
        for number in 2..2 * BLOCKS as u64 {
            block(number).unwrap();
            block(0).unwrap();
        }
        assert_eq!(reads, 2 * BLOCKS, "block 0 is used often, so it is kept");
        assert_eq!(cache.0.lock().unwrap().blocks.len(), BLOCKS);
        assert_eq!(cache.block(999_999, || Err("broken")), Err("broken"));
    }
}
