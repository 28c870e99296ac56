//! cpio archives in the format `newc`, which is the only one that the kernel unpacks.

use std::io::{self, Read};

use super::{Initramfs, InitramfsError};

/// Bytes of an entry's header: a magic number of 6 and 13 hexadecimal numbers of 8 digits.
const HEADER: usize = 110;
/// The longest name. The kernel's limit is `PATH_MAX`.
const MAX_NAME: u64 = 4096;
const FILE: u64 = 0o100_000;
const KIND: u64 = 0o170_000;

/// Reads entries until the end of `reader`. Several archives may follow each other, with zeros between them.
pub(super) fn read_all(reader: &mut dyn Read, found: &mut Initramfs) -> Result<(), InitramfsError> {
    loop {
        let Some(first) = skip_zeros(reader)? else { return Ok(()) };
        read_archive(reader, first, found)?;
    }
}

/// Reads one archive, whose first byte was already read, up to its trailer.
pub(super) fn read_archive(reader: &mut dyn Read, first: u8, found: &mut Initramfs) -> Result<(), InitramfsError> {
    let mut header = [0; HEADER];
    header[0] = first;
    fill(reader, &mut header[1..])?;
    loop {
        if !is_header(&header) {
            return Err(InitramfsError::Damaged("an archive in it is damaged".into()));
        }
        let (mode, size, name_length) = (field(&header, 1)?, field(&header, 6)?, field(&header, 11)?);
        if !(1..=MAX_NAME).contains(&name_length) {
            return Err(InitramfsError::Damaged(format!("a name in it has {name_length} bytes")));
        }
        let mut name = vec![0; usize::try_from(name_length).unwrap_or(0)];
        fill(reader, &mut name)?;
        skip(reader, padding(HEADER as u64 + name_length))?;
        let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(&name)).into_owned();
        if name == "TRAILER!!!" {
            return Ok(());
        }
        if found.name(&name, size)? && mode & KIND == FILE {
            let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
            fill(reader, &mut data)?;
            found.keep(&name, &data);
        } else {
            skip(reader, size)?;
        }
        skip(reader, padding(size))?;
        // The kernel accepts an archive that ends without a trailer.
        if !fill_or_end(reader, &mut header)? {
            return Ok(());
        }
    }
}

fn is_header(header: &[u8; HEADER]) -> bool {
    &header[..6] == b"070701" || &header[..6] == b"070702"
}

fn field(header: &[u8; HEADER], index: usize) -> Result<u64, InitramfsError> {
    let digits = &header[6 + index * 8..14 + index * 8];
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| InitramfsError::Damaged("a number in it is damaged".into()))
}

/// Names and data are padded to multiples of 4 bytes.
fn padding(length: u64) -> u64 {
    length.next_multiple_of(4) - length
}

/// The first byte that is not zero, or `None` at the end.
fn skip_zeros(reader: &mut dyn Read) -> Result<Option<u8>, InitramfsError> {
    let mut byte = [0];
    loop {
        if !fill_or_end(reader, &mut byte)? {
            return Ok(None);
        }
        if byte[0] != 0 {
            return Ok(Some(byte[0]));
        }
    }
}

fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<(), InitramfsError> {
    reader.read_exact(buffer).map_err(|error| damaged(&error))
}

/// Fills the buffer. Returns false if the reader is at its end.
fn fill_or_end(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<bool, InitramfsError> {
    let count = loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other.map_err(|error| damaged(&error))?,
        }
    };
    if count == 0 {
        return Ok(false);
    }
    fill(reader, &mut buffer[count..]).map(|()| true)
}

fn skip(reader: &mut dyn Read, count: u64) -> Result<(), InitramfsError> {
    let copied = io::copy(&mut reader.take(count), &mut io::sink()).map_err(|error| damaged(&error))?;
    if copied < count {
        return Err(damaged(&io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

fn damaged(error: &io::Error) -> InitramfsError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => InitramfsError::Damaged("it is cut off".into()),
        _ => InitramfsError::Damaged(error.to_string()),
    }
}
