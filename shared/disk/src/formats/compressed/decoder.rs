//! Decoders of all compressions. A stream may have several parts, as parallel compressors write them, and zero bytes
//! after the last one, as copying in large blocks leaves them.

use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::Arc;

use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

use super::Compression;
use crate::bytes::index;
use crate::{DiskError, DiskReader};

/// The maximum memory of a decoder: the dictionary of `xz -9` has 64 MiB, the window of `zstd --long` 128 MiB.
const XZ_MEMORY_KIB: u32 = 100 << 10;
const ZSTD_WINDOW: u64 = 128 << 20;

/// A decoder of a file from its beginning.
pub(super) fn new_decoder(source: &Arc<dyn DiskReader>, compression: Compression) -> Box<dyn Read + Send> {
    let input = BufReader::with_capacity(256 << 10, Input { source: Arc::clone(source), at: 0 });
    match compression {
        Compression::Gzip => Box::new(Members::<flate2::bufread::GzDecoder<_>>::new(input)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB)),
        Compression::Zstd => Box::new(ZstdFrames::new(input)),
        Compression::Bzip2 => Box::new(Members::<bzip2::bufread::BzDecoder<_>>::new(input)),
    }
}

/// A disk as a stream.
struct Input {
    source: Arc<dyn DiskReader>,
    at: u64,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = index((self.source.size() - self.at).min(buffer.len() as u64));
        self.source.read_at(self.at, &mut buffer[..length]).map_err(|error| match error {
            DiskError::Io(error) => error,
            error => io::Error::other(error),
        })?;
        self.at += length as u64;
        Ok(length)
    }
}

/// Whether another part of the stream follows. Zero bytes up to the end of the file are padding.
fn has_next_part(input: &mut BufReader<Input>) -> io::Result<bool> {
    let mut padded = false;
    loop {
        let bytes = input.fill_buf()?;
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        match (bytes.is_empty(), zeros == bytes.len()) {
            (true, _) => return Ok(false),
            (false, true) => padded = true,
            (false, false) if padded || zeros > 0 => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "other data follows the end of the stream"));
            }
            (false, false) => return Ok(true),
        }
        input.consume(zeros);
    }
}

/// A decoder of one part of a stream.
trait Member: Read {
    fn begin(input: BufReader<Input>) -> Self;

    /// The input after the part.
    fn into_input(self) -> BufReader<Input>;
}

impl Member for flate2::bufread::GzDecoder<BufReader<Input>> {
    fn begin(input: BufReader<Input>) -> Self {
        Self::new(input)
    }

    fn into_input(self) -> BufReader<Input> {
        self.into_inner()
    }
}

impl Member for bzip2::bufread::BzDecoder<BufReader<Input>> {
    fn begin(input: BufReader<Input>) -> Self {
        Self::new(input)
    }

    fn into_input(self) -> BufReader<Input> {
        self.into_inner()
    }
}

/// All parts of a stream.
struct Members<D> {
    /// `None` at the end of the stream.
    current: Option<D>,
}

impl<D: Member> Members<D> {
    fn new(input: BufReader<Input>) -> Self {
        Self { current: Some(D::begin(input)) }
    }
}

impl<D: Member> Read for Members<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(decoder) = &mut self.current {
            let length = decoder.read(buffer)?;
            if length > 0 {
                return Ok(length);
            }
            let Some(mut input) = self.current.take().map(D::into_input) else { break };
            if has_next_part(&mut input)? {
                self.current = Some(D::begin(input));
            }
        }
        Ok(0)
    }
}

/// All frames of a zstd stream, with their checksums verified.
struct ZstdFrames {
    input: BufReader<Input>,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl ZstdFrames {
    fn new(input: BufReader<Input>) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        Self { input, decoder, in_frame: false }
    }

    /// Begins the next frame. Returns false at the end of the stream.
    fn begin(&mut self) -> io::Result<bool> {
        while has_next_part(&mut self.input)? {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut self.input.by_ref().take(length.into()), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(io::ErrorKind::OutOfMemory.into()),
                Err(error) => return Err(self.error(error)),
            }
        }
        Ok(false)
    }

    /// The error of the decoder, or that the file has ended.
    fn error(&mut self, error: FrameDecoderError) -> io::Error {
        match self.input.fill_buf() {
            Ok([]) => io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => io::Error::other(error),
            Err(error) => error,
        }
    }
}

impl Read for ZstdFrames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::BlockDecodingStrategy::UptoBlocks;
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.begin()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                if let Err(error) = self.decoder.decode_blocks(&mut self.input, UptoBlocks(1)) {
                    return Err(self.error(error));
                }
            }
            let length = self.decoder.read(buffer)?;
            if length > 0 {
                return Ok(length);
            }
            let expected = self.decoder.get_checksum_from_data();
            if expected.is_some() && expected != self.decoder.get_calculated_checksum() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum of a frame is wrong"));
            }
            self.in_frame = false;
        }
    }
}
