//! The segments of an initramfs: plain or compressed archives.

use std::io::{self, BufRead, Read};

use super::{Initramfs, InitramfsError, cpio};
use crate::budget::Budget;
use crate::fs::FileReader;

/// Bytes that are read from the file at a time.
const BUFFER: usize = 256 << 10;
/// The most memory for an xz or lzma dictionary, in KiB. `xz -9` uses 64 MiB, and the kernel's build 128 MiB at most.
const MAX_DICTIONARY_KIB: u32 = 128 << 10;
/// The largest zstd window: the kernel refuses larger ones.
const MAX_WINDOW: u64 = 128 << 20;
/// The uncompressed size of a block in lz4's legacy format.
const LZ4_BLOCK: usize = 8 << 20;
const LZ4_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// Reads all segments of a file.
pub(super) fn read(file: &mut dyn FileReader, budget: &Budget, found: &mut Initramfs) -> Result<(), InitramfsError> {
    let mut input = Input { file, budget, buffer: Vec::new(), start: 0, offset: 0, failed: None };
    let result = all(&mut input, found);
    // The decoders replace an error of the file by their own.
    if let Some(error) = input.failed.take() {
        return Err(error.into());
    }
    if let Some(stop) = budget.stopped() {
        return Err(stop.into());
    }
    result
}

fn all(input: &mut Input<'_>, found: &mut Initramfs) -> Result<(), InitramfsError> {
    loop {
        input.skip_zeros().map_err(damaged)?;
        let magic = input.peek(6).map_err(damaged)?;
        match magic {
            [] => return Ok(()),
            [b'0', b'7', b'0', ..] => {
                let mut first = [0];
                input.read_exact(&mut first).map_err(damaged)?;
                cpio::read_archive(input, first[0], found)?;
            }
            [0x1f, 0x8b, ..] => cpio_in(flate2::bufread::GzDecoder::new(&mut *input), found)?,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd(input, found)?,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => xz(input, found)?,
            [0x5d, 0, 0, ..] => lzma(input, found)?,
            [a, b, c, d, ..] if [*a, *b, *c, *d] == LZ4_MAGIC => {
                let _memory = input.budget.reserve(2 * LZ4_BLOCK as u64)?;
                cpio_in(Lz4 { input, block: Vec::new(), at: 0 }, found)?;
            }
            [b'B', b'Z', b'h', ..] => return Err(InitramfsError::Unsupported("bzip2")),
            [0x89, b'L', b'Z', b'O', ..] => return Err(InitramfsError::Unsupported("LZO")),
            _ => return Err(InitramfsError::Damaged("it has neither an archive nor a known compression".into())),
        }
    }
}

fn cpio_in(mut decoder: impl Read, found: &mut Initramfs) -> Result<(), InitramfsError> {
    cpio::read_all(&mut io::BufReader::with_capacity(BUFFER, &mut decoder), found)
}

fn zstd(input: &mut Input<'_>, found: &mut Initramfs) -> Result<(), InitramfsError> {
    // The decoder keeps a window and the blocks that are decoded but not read yet.
    let _memory = input.budget.reserve(zstd_window(input.peek(18).map_err(damaged)?) + (1 << 20))?;
    let decoder = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(&mut *input, MAX_WINDOW)
        .map_err(|error| InitramfsError::Damaged(format!("its zstd compression is damaged: {error}")))?;
    cpio_in(decoder, found)
}

/// The window size that a frame's header states (RFC 8878, section 3.1.1.1), at most [`MAX_WINDOW`].
pub(super) fn zstd_window(header: &[u8]) -> u64 {
    let byte = |index: usize| header.get(index).copied().unwrap_or(0);
    let descriptor = byte(4);
    let window = if descriptor & 0x20 == 0 {
        let base = 1u64 << (10 + u32::from(byte(5) >> 3));
        base + base / 8 * u64::from(byte(5) & 7)
    } else {
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let mut field = [0; 8];
        for (to, from) in field.iter_mut().zip(header.iter().skip(5 + dictionary)) {
            *to = *from;
        }
        let size = u64::from_le_bytes(field);
        match descriptor >> 6 {
            0 => size & 0xff,
            1 => (size & 0xffff) + 256,
            2 => size & 0xffff_ffff,
            _ => size,
        }
    };
    window.min(MAX_WINDOW)
}

fn xz(input: &mut Input<'_>, found: &mut Initramfs) -> Result<(), InitramfsError> {
    let _memory = input.budget.reserve(u64::from(MAX_DICTIONARY_KIB) << 10)?;
    cpio_in(lzma_rust2::XzReader::new_mem_limit(&mut *input, false, MAX_DICTIONARY_KIB + 1024), found)
}

fn lzma(input: &mut Input<'_>, found: &mut Initramfs) -> Result<(), InitramfsError> {
    let _memory = input.budget.reserve(u64::from(MAX_DICTIONARY_KIB) << 10)?;
    let decoder =
        lzma_rust2::LzmaReader::new_mem_limit(&mut *input, MAX_DICTIONARY_KIB + 1024, None).map_err(damaged)?;
    cpio_in(decoder, found)
}

#[allow(clippy::needless_pass_by_value, reason = "used with map_err")]
fn damaged(error: io::Error) -> InitramfsError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => InitramfsError::Damaged("it is cut off".into()),
        _ => InitramfsError::Damaged(error.to_string()),
    }
}

/// A file as a buffered stream.
struct Input<'a> {
    file: &'a mut dyn FileReader,
    budget: &'a Budget,
    buffer: Vec<u8>,
    /// The first byte in the buffer that was not consumed.
    start: usize,
    /// The offset in the file of the buffer's end.
    offset: u64,
    failed: Option<crate::fs::FsError>,
}

impl Input<'_> {
    /// Appends to the buffer. Returns false at the end of the file.
    fn more(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + BUFFER, 0);
        let result = match self.budget.check() {
            Ok(()) => self.file.read_at(self.offset, &mut self.buffer[length..]),
            Err(stop) => Err(stop.into()),
        };
        let count = *result.as_ref().unwrap_or(&0);
        self.buffer.truncate(length + count);
        self.offset += count as u64;
        result.map(|count| count > 0).map_err(|error| {
            let message = error.to_string();
            self.failed.get_or_insert(error);
            io::Error::other(message)
        })
    }

    /// The next bytes, fewer than `count` at the end of the file. They are not consumed.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.start < count && self.more()? {}
        let end = self.buffer.len().min(self.start + count);
        Ok(&self.buffer[self.start..end])
    }

    fn skip_zeros(&mut self) -> io::Result<()> {
        loop {
            let zeros = self.fill_buf()?.iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 {
                return Ok(());
            }
            self.consume(zeros);
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.buffer.len() {
            self.more()?;
        }
        Ok(&self.buffer[self.start..])
    }

    fn consume(&mut self, amount: usize) {
        self.start += amount;
    }
}

/// lz4's legacy format: blocks of 8 MiB, each after its compressed length. It ends at the end of the file or at
/// anything that is not a length.
struct Lz4<'a, 'b> {
    input: &'a mut Input<'b>,
    block: Vec<u8>,
    at: usize,
}

impl Lz4<'_, '_> {
    fn next_block(&mut self) -> io::Result<bool> {
        while self.input.peek(4)? == LZ4_MAGIC {
            self.input.consume(4);
        }
        let Ok(length) = <[u8; 4]>::try_from(self.input.peek(4)?) else { return Ok(false) };
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length == 0 || length > lz4_flex::block::get_maximum_output_size(LZ4_BLOCK) {
            return Ok(false);
        }
        self.input.consume(4);
        let mut compressed = Vec::new();
        Read::take(&mut *self.input, length as u64).read_to_end(&mut compressed)?;
        if compressed.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block.resize(LZ4_BLOCK, 0);
        let size = lz4_flex::block::decompress_into(&compressed, &mut self.block)
            .map_err(|error| io::Error::other(format!("its lz4 compression is damaged: {error}")))?;
        self.block.truncate(size);
        self.at = 0;
        Ok(true)
    }
}

impl Read for Lz4<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let count = (self.block.len() - self.at).min(buffer.len());
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
