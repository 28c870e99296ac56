//! What a window is read into.

use std::ops::{Deref, Range};

use goldfleet_model::manifest::CHUNK_SIZE;

/// A cache line. Reading, CRC and hash take 64 bytes at a time, and are slower where these lie in two lines.
const LINE: usize = 64;

/// The bytes of a window, and then of the chunk that it is packed to: at most 4 MiB, from the start of a cache line on.
///
/// It is made to be used again: it takes its memory when it is first filled, and gives it back when it is dropped.
#[derive(Debug, Default)]
pub struct WindowBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
    /// What lies behind so many bytes was never written, so it is zero.
    written: usize,
}

impl WindowBuffer {
    /// The most bytes that it holds: a window's.
    #[expect(clippy::cast_possible_truncation, reason = "4 MiB fit 32 bits")]
    const MOST: usize = CHUNK_SIZE as usize;

    /// Makes it hold `length` bytes, at most 4 MiB: zeros, and what was written there before.
    pub fn set_length(&mut self, length: usize) {
        if self.memory.is_empty() {
            // Asked for as zeros, pages that are never written are never made.
            self.memory = vec![0; Self::MOST + LINE - 1];
            self.start = self.memory.as_ptr().align_offset(LINE);
        }
        self.length = length.min(Self::MOST);
    }

    /// Bytes to write.
    pub(super) fn data(&mut self, range: Range<usize>) -> &mut [u8] {
        self.written = self.written.max(range.end);
        &mut self.memory[self.start..][..self.length][range]
    }

    /// Makes bytes zero.
    pub(super) fn clear(&mut self, range: Range<usize>) {
        let end = range.end.min(self.written);
        if range.start < end {
            self.data(range.start..end).fill(0);
        }
    }

    /// Leaves out what lies between the first `packed` bytes and `run`.
    pub(super) fn close_up(&mut self, packed: usize, run: Range<usize>) {
        if run.start != packed {
            self.data(0..run.end).copy_within(run, packed);
        }
    }
}

impl Deref for WindowBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..][..self.length]
    }
}

#[cfg(test)]
impl From<&[u8]> for WindowBuffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::default();
        buffer.set_length(bytes.len());
        buffer.data(0..bytes.len()).copy_from_slice(bytes);
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_with_a_cache_line_and_holds_nothing_at_first() {
        assert!(WindowBuffer::default().is_empty());
        let mut buffer = WindowBuffer::default();
        buffer.set_length(512);
        assert_eq!((buffer.as_ptr().align_offset(LINE), &*buffer), (0, &[0; 512][..]));
    }

    #[test]
    fn what_was_written_before_is_cleared() {
        let mut buffer = WindowBuffer::from(&[1; 2048][..]);
        buffer.set_length(0);
        buffer.set_length(4096);
        buffer.data(512..1024).fill(2);
        for gap in [0..512, 1024..4096] {
            buffer.clear(gap);
        }
        assert!(buffer.iter().enumerate().all(|(at, &byte)| byte == if (512..1024).contains(&at) { 2 } else { 0 }));
    }
}
