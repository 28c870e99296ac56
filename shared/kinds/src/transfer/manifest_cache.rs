//! The cache of manifests. Each manifest is read once per process.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use goldfleet_model::artifact::{ArtifactRecord, DiskRef};
use goldfleet_model::hash::Digest;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::image::ImageRef;
use goldfleet_model::manifest::{Manifest, digest_of};
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_ports::blob_store::BlobStore;
use goldfleet_ports::error::{ErrorKind, PortError};
use tokio::sync::Mutex;

use crate::attempt_error::AttemptError;
use crate::outcome::StepError;

/// The maximum number of cached manifests. A fleet works on few images at a time, and the manifest of a large disk
/// takes megabytes.
const CAPACITY: usize = 4;

/// The most recently used manifests.
#[derive(Default)]
pub struct ManifestCache {
    recent: Mutex<VecDeque<(CacheKey, Arc<Manifest>)>>,
}

/// What a manifest was read for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CacheKey {
    image: ImageName,
    version: ImageVersion,
    manifest: Digest,
    /// The digest of the version. None if the manifest was read without the version's artifact record.
    artifact: Option<Digest>,
}

/// The reason why a manifest is not available.
#[derive(Debug)]
pub enum ManifestLoadError {
    /// The version was deleted or replaced, or its manifest is damaged. A retry cannot succeed.
    Missing(AttemptError),
    /// The manifest could not be read. A retry may succeed.
    Unavailable(PortError),
}

impl From<ManifestLoadError> for AttemptError {
    fn from(none: ManifestLoadError) -> Self {
        match none {
            ManifestLoadError::Missing(failed) => failed,
            ManifestLoadError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ManifestLoadError> for StepError {
    fn from(none: ManifestLoadError) -> Self {
        Self::Failed(none.into())
    }
}

impl ManifestCache {
    /// Returns the manifest of a disk of an image version from the cache or from the source store. The version must
    /// still exist with this content: its artifact record is read too.
    ///
    /// # Errors
    /// [`ManifestLoadError::Missing`] if record or manifest do not exist, or if the record does not match the digest because
    /// the version was replaced after the job was created. [`ManifestLoadError::Unavailable`] if this cannot be
    /// determined.
    pub async fn get(
        &self,
        blobs: &dyn BlobStore,
        source: &Store,
        image: &ImageRef,
        disk: &DiskRef,
    ) -> Result<Arc<Manifest>, ManifestLoadError> {
        let ImageRef { name, version, digest } = image.clone();
        let key = CacheKey { image: name, version, manifest: disk.manifest, artifact: Some(digest) };
        self.find(blobs, source, key).await
    }

    /// As [`ManifestCache::get`], for a disk of a version that may no longer exist.
    ///
    /// # Errors
    /// [`ManifestLoadError::Missing`] if the manifest does not exist, [`ManifestLoadError::Unavailable`] if this cannot be
    /// determined.
    pub async fn get_disk(
        &self,
        blobs: &dyn BlobStore,
        source: &Store,
        (image, version): (&ImageName, &ImageVersion),
        manifest: Digest,
    ) -> Result<Arc<Manifest>, ManifestLoadError> {
        let key = CacheKey { image: image.clone(), version: version.clone(), manifest, artifact: None };
        self.find(blobs, source, key).await
    }

    async fn find(
        &self,
        blobs: &dyn BlobStore,
        source: &Store,
        key: CacheKey,
    ) -> Result<Arc<Manifest>, ManifestLoadError> {
        // The lock is held during the read, so that a hundred operations that start together read the manifest once.
        let mut recent = self.recent.lock().await;
        if let Some(at) = recent.iter().position(|(kept, _)| *kept == key)
            && let Some((key, manifest)) = recent.remove(at)
        {
            recent.push_front((key, Arc::clone(&manifest)));
            return Ok(manifest);
        }
        if let Some(artifact) = key.artifact {
            check_version(blobs, source, &key, artifact).await?;
        }
        let manifest = Arc::new(read_manifest(blobs, source, &key).await?);
        recent.push_front((key, Arc::clone(&manifest)));
        recent.truncate(CAPACITY);
        Ok(manifest)
    }
}

/// Checks that the version exists with the content that a job was made for.
async fn check_version(
    blobs: &dyn BlobStore,
    source: &Store,
    key: &CacheKey,
    artifact: Digest,
) -> Result<(), ManifestLoadError> {
    let blob = source.container().artifact(&key.image, &key.version);
    let bytes = read(blobs, &blob).await?;
    let record = ArtifactRecord::decode(&bytes).map_err(|error| {
        let message = format!("{blob}: {}", error.with_remedy(&key.image, &key.version));
        ManifestLoadError::Missing(AttemptError::fatal(error.code(), message))
    })?;
    let has_disk = record.artifact.disks.iter().any(|disk| disk.disk.manifest == key.manifest);
    if record.artifact.digest() == artifact && has_disk {
        return Ok(());
    }
    let message = format!("{blob} is not the version that this job was made for");
    Err(ManifestLoadError::Missing(AttemptError::fatal("manifest-changed", message)))
}

async fn read_manifest(blobs: &dyn BlobStore, source: &Store, key: &CacheKey) -> Result<Manifest, ManifestLoadError> {
    let blob = source.container().manifest(&key.image, &key.version, &key.manifest);
    let damaged = |code: &str, message: String| ManifestLoadError::Missing(AttemptError::fatal(code, message));
    let bytes = read(blobs, &blob).await?;
    let manifest = Manifest::decode(&bytes)
        .map_err(|error| damaged(error.code(), format!("{blob}: {}", error.with_remedy(&key.image, &key.version))))?;
    if digest_of(&bytes) == key.manifest {
        return Ok(manifest);
    }
    Err(damaged("manifest-damaged", format!("{blob} does not have the content that its name stands for")))
}

async fn read(blobs: &dyn BlobStore, blob: &BlobAddress) -> Result<Bytes, ManifestLoadError> {
    blobs.get(blob, None).await.map_err(|error| match error.kind {
        ErrorKind::NotFound => ManifestLoadError::Missing(error.into()),
        _ => ManifestLoadError::Unavailable(error),
    })
}
