//! Text files that an operator names.

use std::fs;
use std::io;
use std::path::Path;

/// Reads a text file of at most `most` bytes.
///
/// # Errors
/// As [`fs::read_to_string`]. `InvalidInput` if the path is no file, such as a pipe, which might never end, or if the
/// file is larger. `InvalidData` if it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let found = fs::metadata(path)?;
    if !found.is_file() && !found.is_dir() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a file, found a pipe or a device"));
    }
    if found.len() > most {
        let message = format!("it has {} MiB; at most {} MiB are read", found.len() >> 20, most >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::new(error.kind(), "it is not text in UTF-8: save it in this encoding"),
        _ => error,
    })
}
