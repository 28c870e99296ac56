//! Manifests, read once a process.

use std::collections::VecDeque;
use std::sync::Arc;

use goldfleet_model::image::ImageRef;
use goldfleet_model::manifest::{Manifest, ManifestError, digest_of};
use goldfleet_model::store::Store;
use goldfleet_ports::blob_store::BlobStore;
use goldfleet_ports::error::{ErrorKind, PortError};
use tokio::sync::Mutex;

use crate::failed::Failed;
use crate::outcome::StepError;

/// How many manifests are kept: a fleet works on few images at a time, and a large disk's manifest is megabytes.
const KEPT: usize = 4;

/// The manifests last used.
#[derive(Default)]
pub struct Manifests {
    recent: Mutex<VecDeque<(ImageRef, Arc<Manifest>)>>,
}

/// Why there is no manifest.
#[derive(Debug)]
pub enum NoManifest {
    /// The version was given up or replaced, or its manifest is damaged: there is none, whoever asks however often.
    Gone(Failed),
    /// It could not be read, which says nothing of it.
    Unread(PortError),
}

impl From<NoManifest> for Failed {
    fn from(none: NoManifest) -> Self {
        match none {
            NoManifest::Gone(failed) => failed,
            NoManifest::Unread(error) => error.into(),
        }
    }
}

impl From<NoManifest> for StepError {
    fn from(none: NoManifest) -> Self {
        Self::Failed(none.into())
    }
}

impl Manifests {
    /// The manifest of an image version, from the source store.
    ///
    /// # Errors
    /// [`NoManifest::Gone`] where it is not there, or is not the one that the digest names: the version was replaced since the
    /// job began. [`NoManifest::Unread`] where that is not known.
    pub async fn get(
        &self,
        blobs: &dyn BlobStore,
        source: &Store,
        image: &ImageRef,
    ) -> Result<Arc<Manifest>, NoManifest> {
        // Held while reading, so that a hundred copies that begin together read it once.
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
            ErrorKind::NotFound => NoManifest::Gone(error.into()),
            _ => NoManifest::Unread(error),
        })?;
        if digest_of(&bytes) != image.digest {
            let message = format!("{blob} is not the version that this job was made for");
            return Err(NoManifest::Gone(Failed::fatal("manifest-changed", message)));
        }
        let unreadable =
            |error: ManifestError| NoManifest::Gone(Failed::fatal(error.code(), format!("{blob}: {error}")));
        let manifest = Manifest::decode(&bytes).map_err(unreadable)?;
        let manifest = Arc::new(manifest);
        recent.push_front((image.clone(), Arc::clone(&manifest)));
        recent.truncate(KEPT);
        Ok(manifest)
    }
}
