//! The live set of the garbage collection: the chunks that a manifest refers to.
//!
//! If a manifest is not found, live chunks look like garbage. The live set is therefore either known to be complete, or
//! the collection stops with a [`LiveSetError`]:
//! - A source store is the configured one, or the source in a job's tree. Each source store must exist, must be listed
//!   completely, and must have at least one manifest, unless the operator says that all its versions were deleted. The
//!   configured source store must exist even then.
//! - All other stores are searched for manifests too, because each may be the source store of another configuration.
//! - Every blob under `manifests/` must be a readable manifest.
//! - The version of every job with unfinished work must be among the manifests.

use std::collections::{BTreeSet, HashSet};

use futures::{StreamExt as _, TryStreamExt as _};
use goldfleet_model::hash::{ChunkHash, Digest};
use goldfleet_model::ids::JobId;
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::Job;
use goldfleet_model::manifest::{MANIFESTS, Manifest, digest_of, manifest_name};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::chunk_store::list;
use goldfleet_ports::error::PortError;

use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::doctor::container_exists;

/// Why the live set is not known to be complete. Nothing may be deleted then.
#[derive(Debug, thiserror::Error)]
pub enum LiveSetError {
    /// A source store does not exist: `[source]` may be wrong.
    #[error("nothing was deleted: there is no source store {0}, so which chunks are in use is not known")]
    Missing(Container),
    /// A source store has no manifest, but chunks exist: `[source]` may be wrong.
    #[error(
        "nothing was deleted: source store {empty} has no manifests, but {holder} has chunks, \
         so which of them are in use is not known"
    )]
    Empty {
        /// The source store.
        empty: Container,
        /// A store that has chunks.
        holder: Container,
    },
    /// A store was not listed completely.
    #[error("nothing was deleted: store {store} cannot be listed completely: {error}")]
    Unlisted {
        /// The store.
        store: Container,
        /// The error of the service.
        error: Box<PortError>,
    },
    /// A blob under `manifests/` is not a readable manifest.
    #[error("nothing was deleted: manifest {manifest} cannot be read: {reason}")]
    Unreadable {
        /// The blob.
        manifest: BlobAddress,
        /// The cause.
        reason: String,
    },
    /// A job works with a version whose manifest was not found, so its source store is not known.
    #[error("nothing was deleted: job {job} works with {image}, whose manifest is in no known source store")]
    UnknownVersion {
        /// The job.
        job: JobId,
        /// The image version.
        image: Box<ImageRef>,
    },
}

impl LiveSetError {
    pub(crate) fn unlisted(store: &Container, error: PortError) -> Self {
        Self::Unlisted { store: store.clone(), error: Box::new(error) }
    }
}

/// The stores from which the live set is read.
#[derive(Debug)]
pub(crate) struct Roots {
    /// The source stores. Each must have manifests.
    pub(crate) sources: BTreeSet<Container>,
    /// Other stores, which may have manifests. They were listed shortly before.
    pub(crate) others: BTreeSet<Container>,
    /// The source store of the configuration. It is one of `sources`.
    pub(crate) configured: Container,
    /// Source stores whose versions were all deleted by the operator.
    pub(crate) given_up: BTreeSet<Container>,
}

impl Roots {
    /// Whether a store may be missing or unreachable.
    pub(crate) fn may_be_gone(&self, store: &Container) -> bool {
        self.given_up.contains(store) && *store != self.configured
    }

    /// Whether an error of this store makes the live set incomplete.
    pub(crate) fn needs(&self, store: &Container) -> bool {
        self.sources.contains(store) && !self.may_be_gone(store)
    }
}

/// The chunks and versions that manifests refer to.
#[derive(Debug, Default)]
pub(crate) struct LiveSet {
    chunks: HashSet<ChunkHash>,
    /// The name and digest of each manifest.
    versions: HashSet<(String, Digest)>,
}

impl LiveSet {
    /// Reads all manifests. `holder` is a store that has chunks, if there is one.
    ///
    /// # Errors
    /// [`LiveSetError`] if the set is not known to be complete.
    pub(crate) async fn read(
        control: &ControlContext,
        roots: &Roots,
        holder: Option<&Container>,
    ) -> Result<Self, ControlError> {
        let mut live = Self::default();
        for store in roots.sources.union(&roots.others) {
            let manifests = match list(control.ports.blobs.as_ref(), store, MANIFESTS).await {
                Ok(listed) => listed,
                Err(_) if roots.may_be_gone(store) => continue,
                Err(error) => return Err(LiveSetError::unlisted(store, error).into()),
            };
            if manifests.is_empty() && roots.needs(store) {
                check_empty_source(control, roots, store, holder).await?;
            }
            let mut reading = futures::stream::iter(manifests)
                .map(|listed| read_manifest(control, store, listed.name))
                .buffer_unordered(MAX_IN_FLIGHT);
            while let Some((name, digest, manifest)) = reading.try_next().await? {
                live.chunks.extend(manifest.chunks.iter().map(|chunk| chunk.hash));
                live.versions.insert((name, digest));
            }
        }
        Ok(live)
    }

    /// Whether a manifest refers to the chunk.
    pub(crate) fn contains(&self, chunk: &ChunkHash) -> bool {
        self.chunks.contains(chunk)
    }

    /// Checks that the version of each job with unfinished work was found. An unplanned job names no source store yet.
    /// Its row may be the only evidence of another source store.
    ///
    /// # Errors
    /// [`LiveSetError::UnknownVersion`] if a version was not found.
    pub(crate) async fn check_covers<'a>(
        &self,
        control: &ControlContext,
        jobs: impl IntoIterator<Item = &'a Job>,
    ) -> Result<(), ControlError> {
        for job in jobs {
            // Only the route `staging` uses chunks.
            let Some(image) = job.image().filter(|_| job.delivery().is_none()) else { continue };
            let name = manifest_name(image.name.as_str(), image.version.as_str());
            if !self.versions.contains(&(name, image.digest)) && control.has_unfinished_work(job).await? {
                let image = Box::new(image.clone());
                return Err(LiveSetError::UnknownVersion { job: job.id.clone(), image }.into());
            }
        }
        Ok(())
    }
}

/// Rejects a source store without manifests if it does not exist, or if another store has chunks.
async fn check_empty_source(
    control: &ControlContext,
    roots: &Roots,
    store: &Container,
    holder: Option<&Container>,
) -> Result<(), LiveSetError> {
    match container_exists(control, store).await {
        Err(error) => Err(LiveSetError::unlisted(store, error)),
        Ok(false) => Err(LiveSetError::Missing(store.clone())),
        Ok(true) if roots.given_up.contains(store) => Ok(()),
        Ok(true) => {
            holder.map_or(Ok(()), |holder| Err(LiveSetError::Empty { empty: store.clone(), holder: holder.clone() }))
        }
    }
}

/// Reads one manifest. A manifest that was deleted after it was listed is also an error. It is no longer listed when
/// the collection is run again.
async fn read_manifest(
    control: &ControlContext,
    store: &Container,
    name: String,
) -> Result<(String, Digest, Manifest), LiveSetError> {
    let blob = store.blob(name.as_str());
    let unreadable = |reason: String| LiveSetError::Unreadable { manifest: blob.clone(), reason };
    let bytes = control.ports.blobs.get(&blob, None).await.map_err(|error| unreadable(error.to_string()))?;
    let manifest = Manifest::decode(&bytes).map_err(|error| unreadable(error.to_string()))?;
    Ok((name, digest_of(&bytes), manifest))
}
