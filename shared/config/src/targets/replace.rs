//! Replaces a file atomically.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `text` to the file at `path`. Concurrent readers see either the old or the new text, and one of them remains
/// after a crash.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    // If the path is a symbolic link, its target is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".{:08x}.tmp", rand::random::<u32>()));
    let result = write(temporary.as_ref(), &path, text).and_then(|()| fs::rename(&temporary, &path));
    if result.is_err() {
        // The first error is reported, even if this call fails as well.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write(temporary: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(temporary)?;
    match fs::metadata(path) {
        Ok(metadata) => file.set_permissions(metadata.permissions())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
