//! The live set of the garbage collection: the chunks that a manifest refers to.
//!
//! If a manifest is not found, live chunks look like garbage. The live set is therefore either known to be complete, or
//! the collection stops with a [`LiveSetError`]:
//! - A source store is the configured one, or the source in a job's tree. Each source store must exist, must be listed
//!   completely, and must have at least one artifact record, unless the operator says that all its versions were
//!   deleted. The configured source store must exist even then.
//! - All other stores are searched for records too, because each may be the source store of another configuration.
//! - Every blob under `artifacts/` must be a readable record, and every manifest that a record names must be readable.
//! - Every blob under `manifests/` must have the name of a manifest. A manifest that no record names belongs to an
//!   upload that has not ended, or that was killed: see `LiveSet::unnamed`.
//! - The version of every job with unfinished work must be among the records.

use std::collections::{BTreeSet, HashSet};

use futures::{StreamExt as _, TryStreamExt as _};
use goldfleet_model::artifact::{ARTIFACTS, ArtifactRecord, version_of};
use goldfleet_model::hash::{ChunkHash, Digest};
use goldfleet_model::ids::JobId;
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::Job;
use goldfleet_model::manifest::{MANIFESTS, Manifest, ManifestName, digest_of};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::list;
use goldfleet_ports::error::{PortError, PortResult};

use crate::control::artifacts::EarlierVersion;
use crate::control::context::{ControlError, MAX_IN_FLIGHT};
use crate::control::doctor::container_exists;
use crate::control::job_store::JobStore;
use crate::control::routes::uses_chunks;

/// Why the live set is not known to be complete. Nothing may be deleted then.
#[derive(Debug, thiserror::Error)]
pub enum LiveSetError {
    /// A source store does not exist: `[source]` may be wrong.
    #[error("nothing was deleted: there is no source store {0}, so the chunks in use are not known")]
    Missing(Container),
    /// A source store has no artifact record, but chunks exist: `[source]` may be wrong.
    #[error(
        "nothing was deleted: source store {empty} has no versions, but {holder} has chunks, \
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
    /// A blob under `artifacts/` or `manifests/` is not a readable artifact record or manifest.
    #[error("nothing was deleted: {blob} cannot be read: {reason}")]
    Unreadable {
        /// The blob.
        blob: BlobAddress,
        /// The cause.
        reason: String,
    },
    /// An earlier release uploaded a version.
    #[error("nothing was deleted: {0}")]
    Earlier(Box<EarlierVersion>),
    /// A job works with a version whose artifact record was not found, so its source store is not known.
    #[error("nothing was deleted: job {job} works with {image}, which is in no known source store")]
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
    /// The source stores. Each must have artifact records.
    pub(crate) sources: BTreeSet<Container>,
    /// Other stores, which may have artifact records. They were listed shortly before.
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

/// The versions, and the chunks that their manifests refer to.
#[derive(Debug, Default)]
pub(crate) struct LiveSet {
    chunks: HashSet<ChunkHash>,
    versions: HashSet<ImageRef>,
    /// The manifests that no artifact record names, with their stores.
    unnamed: Vec<(Container, ListedBlob)>,
}

impl LiveSet {
    /// Reads all artifact records, and the manifests that they name. `holder` is a store that has chunks, if there is
    /// one.
    ///
    /// # Errors
    /// [`LiveSetError`] if the set is not known to be complete.
    pub(crate) async fn read(ports: &Ports, roots: &Roots, holder: Option<&Container>) -> Result<Self, ControlError> {
        let mut live = Self::default();
        for store in roots.sources.union(&roots.others) {
            // Manifests are listed first: the record of a listed manifest may be written in between, and never the
            // reverse.
            let (manifests, records) = match list_versions(ports, store).await {
                Ok(listed) => listed,
                // An incomplete list proves nothing: only a store that does not exist has no versions.
                Err(_) if roots.may_be_gone(store) && !is_there(ports, store).await => continue,
                Err(error) => return Err(LiveSetError::unlisted(store, error).into()),
            };
            check_manifest_names(store, &manifests)?;
            if records.is_empty() && roots.needs(store) {
                check_empty_source(ports, roots, store, holder).await?;
            }
            live.add_store(ports, store, manifests, records).await?;
        }
        Ok(live)
    }

    /// Adds the versions of a store.
    async fn add_store(
        &mut self,
        ports: &Ports,
        store: &Container,
        manifests: Vec<ListedBlob>,
        records: Vec<ListedBlob>,
    ) -> Result<(), LiveSetError> {
        let mut named = HashSet::new();
        let mut reading = futures::stream::iter(records)
            .map(|listed| read_record(ports, store, listed.name))
            .buffer_unordered(MAX_IN_FLIGHT);
        while let Some(StoredVersion { image, manifests }) = reading.try_next().await? {
            self.versions.insert(image);
            for (blob, manifest) in manifests {
                named.insert(blob.name);
                self.chunks.extend(manifest.chunks.iter().map(|chunk| chunk.hash));
            }
        }
        let unnamed = manifests.into_iter().filter(|listed| !named.contains(&listed.name));
        self.unnamed.extend(unnamed.map(|listed| (store.clone(), listed)));
        Ok(())
    }

    /// The manifests that no artifact record names, with their stores: an upload has not written its record yet, or
    /// never will, or the version was deleted. Their chunks are not live. Like chunks, a manifest on which an upload
    /// relies was written or renewed recently.
    pub(crate) fn unnamed(&self) -> &[(Container, ListedBlob)] {
        &self.unnamed
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
        store: &JobStore,
        jobs: impl IntoIterator<Item = &'a Job>,
    ) -> Result<(), ControlError> {
        for job in jobs {
            let Some(image) = job.image().filter(|_| uses_chunks(&job.subject)) else { continue };
            if !self.versions.contains(image) && store.has_unfinished_work(job).await? {
                let image = Box::new(image.clone());
                return Err(LiveSetError::UnknownVersion { job: job.id.clone(), image }.into());
            }
        }
        Ok(())
    }
}

/// Whether a store is known to exist.
async fn is_there(ports: &Ports, store: &Container) -> bool {
    matches!(container_exists(ports, store).await, Ok(true))
}

/// Rejects a source store without versions if it does not exist, or if another store has chunks.
async fn check_empty_source(
    ports: &Ports,
    roots: &Roots,
    store: &Container,
    holder: Option<&Container>,
) -> Result<(), LiveSetError> {
    match container_exists(ports, store).await {
        Err(error) => Err(LiveSetError::unlisted(store, error)),
        Ok(false) => Err(LiveSetError::Missing(store.clone())),
        Ok(true) if roots.given_up.contains(store) => Ok(()),
        Ok(true) => {
            holder.map_or(Ok(()), |holder| Err(LiveSetError::Empty { empty: store.clone(), holder: holder.clone() }))
        }
    }
}

/// The manifests and the artifact records of a store.
async fn list_versions(ports: &Ports, store: &Container) -> PortResult<(Vec<ListedBlob>, Vec<ListedBlob>)> {
    let manifests = list(ports.blobs.as_ref(), store, MANIFESTS).await?;
    Ok((manifests, list(ports.blobs.as_ref(), store, ARTIFACTS).await?))
}

/// Rejects blobs that are not manifests of this release.
fn check_manifest_names(store: &Container, manifests: &[ListedBlob]) -> Result<(), LiveSetError> {
    for listed in manifests {
        match ManifestName::parse(&listed.name) {
            Some(ManifestName::Disk(..)) => {}
            Some(ManifestName::Earlier(image, version)) => {
                return Err(LiveSetError::Earlier(Box::new(EarlierVersion { image, version, store: store.clone() })));
            }
            None => {
                let blob = store.blob(listed.name.as_str());
                return Err(LiveSetError::Unreadable { blob, reason: "it is not the name of a manifest".to_owned() });
            }
        }
    }
    Ok(())
}

/// A version that a record describes, with the manifests of its disks.
struct StoredVersion {
    image: ImageRef,
    manifests: Vec<(BlobAddress, Manifest)>,
}

/// Reads an artifact record and the manifests that it names. A record that was deleted after it was listed is also an
/// error. It is no longer listed when the collection is run again.
async fn read_record(ports: &Ports, store: &Container, name: String) -> Result<StoredVersion, LiveSetError> {
    let blob = store.blob(name.as_str());
    let unreadable = |reason: String| LiveSetError::Unreadable { blob: blob.clone(), reason };
    let (image, version) =
        version_of(&name).ok_or_else(|| unreadable("it is not the name of an artifact record".to_owned()))?;
    let bytes = ports.blobs.get(&blob, None).await.map_err(|error| unreadable(error.to_string()))?;
    let record = ArtifactRecord::decode(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let mut manifests = Vec::with_capacity(record.artifact.disks.len());
    for disk in &record.artifact.disks {
        let blob = store.manifest(&image, &version, &disk.disk.manifest);
        let manifest = read_manifest(ports, &blob, disk.disk.manifest).await?;
        manifests.push((blob, manifest));
    }
    Ok(StoredVersion { image: record.artifact.named(&image, &version), manifests })
}

/// Reads a manifest with this digest.
async fn read_manifest(ports: &Ports, blob: &BlobAddress, digest: Digest) -> Result<Manifest, LiveSetError> {
    let unreadable = |reason: String| LiveSetError::Unreadable { blob: blob.clone(), reason };
    let bytes = ports.blobs.get(blob, None).await.map_err(|error| unreadable(error.to_string()))?;
    if digest_of(&bytes) != digest {
        return Err(unreadable("it does not have the digest that the artifact record names".to_owned()));
    }
    Manifest::decode(&bytes).map_err(|error| unreadable(error.to_string()))
}
