//! Parents of differencing images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{Format, detect_format, ends_as_vhd, read_head};
use super::{OpenError, OpenOptions, Opener, open_file};
use crate::bytes::guid_text_be;
use crate::formats::vhd::{Located, locate};
use crate::formats::vhdx::Vhdx;
use crate::formats::vmdk::Siblings;
use crate::{DiskError, DiskReader};

impl Opener<'_> {
    /// The parent with one of the ids, among the files that the caller has named.
    pub(super) fn find_parent(
        &self,
        format: Format,
        ids: &[String],
        parents: &[PathBuf],
    ) -> Result<Arc<dyn DiskReader>, OpenError> {
        let expected = ids.join(" or ");
        if parents.is_empty() {
            return Err(OpenError::disk(format, &DiskError::ParentMissing { id: expected }));
        }
        let mut found = Vec::new();
        let mut failure = None;
        for (n, path) in parents.iter().enumerate() {
            let source: Arc<dyn DiskReader> = Arc::new(open_file(path).map_err(|error| of_parent(path, error))?);
            // Opening a differencing image searches its parents. Only the right one is opened, so that the number of
            // files that are opened does not grow exponentially with the length of the chain.
            match image_id(&source) {
                Some(id) if !ids.contains(&id) => {
                    found.push(id);
                    continue;
                }
                _ => {}
            }
            // An image is not its own parent. Without it, each level of the search has fewer files.
            let others: Vec<PathBuf> = [&parents[..n], &parents[n + 1..]].concat();
            let options = OpenOptions { format: None, ..self.options.clone() };
            let opener = Opener { options: &options, siblings: Siblings::of(path), deadline: self.deadline };
            match opener.open(source, &others) {
                Ok(parent) if parent.id.as_ref().is_some_and(|id| ids.contains(id)) => return Ok(parent.disk),
                Ok(parent) => found.push(parent.id.unwrap_or_else(|| format!("none ({})", parent.format))),
                Err(error) => failure = Some(of_parent(path, error)),
            }
        }
        let wrong_parent = || OpenError::disk(format, &DiskError::WrongParent { expected, found: found.join(", ") });
        Err(failure.unwrap_or_else(wrong_parent))
    }
}

/// The id of an image by its own structures. `None` if the image has to be opened for it.
fn image_id(source: &Arc<dyn DiskReader>) -> Option<String> {
    if ends_as_vhd(&**source) {
        return match locate(&**source).ok()? {
            Located::Last(footer) => Some(guid_text_be(&footer.unique_id())),
            _ => None,
        };
    }
    match detect_format(&read_head(&**source).ok()?)? {
        Format::Vhdx => Some(Vhdx::open(Arc::clone(source)).ok()?.id().to_owned()),
        _ => None,
    }
}

/// Names the parent in the message of an error.
fn of_parent(path: &Path, mut error: OpenError) -> OpenError {
    error.finding.message = format!("parent {}: {}", path.display(), error.finding.message);
    error
}
