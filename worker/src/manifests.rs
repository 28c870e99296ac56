//! Manifests, read once a process.

use std::collections::VecDeque;
use std::sync::Arc;

use goldfleet_shared::model::image::ImageRef;
use goldfleet_shared::model::manifest::{Manifest, digest_of, manifest_name};
use goldfleet_shared::model::store::Store;
use goldfleet_shared::ports::blob_store::BlobStore;
use tokio::sync::Mutex;

use crate::failed::Failed;

/// How many manifests are kept: a fleet works on few images at a time, and a large disk's manifest is megabytes.
const KEPT: usize = 4;

/// The manifests last used.
#[derive(Default)]
pub struct Manifests {
    recent: Mutex<VecDeque<(ImageRef, Arc<Manifest>)>>,
}

impl Manifests {
    /// The manifest of an image version, from the source store.
    ///
    /// # Errors
    /// Where it is not there, or is not the one that the digest names: the version was replaced since the job began.
    pub async fn get(&self, blobs: &dyn BlobStore, source: &Store, image: &ImageRef) -> Result<Arc<Manifest>, Failed> {
        // Held while reading, so that a hundred copies that begin together read it once.
        let mut recent = self.recent.lock().await;
        if let Some(at) = recent.iter().position(|(kept, _)| kept == image) {
            let found = recent.remove(at);
            if let Some((image, manifest)) = found {
                recent.push_front((image, Arc::clone(&manifest)));
                return Ok(manifest);
            }
        }
        let blob = source.container().blob(manifest_name(image.name.as_str(), image.version.as_str()));
        let bytes = blobs.get(&blob, None).await?;
        if digest_of(&bytes) != image.digest {
            return Err(Failed::fatal(
                "manifest-changed",
                format!("{blob} is not the version that this job was made for"),
            ));
        }
        let manifest =
            Manifest::decode(&bytes).map_err(|error| Failed::fatal("manifest-damaged", format!("{blob}: {error}")))?;
        let manifest = Arc::new(manifest);
        recent.push_front((image.clone(), Arc::clone(&manifest)));
        recent.truncate(KEPT);
        Ok(manifest)
    }
}
