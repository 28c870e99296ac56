//! Operations on both kinds of blobs: bytes, properties, touch, delete.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Metadata, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use goldfleet_ports::ETag;
use goldfleet_ports::blob_store::BlobProperties;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use jiff::Timestamp;

use super::locks::{self, LockMode};
use super::paths::BlobPath;
use super::sidecar::{self, Sidecar};
use super::source::SourceReader;
use super::temp_blob::TempBlob;

/// The ETag of a file: its inode number, modification time and length. A different file has a different inode number,
/// and a touched file has a different time.
pub(super) fn etag(found: &Metadata) -> ETag {
    ETag(format!("{:x}-{:x}.{:09}-{:x}", found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

/// The modification time of a file. A time that does not fit into a timestamp becomes the earliest timestamp.
pub(super) fn modified(found: &Metadata) -> Timestamp {
    let nanosecond = i32::try_from(found.mtime_nsec()).unwrap_or_default();
    Timestamp::new(found.mtime(), nanosecond).unwrap_or(Timestamp::MIN)
}

/// Creates a block blob. Fails if it exists.
pub(super) fn write(blob_path: &BlobPath, body: &[u8]) -> PortResult<()> {
    let mut fresh = TempBlob::create(blob_path)?;
    fresh.file.write_all(body).map_err(|error| blob_path.io_error("write", error))?;
    fresh.publish(blob_path)
}

/// Creates a block blob from a range of another blob. Fails if it exists.
pub(super) fn write_from(blob_path: &BlobPath, source: &SourceReader, buffer: &mut [u8]) -> PortResult<()> {
    let mut fresh = TempBlob::create(blob_path)?;
    source.for_each_block(buffer, |piece| {
        fresh.file.write_all(piece).map_err(|error| blob_path.io_error("write", error))
    })?;
    fresh.publish(blob_path)
}

/// Reads a range, or the whole blob.
pub(super) fn read(blob_path: &BlobPath, range: Option<Range<u64>>) -> PortResult<Bytes> {
    let (file, found) = blob_path.open(OpenOptions::new().read(true))?.ok_or_else(|| blob_path.not_found())?;
    let range = range.unwrap_or(0..found.len());
    let outside = || {
        let message = format!("{}: bytes {} to {} are not in it", blob_path.blob, range.start, range.end);
        PortError::new(ErrorKind::Invalid, message)
    };
    let length = range.end.checked_sub(range.start).filter(|_| range.end <= found.len()).ok_or_else(outside)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| outside())?];
    file.read_exact_at(&mut bytes, range.start).map_err(|error| blob_path.io_error("read", error))?;
    Ok(bytes.into())
}

/// The properties of a blob. None if it does not exist.
pub(super) fn properties(blob_path: &BlobPath) -> PortResult<Option<BlobProperties>> {
    while let Some(found) = blob_path.stat()? {
        let sidecar = sidecar::read(blob_path);
        // A sidecar is deleted after its blob. If the sidecar is missing or damaged, the blob may have been deleted or
        // recreated in the meantime. Such a blob must not be taken for one that has no metadata.
        let suspicious = !matches!(sidecar, Ok(Some(_)));
        if suspicious && blob_path.stat()?.is_none_or(|again| again.ino() != found.ino()) {
            continue;
        }
        return Ok(Some(BlobProperties {
            length: found.len(),
            etag: etag(&found),
            modified: modified(&found),
            metadata: sidecar?.map_or_else(BTreeMap::new, |sidecar| sidecar.metadata),
        }));
    }
    Ok(None)
}

/// Gives a blob a new version and the modification time `now`.
pub(super) fn touch(blob_path: &BlobPath, if_match: &ETag, now: Timestamp) -> PortResult<()> {
    let held = LockedBlob::lock_blob(blob_path)?.ok_or_else(|| blob_path.not_found())?;
    held.check(blob_path, if_match)?;
    let before = held.found.modified().map_err(|error| blob_path.io_error("look at", error))?;
    // The time must increase even if clocks differ or stand still. Otherwise the ETag would not change.
    let time = SystemTime::from(now).max(before + Duration::from_nanos(1));
    held.file.set_times(FileTimes::new().set_modified(time)).map_err(|error| blob_path.io_error("touch", error))
}

/// Removes a blob and its sidecar.
pub(super) fn delete(blob_path: &BlobPath, if_match: Option<&ETag>) -> PortResult<bool> {
    let Some(held) = LockedBlob::lock_blob(blob_path)? else { return Ok(false) };
    if let Some(if_match) = if_match {
        held.check(blob_path, if_match)?;
    }
    fs::remove_file(&blob_path.file).map_err(|error| blob_path.io_error("remove", error))?;
    if held.sidecar.is_some() {
        // A sidecar that remains has no blob. The next page blob with that name overwrites it.
        let _ = fs::remove_file(&blob_path.sidecar);
    }
    blob_path.remove_empty_folders();
    Ok(true)
}

/// A lock on a blob. While it is held, no other goldfleet process touches, deletes or writes the blob.
struct LockedBlob {
    file: File,
    found: Metadata,
    sidecar: Option<Sidecar>,
}

impl LockedBlob {
    /// Locks the sidecar of a page blob, which blocks writers, and then the file of the blob.
    fn lock_blob(blob_path: &BlobPath) -> PortResult<Option<Self>> {
        if blob_path.stat()?.is_none() {
            return Ok(None);
        }
        let sidecar = Sidecar::open(blob_path, LockMode::Exclusive)?;
        let opened =
            locks::open_locked(blob_path, &blob_path.file, OpenOptions::new().read(true), LockMode::Exclusive)?;
        let Some(file) = opened else { return Ok(None) };
        let found = file.metadata().map_err(|error| blob_path.io_error("look at", error))?;
        Ok(Some(Self { file, found, sidecar }))
    }

    fn check(&self, blob_path: &BlobPath, if_match: &ETag) -> PortResult<()> {
        if etag(&self.found) == *if_match {
            return Ok(());
        }
        Err(PortError::new(
            ErrorKind::Conflict,
            format!("{} is no longer in the version that was seen", blob_path.blob),
        ))
    }
}
