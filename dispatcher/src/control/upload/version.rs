//! The blobs that make a version: the manifests of its disks, and the artifact record that is written last.

use std::collections::BTreeMap;

use bytes::Bytes;
use goldfleet_config::Config;
use goldfleet_model::artifact::{Artifact, ArtifactError, ArtifactRecord, DiskRef, DiskRole};
use goldfleet_model::checksum::crc64;
use goldfleet_model::hash::Digest;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::manifest::{MANIFESTS, Manifest, ManifestName, digest_of};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::{delete_listed, list, renew_if_old};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::retry::retry_transient;

use super::{UnreadableVersion, UploadError, UploadRequest};
use crate::control::artifacts::{EarlierVersion, read_optional};
use crate::control::context::ControlContext;

/// The number of attempts to write a blob that another process deletes or writes at the same time.
const MAX_WRITES: usize = 4;

/// A version that exists in the store.
pub(super) struct ExistingVersion {
    pub(super) artifact: Artifact,
    pub(super) digest: Digest,
    /// The manifests of its disks. One that is missing or damaged is not among them: an upload of the same content
    /// writes it again.
    manifests: BTreeMap<DiskRole, Manifest>,
}

impl ExistingVersion {
    /// Reads a version from the source store. None if it does not exist.
    pub(super) async fn read(
        ports: &Ports,
        config: &Config,
        request: &UploadRequest,
    ) -> Result<Option<Self>, UploadError> {
        let (image, version) = (&request.image, &request.version);
        let container = config.source.store().container();
        let Some(encoded) = read_optional(ports, &container.artifact(image, version)).await? else { return Ok(None) };
        let artifact = decode(request, &encoded)?;
        let mut manifests = BTreeMap::new();
        for DiskRef { role, manifest: digest } in artifact.disks.iter().map(|disk| disk.disk) {
            let encoded = read_optional(ports, &container.manifest(image, version, &digest)).await?;
            let intact = encoded.filter(|encoded| digest_of(encoded) == digest);
            manifests.extend(intact.and_then(|encoded| Some((role, Manifest::decode(&encoded).ok()?))));
        }
        Ok(Some(Self { digest: artifact.digest(), artifact, manifests }))
    }

    /// The manifest of a disk. None if it is missing or damaged.
    pub(super) fn manifest(&self, disk: DiskRole) -> Option<&Manifest> {
        self.manifests.get(&disk)
    }
}

fn decode(request: &UploadRequest, encoded: &[u8]) -> Result<Artifact, UploadError> {
    match ArtifactRecord::decode(encoded) {
        Ok(record) => Ok(record.artifact),
        Err(error) => Err(unreadable(request, error)),
    }
}

fn unreadable(request: &UploadRequest, error: ArtifactError) -> UploadError {
    let (image, version) = (request.image.clone(), request.version.clone());
    UploadError::Unreadable(Box::new(UnreadableVersion { image, version, error }))
}

/// Refuses a store to which an earlier release uploaded. Its versions have no artifact records, so this release does
/// not know which chunks they need.
pub(super) async fn refuse_earlier_store(ports: &Ports, store: &Container) -> Result<(), UploadError> {
    let manifests = list(ports.blobs.as_ref(), store, MANIFESTS).await?;
    let earlier = manifests.iter().find_map(|listed| match ManifestName::parse(&listed.name) {
        Some(ManifestName::Earlier(image, version)) => Some(EarlierVersion { image, version, store: store.clone() }),
        Some(ManifestName::Disk(..)) | None => None,
    });
    earlier.map_or(Ok(()), |earlier| Err(UploadError::Earlier(Box::new(earlier))))
}

/// Ensures that the store has a manifest, and keeps it from garbage collection until a record names it. Returns whether
/// it was written.
pub(super) async fn ensure_manifest(
    control: &ControlContext,
    (image, version): (&ImageName, &ImageVersion),
    manifest: &Manifest,
) -> PortResult<bool> {
    let encoded = Bytes::from(manifest.encode());
    let store = control.config.source.store().container();
    let blob = store.manifest(image, version, &digest_of(&encoded));
    for _ in 0..MAX_WRITES {
        if put(&control.ports, &blob, &encoded).await? {
            return Ok(true);
        }
        let Some(found) = control.ports.blobs.properties(&blob).await? else { continue };
        let name = blob.name.clone();
        let listed = ListedBlob { name, length: found.length, etag: found.etag, modified: found.modified };
        match read_optional(&control.ports, &blob).await? {
            Some(there) if there == encoded => {
                // A collection waits for a whole grace period. Half of it is reserved for clock differences.
                let age = control.config.cleanup.chunk_grace.get() / 2;
                if renew_if_old(&control.ports, &store, &listed, age).await? {
                    return Ok(false);
                }
            }
            // The name is a hash of the content, so the blob was damaged when it arrived, and its writer was killed.
            Some(_) => {
                tracing::warn!(%blob, "a manifest was damaged when it arrived: it is written again");
                delete_listed(&control.ports, &store, &listed).await?;
            }
            None => {}
        }
    }
    Err(changed_meanwhile(&blob))
}

/// Writes the artifact record. From then on, the version exists. If it exists with other content, returns that.
pub(super) async fn write_record(
    control: &ControlContext,
    request: &UploadRequest,
    record: &ArtifactRecord,
) -> Result<Option<ExistingVersion>, UploadError> {
    let store = control.config.source.store().container();
    let blob = store.artifact(&request.image, &request.version);
    let encoded = Bytes::from(record.encode());
    for _ in 0..MAX_WRITES {
        if put(&control.ports, &blob, &encoded).await? {
            return Ok(None);
        }
        match read_optional(&control.ports, &blob).await? {
            // This upload wrote it in a request whose response was lost.
            Some(there) if there == encoded => return Ok(None),
            Some(there) if decode(request, &there)?.digest() == record.artifact.digest() => return Ok(None),
            Some(_) => return ExistingVersion::read(&control.ports, &control.config, request).await,
            // The version was deleted just now.
            None => {}
        }
    }
    Err(changed_meanwhile(&blob).into())
}

/// Writes a blob if none exists. Returns whether this request wrote it.
async fn put(ports: &Ports, blob: &BlobAddress, encoded: &Bytes) -> PortResult<bool> {
    let crc = crc64(encoded);
    let write = || ports.blobs.put_blob(blob, encoded.clone(), crc.into());
    match retry_transient(ports.clock.as_ref(), PortError::is_retryable, write).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn changed_meanwhile(blob: &BlobAddress) -> PortError {
    PortError::new(ErrorKind::Conflict, format!("other processes changed {blob} in every attempt"))
}
