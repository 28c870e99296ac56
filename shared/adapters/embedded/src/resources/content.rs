//! The content of disks, snapshots, and images that are created from them: sparse files.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use goldfleet_disk::sparse::data_ranges;
use goldfleet_model::resource::{ImageDisk, ImageProperties, ResourceId};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::Resource;
use uuid::Uuid;

use super::files::ResourceFiles;
use super::vhd;
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

/// Creates the content of a disk of an image: a copy of the snapshot or disk that it is created from, which may be
/// deleted later. A disk of a VHD has no content, because its VHD stays. `lun` is None for the OS disk. Blocks.
pub(super) fn create_of_image(
    files: &ResourceFiles,
    image: &ResourceId,
    lun: Option<u32>,
    source: &Resource,
) -> PortResult<()> {
    let path = lun.map_or_else(|| files.content(image), |lun| files.content_of_data_disk(image, lun));
    write_content(files, &path, Some(&source.id), size_of(source))
}

/// Creates the content of a new disk: a copy of the first bytes of a file. Blocks.
pub(super) fn create_from(files: &ResourceFiles, made: &Resource, from: &Path) -> PortResult<()> {
    let size = size_of(made);
    replace_with(&files.content(&made.id), |path| copy_file(from, path, size))
}

/// Creates the contents of a gallery version from those of a managed image, or from its VHDs. Returns the sizes of the
/// OS disk and of the data disks. Blocks.
pub(super) fn create_from_image(
    files: &ResourceFiles,
    version: &ResourceId,
    image: &ResourceId,
    properties: &ImageProperties,
) -> PortResult<(u64, BTreeMap<u32, u64>)> {
    let disk = |lun: Option<u32>, disk: &ImageDisk| {
        let content = |of| lun.map_or_else(|| files.content(of), |lun| files.content_of_data_disk(of, lun));
        let (from, footer) = match disk.blob_uri.as_deref() {
            Some(blob) => (vhd::file_of(files.root(), blob)?, FOOTER),
            None => (content(image), 0),
        };
        let found = fs::metadata(&from).map_err(|error| missing_content(&from, error))?;
        let size = found.len().saturating_sub(footer);
        replace_with(&content(version), |path| copy_file(&from, path, size))?;
        Ok::<_, PortError>(size)
    };
    let size = properties.os_disk().map_or(Ok(0), |os_disk| disk(None, os_disk))?;
    let data = properties.data_disks().iter();
    let data = data.map(|data| Ok::<_, PortError>((data.lun, disk(Some(data.lun), &data.disk)?)));
    Ok((size, data.collect::<Result<_, _>>()?))
}

/// The number of bytes of a disk or snapshot.
pub(super) fn size_of(resource: &Resource) -> u64 {
    resource.body.properties.disk().and_then(|disk| disk.disk_size_bytes).unwrap_or_default()
}

fn write_content(files: &ResourceFiles, path: &Path, source: Option<&ResourceId>, size: u64) -> PortResult<()> {
    replace_with(path, |temporary| match source {
        Some(source) => copy_of(files, source, temporary, size),
        None => new_file(temporary, size + FOOTER).map(drop).map_err(|error| write_error(temporary, error)),
    })
}

/// Replaces a file by one that `write` creates under a temporary name.
fn replace_with(path: &Path, write: impl FnOnce(&Path) -> PortResult<()>) -> PortResult<()> {
    let temporary = path.with_file_name(format!(".{}", Uuid::new_v4().simple()));
    let result =
        write(&temporary).and_then(|()| fs::rename(&temporary, path).map_err(|error| write_error(path, error)));
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
    copy_file(&files.content(source), path, size)
}

fn copy_file(from: &Path, path: &Path, size: u64) -> PortResult<()> {
    // An open file keeps its content even if the source is removed during the copy.
    let source_file = File::open(from).map_err(|error| missing_content(from, error))?;
    let copied = new_file(path, size).and_then(|copy| copy_data(&source_file, &copy, size));
    copied.map_err(|error| io_error(&format!("could not copy {} to {}", from.display(), path.display()), error))
}

fn missing_content(from: &Path, error: io::Error) -> PortError {
    match error.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("the content {} does not exist", from.display());
            PortError::new(ErrorKind::NotFound, message).with_code("copy-source-not-found")
        }
        _ => io_error(&format!("could not read {}", from.display()), error),
    }
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
