//! Page blobs: sparse files that are written under a fence.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use goldfleet_disk::sparse::data_ranges;
use goldfleet_model::ranges::split;
use goldfleet_ports::blob_store::{Fence, PAGE, check_clear};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult, SourceFault};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::locks::LockMode;
use super::paths::BlobPath;
use super::sidecar::Sidecar;
use super::temp_blob::TempBlob;

/// The bytes that are written if the file system does not support holes.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Creates a page blob. The sidecar is written first: a kill between the two writes leaves a sidecar without a blob,
/// which the next attempt takes over, and never a blob without an owner.
pub(super) fn create(
    blob_path: &BlobPath,
    length: u64,
    first: Fence,
    metadata: &BTreeMap<String, String>,
) -> PortResult<()> {
    if !length.is_multiple_of(PAGE) {
        let message = format!("{}: {length} is no length of a page blob: use a multiple of {PAGE}", blob_path.blob);
        return Err(PortError::new(ErrorKind::Invalid, message));
    }
    let fresh = TempBlob::create(blob_path)?;
    fresh.file.set_len(length).map_err(|error| blob_path.io_error("write", error))?;
    publish(blob_path, fresh, first, metadata)
}

fn publish(blob_path: &BlobPath, fresh: TempBlob, first: Fence, metadata: &BTreeMap<String, String>) -> PortResult<()> {
    let sidecar = Sidecar::create(blob_path, first, metadata)?;
    let published = fresh.publish(blob_path);
    if published.is_err() {
        // The sidecar is still locked, so it belongs to this attempt.
        let _ = fs::remove_file(&blob_path.sidecar);
    }
    drop(sidecar);
    published
}

/// Creates a page blob as a copy of another one, completely or not at all.
pub(super) fn copy(
    blob_path: &BlobPath,
    source: &BlobPath,
    first: Fence,
    metadata: &BTreeMap<String, String>,
) -> PortResult<()> {
    let Some((file, found)) = source.open(OpenOptions::new().read(true))? else {
        let message = format!("the source {} is not there", source.blob);
        return Err(PortError::new(ErrorKind::NotFound, message).with_source_fault(SourceFault::Missing));
    };
    let fresh = TempBlob::create(blob_path)?;
    copy_data(&file, found.len(), &fresh.file).map_err(|error| blob_path.io_error("copy to", error))?;
    publish(blob_path, fresh, first, metadata)
}

/// Copies the ranges with data. The rest remains a hole.
fn copy_data(from: &File, length: u64, to: &File) -> io::Result<()> {
    to.set_len(length)?;
    let mut buffer = vec![0; ZEROS.len()];
    for range in data_ranges(from, length)? {
        for (at, length) in split(&range, buffer.len()) {
            from.read_exact_at(&mut buffer[..length], at)?;
            to.write_all_at(&buffer[..length], at)?;
        }
    }
    Ok(())
}

/// Increments the sequence number and returns it as a fence.
pub(super) fn take_fence(blob_path: &BlobPath) -> PortResult<Fence> {
    Sidecar::of_page_blob(blob_path, LockMode::Exclusive)?.advance_fence(blob_path)
}

/// Writes pages. The caller has verified their bytes.
pub(super) fn write(blob_path: &BlobPath, fence: Fence, offset: u64, body: &[u8]) -> PortResult<()> {
    let writer = Writer::begin(blob_path, fence)?;
    writer.check_inside(blob_path, offset..offset.saturating_add(body.len() as u64))?;
    writer.file.write_all_at(body, offset).map_err(|error| blob_path.io_error("write", error))
}

/// Sets pages to zero, and frees their space if the file system supports it.
pub(super) fn clear(blob_path: &BlobPath, fence: Fence, range: Range<u64>) -> PortResult<()> {
    check_clear(&blob_path.blob, &range)?;
    let writer = Writer::begin(blob_path, fence)?;
    writer.check_inside(blob_path, range.clone())?;
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(&writer.file, punch, range.start, range.end - range.start) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(&writer.file, &range),
        done => done.map_err(io::Error::from),
    }
    .map_err(|error| blob_path.io_error("clear pages of", error))
}

fn write_zeros(file: &File, range: &Range<u64>) -> io::Result<()> {
    split(range, ZEROS.len()).try_for_each(|(at, length)| file.write_all_at(&ZEROS[..length], at))
}

/// The ranges that may contain data.
pub(super) fn ranges(blob_path: &BlobPath) -> PortResult<Vec<Range<u64>>> {
    let (file, found) = blob_path.open(OpenOptions::new().read(true))?.ok_or_else(|| blob_path.not_found())?;
    page_ranges(&file, found.len()).map_err(|error| blob_path.io_error("look for data in", error))
}

/// The pages that may contain data, in the form in which the Blob service lists them.
fn page_ranges(file: &File, length: u64) -> io::Result<Vec<Range<u64>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for data in data_ranges(file, length)? {
        let pages = data.start - data.start % PAGE..data.end.next_multiple_of(PAGE).min(length);
        match ranges.last_mut() {
            Some(last) if pages.start <= last.end => last.end = pages.end,
            _ => ranges.push(pages),
        }
    }
    Ok(ranges)
}

/// The permission to write. While it is held, no newer fence can be taken.
struct Writer {
    file: File,
    length: u64,
    _sidecar: Sidecar,
}

impl Writer {
    fn begin(blob_path: &BlobPath, fence: Fence) -> PortResult<Self> {
        let sidecar = Sidecar::of_page_blob(blob_path, LockMode::Shared)?;
        let present = sidecar.fence(blob_path)?;
        if fence < present {
            let message = format!("{}: the fence {} is over, {} was taken", blob_path.blob, fence.0, present.0);
            return Err(PortError::new(ErrorKind::Fenced, message));
        }
        let (file, found) = blob_path.open(OpenOptions::new().write(true))?.ok_or_else(|| blob_path.not_found())?;
        Ok(Self { file, length: found.len(), _sidecar: sidecar })
    }

    fn check_inside(&self, blob_path: &BlobPath, range: Range<u64>) -> PortResult<()> {
        if range.end <= self.length {
            return Ok(());
        }
        let message = format!("{}: {} to {} go beyond its end {}", blob_path.blob, range.start, range.end, self.length);
        Err(PortError::new(ErrorKind::Invalid, message))
    }
}
