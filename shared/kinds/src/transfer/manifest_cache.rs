//! The cache of manifests. Each manifest is read once per process.

use std::collections::VecDeque;
use std::sync::Arc;

use goldfleet_model::image::ImageRef;
use goldfleet_model::manifest::{Manifest, ManifestError, digest_of};
use goldfleet_model::store::Store;
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
    recent: Mutex<VecDeque<(ImageRef, Arc<Manifest>)>>,
}

/// The reason why a manifest is not available.
#[derive(Debug)]
pub enum ManifestLoadError {
    /// The version was withdrawn or replaced, or its manifest is damaged. A retry cannot succeed.
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
    /// Returns the manifest of an image version from the cache or from the source store.
    ///
    /// # Errors
    /// [`ManifestLoadError::Missing`] if the manifest does not exist or does not match the digest because the version
    /// was replaced after the job was created. [`ManifestLoadError::Unavailable`] if this cannot be determined.
    pub async fn get(
        &self,
        blobs: &dyn BlobStore,
        source: &Store,
        image: &ImageRef,
    ) -> Result<Arc<Manifest>, ManifestLoadError> {
        // The lock is held during the read, so that a hundred operations that start together read the manifest once.
        let mut recent = self.recent.lock().await;
        if let Some(at) = recent.iter().position(|(kept, _)| kept == image) {
            let found = recent.remove(at);
            if let Some((image, manifest)) = found {
                recent.push_front((image, Arc::clone(&manifest)));
                return Ok(manifest);
            }
        }
        let blob = source.container().manifest(&image.name, &image.version);
        let bytes = blobs.get(&blob, None).await.map_err(|error| match error.kind {
            ErrorKind::NotFound => ManifestLoadError::Missing(error.into()),
            _ => ManifestLoadError::Unavailable(error),
        })?;
        if digest_of(&bytes) != image.digest {
            let message = format!("{blob} is not the version that this job was made for");
            return Err(ManifestLoadError::Missing(AttemptError::fatal("manifest-changed", message)));
        }
        let unreadable = |error: ManifestError| {
            let message = format!("{blob}: {}", error.with_remedy(&image.name, &image.version));
            ManifestLoadError::Missing(AttemptError::fatal(error.code(), message))
        };
        let manifest = Manifest::decode(&bytes).map_err(unreadable)?;
        let manifest = Arc::new(manifest);
        recent.push_front((image.clone(), Arc::clone(&manifest)));
        recent.truncate(CAPACITY);
        Ok(manifest)
    }
}
