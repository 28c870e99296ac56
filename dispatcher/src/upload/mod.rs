//! Upload: from a VHD to chunks and a manifest in the source store.
//!
//! Reading, zero-scanning, hashing and sending overlap: a few threads turn windows of the disk into chunks, in buffers
//! that go round; requests for chunks that the store lacks are in flight meanwhile. The manifest is written last. What
//! a killed upload has sent is found by its name the next time.

mod buffers;
mod pace;
mod record;
mod scan;
mod send;

use std::path::PathBuf;

use bytes::Bytes;
use goldfleet_shared::chunk::crc64;
use goldfleet_shared::model::ids::{ImageName, ImageVersion};
use goldfleet_shared::model::image::ImageRef;
use goldfleet_shared::model::manifest::{Digest, Generation, Manifest, OsType, digest_of, manifest_name};
use goldfleet_shared::model::store::BlobAddress;
use goldfleet_shared::model::upload::Upload;
use goldfleet_shared::ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_shared::vhd::{self, Disk, Report, VhdError};
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;

pub use pace::Rate;

/// What is to be uploaded, as what.
#[derive(Debug, Clone)]
pub struct UploadRequest {
    /// The VHD.
    pub file: PathBuf,
    /// The image's name.
    pub image: ImageName,
    /// Its version.
    pub version: ImageVersion,
    /// The operating system on it.
    pub os: OsType,
    /// The Hyper-V generation, where it is not to be deduced from the partition table.
    pub generation: Option<Generation>,
    /// How fast to send at most.
    pub limit: Option<Rate>,
}

/// An upload that came to its end.
#[derive(Debug, Clone)]
pub struct Uploaded {
    /// The image version, with its digest.
    pub image: ImageRef,
    /// Whether the source store had this version, with this content, before.
    pub already_there: bool,
    /// What was read, sent and found there.
    pub counts: Upload,
}

/// Why an upload ended without its manifest.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The file is no VHD that can become an OS disk; nothing was sent.
    #[error("{} can't be used as an OS disk", .0.file.display())]
    Refused(Box<Report>),
    /// The version is there with other content; nothing of it was changed.
    #[error(
        "{image} {version} is already there with other content ({there}, this file has {here}): \
         a version never changes; upload it under another version"
    )]
    OtherContent {
        /// The image.
        image: ImageName,
        /// The version.
        version: ImageVersion,
        /// The digest of what is there.
        there: Digest,
        /// The digest of the file.
        here: Digest,
    },
    /// The file can't be read.
    #[error(transparent)]
    Disk(#[from] VhdError),
    /// The file was written to while it was read.
    #[error("{} changed while it was read: upload it again when nobody writes to it", .0.display())]
    Changed(PathBuf),
    /// The store or the table failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Asked to stop. What was sent is not sent again.
    #[error("interrupted: the same command goes on where this one stopped")]
    Interrupted,
}

/// Uploads a VHD. `watch` is told how far it is, often.
///
/// # Errors
/// [`UploadError`].
pub async fn upload(
    desk: &Desk,
    request: &UploadRequest,
    watch: &(dyn Fn(&Upload) + Sync),
    stop: &CancellationToken,
) -> Result<Uploaded, UploadError> {
    let report = vhd::check(&request.file, request.generation);
    let Some(generation) = report.generation.or(request.generation).filter(|_| report.is_usable()) else {
        return Err(UploadError::Refused(Box::new(report)));
    };
    let before = fingerprint(request)?;
    let disk = Disk::open(&request.file)?;
    let container = desk.config.source.store().container();
    desk.ports.blobs.ensure_container(&container).await?;
    let blob = container.blob(manifest_name(request.image.as_str(), request.version.as_str()));
    let there = read_if_there(desk, &blob).await?.map(|bytes| digest_of(&bytes));

    let record = record::Record::begin(desk, request, watch).await?;
    // With the version already there, all that is to be found out is whether the content is the same.
    let send = there.is_none();
    let result = send::chunks(desk, disk, send, request.limit, &record, stop).await;
    let (disk, chunks) = match result {
        Ok(done) => done,
        Err(error) => {
            record.fail(desk).await;
            return Err(error);
        }
    };
    if fingerprint(request)? != before {
        record.fail(desk).await;
        return Err(UploadError::Changed(request.file.clone()));
    }
    let manifest = Manifest { os: request.os, generation, size: disk.size(), footer: disk.footer(), chunks };
    let encoded = Bytes::from(manifest.encode());
    let digest = digest_of(&encoded);
    let there = match there {
        Some(there) => Some(there),
        None => write_manifest(desk, &blob, encoded).await?,
    };
    if let Some(there) = there.filter(|there| *there != digest) {
        record.fail(desk).await;
        let (image, version) = (request.image.clone(), request.version.clone());
        return Err(UploadError::OtherContent { image, version, there, here: digest });
    }
    let counts = record.complete(desk).await?;
    let image = ImageRef { name: request.image.clone(), version: request.version.clone(), digest };
    Ok(Uploaded { image, already_there: there.is_some(), counts })
}

/// Writes the manifest: from here on the version is there. Returns the digest of one that was there first.
async fn write_manifest(desk: &Desk, blob: &BlobAddress, encoded: Bytes) -> Result<Option<Digest>, UploadError> {
    let crc = crc64(&encoded);
    let digest = digest_of(&encoded);
    let clock = desk.ports.clock.as_ref();
    let written = goldfleet_shared::retry::retrying(clock, PortError::is_retryable, || {
        desk.ports.blobs.put_blob(blob, encoded.clone(), crc)
    });
    match written.await {
        Ok(()) => Ok(None),
        Err(error) if error.kind == ErrorKind::AlreadyExists => {
            let there = read_if_there(desk, blob).await?.map(|bytes| digest_of(&bytes));
            // One's own, whose answer was lost, is not one that was there first.
            Ok(there.filter(|there| *there != digest))
        }
        Err(error) => Err(error.into()),
    }
}

async fn read_if_there(desk: &Desk, blob: &BlobAddress) -> PortResult<Option<Bytes>> {
    match desk.ports.blobs.get(blob, None).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// By what it is told that a file was written to.
fn fingerprint(request: &UploadRequest) -> Result<(u64, Option<std::time::SystemTime>), UploadError> {
    let metadata = std::fs::metadata(&request.file).map_err(|source| VhdError::unreadable(&request.file, source))?;
    Ok((metadata.len(), metadata.modified().ok()))
}
