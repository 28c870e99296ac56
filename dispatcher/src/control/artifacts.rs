//! Reads image versions from the source store: their artifact records, and the manifests of their disks.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use goldfleet_config::Config;
use goldfleet_model::artifact::{Artifact, ArtifactRecord, LoadedVersion};
use goldfleet_model::hash::Digest;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::Job;
use goldfleet_model::manifest::{Manifest, digest_of, earlier_manifest_name};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortResult};

use crate::control::context::{ControlError, MAX_IN_FLIGHT};

/// The source store has a version without an artifact record: an earlier release uploaded it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an earlier release uploaded {image} {version} to store {store}, and this release reads only versions with artifact \
     records; remove it with 'goldfleet cleanup --image {image} --version {version}', and upload it again: chunks that are \
     still in the store are not sent again"
)]
pub struct EarlierVersion {
    /// The image.
    pub image: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// The store.
    pub store: Container,
}

impl EarlierVersion {
    /// The code of the failure, listed in `docs/failures.md`.
    pub const CODE: &'static str = "manifest-version";
}

/// Reads the artifact record of an image version from the source store.
///
/// # Errors
/// [`ControlError::NoSuchImage`] if it does not exist, [`ControlError::EarlierVersion`] if an earlier release uploaded the
/// version, and [`ControlError::Refused`] if the record cannot be decoded.
pub async fn artifact_record(
    ports: &Ports,
    config: &Config,
    image: &ImageName,
    version: &ImageVersion,
) -> Result<ArtifactRecord, ControlError> {
    let store = config.source.store();
    let blob = store.container().artifact(image, version);
    let Some(bytes) = read_optional(ports, &blob).await? else {
        refuse_earlier(ports, config, image, version).await?;
        return Err(ControlError::NoSuchImage {
            image: image.to_string(),
            version: version.to_string(),
            store: store.to_string(),
        });
    };
    ArtifactRecord::decode(&bytes)
        .map_err(|error| ControlError::Refused(format!("{blob}: {}", error.with_remedy(image, version))))
}

/// Reads an image version with the manifests of its disks from the source store.
///
/// # Errors
/// As [`artifact_record`], and [`ControlError::Refused`] if a manifest is missing or cannot be decoded.
pub async fn load_version(
    ports: &Ports,
    config: &Config,
    image: &ImageName,
    version: &ImageVersion,
) -> Result<LoadedVersion, ControlError> {
    let artifact = artifact_record(ports, config, image, version).await?.artifact;
    load_disks(ports, config, artifact.named(image, version), artifact).await
}

/// Reads the image version of a job.
///
/// # Errors
/// As [`load_version`], and [`ControlError::Refused`] if the version was uploaded again with other content.
pub async fn load_version_of(ports: &Ports, config: &Config, job: &Job) -> Result<LoadedVersion, ControlError> {
    let Some(image) = job.image() else {
        return Err(ControlError::Refused("the job names no image version".to_owned()));
    };
    let version = load_version(ports, config, &image.name, &image.version).await?;
    if version.image.digest != image.digest {
        let message = format!("{image} was uploaded again with other content: dispatch it again");
        return Err(ControlError::Refused(message));
    }
    Ok(version)
}

/// Reads the manifests of a version's disks.
///
/// # Errors
/// [`ControlError::Refused`] if a manifest is missing or cannot be decoded.
pub async fn load_disks(
    ports: &Ports,
    config: &Config,
    image: ImageRef,
    artifact: Artifact,
) -> Result<LoadedVersion, ControlError> {
    let digests: Vec<Digest> = artifact.disks.iter().map(|disk| disk.disk.manifest).collect();
    let reads = futures::stream::iter(digests).map(|digest| read_manifest(ports, config, &image, digest));
    let manifests = reads.buffered(MAX_IN_FLIGHT).try_collect().await?;
    Ok(LoadedVersion { image, artifact, manifests })
}

async fn read_manifest(
    ports: &Ports,
    config: &Config,
    image: &ImageRef,
    digest: Digest,
) -> Result<Manifest, ControlError> {
    let (name, version) = (&image.name, &image.version);
    let blob = config.source.store().container().manifest(name, version, &digest);
    let refused = |why: String| ControlError::Refused(format!("{blob}: {why}"));
    let Some(bytes) = read_optional(ports, &blob).await? else {
        return Err(refused(format!("the manifest is missing; {}", upload_again(name, version))));
    };
    let manifest = Manifest::decode(&bytes).map_err(|error| refused(error.with_remedy(name, version)))?;
    if digest_of(&bytes) != digest {
        return Err(refused(format!("the manifest is of another disk; {}", upload_again(name, version))));
    }
    Ok(manifest)
}

/// The remedy for a version whose manifest is missing or damaged: an upload of the same content writes it again.
#[must_use]
pub fn upload_again(image: &ImageName, version: &ImageVersion) -> String {
    format!("upload the same source as --image {image} --version {version} again, which writes it again")
}

/// Refuses a version that an earlier release uploaded, if the source store has it.
///
/// # Errors
/// [`ControlError::EarlierVersion`], or if the store cannot be read.
async fn refuse_earlier(
    ports: &Ports,
    config: &Config,
    image: &ImageName,
    version: &ImageVersion,
) -> Result<(), ControlError> {
    let store = config.source.store().container();
    if ports.blobs.properties(&store.blob(earlier_manifest_name(image, version))).await?.is_none() {
        return Ok(());
    }
    let (image, version) = (image.clone(), version.clone());
    Err(Box::new(EarlierVersion { image, version, store }).into())
}

/// Reads a blob. None if it does not exist.
///
/// # Errors
/// If the store cannot be read.
pub async fn read_optional(ports: &Ports, blob: &BlobAddress) -> PortResult<Option<Bytes>> {
    match ports.blobs.get(blob, None).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
