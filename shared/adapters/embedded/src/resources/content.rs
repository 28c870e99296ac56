//! The content of disks, snapshots, and images that are created from them: sparse files.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use goldfleet_disk::sparse::data_ranges;
use goldfleet_model::resource::ResourceId;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::Resource;
use uuid::Uuid;

use super::files::ResourceFiles;
use crate::blob_store::paths::io_error;

/// The bytes that are copied at once.
const BLOCK: u64 = 1 << 20;

/// The length of the footer that follows the data of an uploaded disk.
const FOOTER: u64 = 512;

/// Creates the content of a new disk or snapshot: zeros for an upload, or a copy of the source. Blocks.
///
/// The content exists before the resource. If the process is killed in between, the next creation of that name replaces
/// it.
pub(super) fn create(files: &ResourceFiles, made: &Resource, source: Option<&ResourceId>) -> PortResult<()> {
    write_content(files, &files.content(&made.id), source, size_of(made))
}

/// Creates the content of a disk of an image: a copy of the snapshot or disk that it is created from, which may be deleted
/// later. A disk of a VHD has no content, because its VHD stays. `lun` is None for the OS disk. Blocks.
pub(super) fn create_of_image(
    files: &ResourceFiles,
    image: &ResourceId,
    lun: Option<u32>,
    source: &Resource,
) -> PortResult<()> {
    let path = lun.map_or_else(|| files.content(image), |lun| files.content_of_data_disk(image, lun));
    write_content(files, &path, Some(&source.id), size_of(source))
}

/// The number of bytes of a disk or snapshot.
pub(super) fn size_of(resource: &Resource) -> u64 {
    resource.body.properties.disk().and_then(|disk| disk.disk_size_bytes).unwrap_or_default()
}

fn write_content(files: &ResourceFiles, path: &Path, source: Option<&ResourceId>, size: u64) -> PortResult<()> {
    let temporary = path.with_file_name(format!(".{}", Uuid::new_v4().simple()));
    let result = match source {
        Some(source) => copy_of(files, source, &temporary, size),
        None => new_file(&temporary, size + FOOTER).map(drop).map_err(|error| write_error(&temporary, error)),
    };
    let result = result.and_then(|()| fs::rename(&temporary, path).map_err(|error| write_error(path, error)));
    if result.is_err() {
        // The first error is more useful than an error of this cleanup.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_error(path: &Path, error: io::Error) -> PortError {
    io_error(&format!("could not write {}", path.display()), error)
}

fn new_file(path: &Path, length: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    file.set_len(length)?;
    Ok(file)
}

/// Copies the first `size` bytes of a source, without its footer and without its holes.
fn copy_of(files: &ResourceFiles, source: &ResourceId, path: &Path, size: u64) -> PortResult<()> {
    let from = files.content(source);
    // An open file keeps its content even if the source is removed during the copy.
    let source_file = File::open(&from).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("the content of {source} does not exist");
            PortError::new(ErrorKind::NotFound, message).with_code("copy-source-not-found")
        }
        _ => io_error(&format!("could not read {}", from.display()), error),
    })?;
    let copied = new_file(path, size).and_then(|copy| copy_data(&source_file, &copy, size));
    copied.map_err(|error| io_error(&format!("could not copy {} to {}", from.display(), path.display()), error))
}

fn copy_data(from: &File, to: &File, size: u64) -> io::Result<()> {
    let mut buffer = Vec::new();
    for range in data_ranges(from, size)? {
        let mut offset = range.start;
        while offset < range.end {
            let length = usize::try_from(BLOCK.min(range.end - offset)).map_err(io::Error::other)?;
            buffer.resize(length, 0);
            from.read_exact_at(&mut buffer, offset)?;
            to.write_all_at(&buffer, offset)?;
            offset += length as u64;
        }
    }
    Ok(())
}
