//! The buffer into which windows are read.

use std::ops::{Deref, Range};

use goldfleet_model::manifest::CHUNK_SIZE;

/// The size of a cache line in bytes. Reading, CRC and hash process 64 bytes at a time, which is slower if they cross
/// two lines.
const LINE: usize = 64;

/// The bytes of a window, and later of the chunk that it is packed to: at most 4 MiB, aligned to a cache line.
///
/// It can be used many times. It allocates its memory when it is first filled.
#[derive(Debug, Default)]
pub struct WindowBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
    /// The bytes after this length were never written, so they are zero.
    written: usize,
}

impl WindowBuffer {
    /// The capacity in bytes: the size of a window.
    #[expect(clippy::cast_possible_truncation, reason = "4 MiB fit 32 bits")]
    const CAPACITY: usize = CHUNK_SIZE as usize;

    /// Sets the length in bytes, at most 4 MiB. The bytes are zero, or the data that was there before.
    pub fn set_length(&mut self, length: usize) {
        if self.memory.is_empty() {
            // The system provides zeroed memory without touching its pages.
            self.memory = vec![0; Self::CAPACITY + LINE - 1];
            self.start = self.memory.as_ptr().align_offset(LINE);
        }
        self.length = length.min(Self::CAPACITY);
    }

    /// The bytes of a range, for writing.
    pub(super) fn data(&mut self, range: Range<usize>) -> &mut [u8] {
        self.written = self.written.max(range.end);
        &mut self.memory[self.start..][..self.length][range]
    }

    /// Sets the bytes of a range to zero.
    pub(super) fn clear(&mut self, range: Range<usize>) {
        let end = range.end.min(self.written);
        if range.start < end {
            self.data(range.start..end).fill(0);
        }
    }

    /// Moves `run` to the end of the first `packed` bytes.
    pub(super) fn append_run(&mut self, packed: usize, run: Range<usize>) {
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
    fn buffer_is_aligned_and_empty() {
        assert!(WindowBuffer::default().is_empty());
        let mut buffer = WindowBuffer::default();
        buffer.set_length(512);
        assert_eq!((buffer.as_ptr().align_offset(LINE), &*buffer), (0, &[0; 512][..]));
    }

    #[test]
    fn set_length_clears_old_data() {
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
