//! Symbolic links in the directory cloud. A link that leads out of its root would let a write change files that do not
//! belong to it.

use std::fs;
use std::io;
use std::path::Path;

use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

/// Checks that no part of `path` below `root` is a symbolic link that leads out of the root.
///
/// # Errors
/// `Denied` with the code `account-unusable`, which names the link.
pub(crate) fn check_inside(root: &Path, path: &Path) -> PortResult<()> {
    let Ok(below) = path.strip_prefix(root) else { return Ok(()) };
    let mut part = root.to_owned();
    for name in below {
        part.push(name);
        // The parts below a missing one are missing too.
        let Ok(found) = fs::symlink_metadata(&part) else { return Ok(()) };
        if found.is_symlink() && leads_out(root, &part) {
            let message = format!(
                "{} is a symbolic link that leads out of {}: remove it, or mount the folder there",
                part.display(),
                root.display()
            );
            return Err(PortError::new(ErrorKind::Denied, message).with_code("account-unusable"));
        }
    }
    Ok(())
}

/// Whether a symbolic link leads out of the root. A link whose target does not exist counts as such: a write through it
/// could create the target. A link that cannot be followed, such as a loop, leads nowhere.
pub(crate) fn leads_out(root: &Path, link: &Path) -> bool {
    match (fs::canonicalize(root), fs::canonicalize(link)) {
        (Ok(root), Ok(target)) => !target.starts_with(root),
        (_, Err(error)) => error.kind() == io::ErrorKind::NotFound,
        (Err(_), _) => true,
    }
}
