//! What all blobs have in common: bytes, properties, touching, removing.

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

use super::fresh::Fresh;
use super::locks::{self, Mode};
use super::paths::Place;
use super::sidecar::{self, Sidecar};
use super::source::Source;

/// A version: a file's number, time and length. Another file has another number, and a touched one another time.
pub(super) fn etag(found: &Metadata) -> ETag {
    ETag(format!("{:x}-{:x}.{:09}-{:x}", found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

/// When a file was last written or touched. Times that no timestamp can hold are the earliest there is.
pub(super) fn modified(found: &Metadata) -> Timestamp {
    let nanosecond = i32::try_from(found.mtime_nsec()).unwrap_or_default();
    Timestamp::new(found.mtime(), nanosecond).unwrap_or(Timestamp::MIN)
}

/// Writes a block blob that is not there yet.
pub(super) fn write(place: &Place, body: &[u8]) -> PortResult<()> {
    let mut fresh = Fresh::begin(place)?;
    fresh.file.write_all(body).map_err(|error| place.fault("write", error))?;
    fresh.publish(place)
}

/// Writes a block blob that is not there yet, from a range of another.
pub(super) fn write_from(place: &Place, source: &Source, buffer: &mut [u8]) -> PortResult<()> {
    let mut fresh = Fresh::begin(place)?;
    source.read_through(buffer, |piece| fresh.file.write_all(piece).map_err(|error| place.fault("write", error)))?;
    fresh.publish(place)
}

/// Reads a range, or all.
pub(super) fn read(place: &Place, range: Option<Range<u64>>) -> PortResult<Bytes> {
    let (file, found) = place.open(OpenOptions::new().read(true))?.ok_or_else(|| place.not_found())?;
    let range = range.unwrap_or(0..found.len());
    let outside = || {
        let message = format!("{}: bytes {} to {} are not in it", place.blob, range.start, range.end);
        PortError::new(ErrorKind::Invalid, message)
    };
    let length = range.end.checked_sub(range.start).filter(|_| range.end <= found.len()).ok_or_else(outside)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| outside())?];
    file.read_exact_at(&mut bytes, range.start).map_err(|error| place.fault("read", error))?;
    Ok(bytes.into())
}

/// What is known of a blob.
pub(super) fn properties(place: &Place) -> PortResult<Option<BlobProperties>> {
    while let Some(found) = place.stat()? {
        let sidecar = sidecar::read(place);
        // A sidecar goes after its blob. Where it is not as it should be, the blob may just have been removed or made
        // anew, and must not be taken for one that never had any metadata.
        let suspicious = !matches!(sidecar, Ok(Some(_)));
        if suspicious && place.stat()?.is_none_or(|again| again.ino() != found.ino()) {
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

/// Gives a blob a new version and the time `now`.
pub(super) fn touch(place: &Place, if_match: &ETag, now: Timestamp) -> PortResult<()> {
    let held = Held::take(place)?.ok_or_else(|| place.not_found())?;
    held.check(place, if_match)?;
    let before = held.found.modified().map_err(|error| place.fault("look at", error))?;
    // Strictly newer, even where clocks differ or stand still: else the version would stay the same.
    let time = SystemTime::from(now).max(before + Duration::from_nanos(1));
    held.file.set_times(FileTimes::new().set_modified(time)).map_err(|error| place.fault("touch", error))
}

/// Removes a blob and its sidecar.
pub(super) fn delete(place: &Place, if_match: Option<&ETag>) -> PortResult<bool> {
    let Some(held) = Held::take(place)? else { return Ok(false) };
    if let Some(if_match) = if_match {
        held.check(place, if_match)?;
    }
    fs::remove_file(&place.file).map_err(|error| place.fault("remove", error))?;
    if held.sidecar.is_some() {
        // A sidecar that stays has no blob, and the next page blob of that name overwrites it.
        let _ = fs::remove_file(&place.sidecar);
    }
    place.remove_empty_folders();
    Ok(true)
}

/// A blob that no other goldfleet process touches, removes or writes until this is dropped.
struct Held {
    file: File,
    found: Metadata,
    sidecar: Option<Sidecar>,
}

impl Held {
    /// Locks the sidecar of a page blob, which keeps writers out, and then the blob's own file.
    fn take(place: &Place) -> PortResult<Option<Self>> {
        if place.stat()?.is_none() {
            return Ok(None);
        }
        let sidecar = Sidecar::open(place, Mode::Exclusive)?;
        let opened = locks::open_locked(place, &place.file, OpenOptions::new().read(true), Mode::Exclusive)?;
        let Some(file) = opened else { return Ok(None) };
        let found = file.metadata().map_err(|error| place.fault("look at", error))?;
        Ok(Some(Self { file, found, sidecar }))
    }

    fn check(&self, place: &Place, if_match: &ETag) -> PortResult<()> {
        if etag(&self.found) == *if_match {
            return Ok(());
        }
        Err(PortError::new(ErrorKind::Conflict, format!("{} is no longer in the version that was seen", place.blob)))
    }
}
