//! Replacing a file in one step.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Puts `text` into the file at `path`, so that whoever reads it sees the old text or the new one, and a crash leaves
/// one of them.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    // What a link points to is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".{:08x}.tmp", rand::random::<u32>()));
    let result = write(temporary.as_ref(), &path, text).and_then(|()| fs::rename(&temporary, &path));
    if result.is_err() {
        // Whether this works or not, the first error is the one to tell.
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
