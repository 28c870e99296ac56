//! Verification: whether the content of stores and targets matches the manifests.
//!
//! Without reading content, it checks that every chunk exists with its length, that every VHD has its length, its
//! digest, its footer and data in all places where the disk has data, and that every managed image was created from
//! this content. When it reads content, it compares the checksum of every byte. Damaged chunks can be removed, so that
//! they are written again.

mod image;
pub mod record;
mod store;
mod vhd;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::stream::{self, StreamExt as _};
use goldfleet_config::Config;
use goldfleet_kinds::kind::{Probe, TemporaryBlob, Verification};
use goldfleet_model::artifact::{DiskRef, LoadedVersion};
use goldfleet_model::ids::Region;
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::Job;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_model::target::TargetKey;
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use serde::Serialize;

pub use store::MISSING;

use crate::control::artifacts::{artifact_record, load_disks};
use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::routes::uses_chunks;

/// The type of a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocationKind {
    /// A store of chunks.
    Store,
    /// A staged VHD.
    Vhd,
    /// A managed image.
    Image,
    /// The effect of an operation of another kind.
    Other,
}

/// A location whose content is not as required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyFault {
    /// The type of the location. Its name contains it too.
    #[serde(skip)]
    pub kind: LocationKind,
    /// The store, VHD or managed image.
    pub place: String,
    /// The chunk. None if the fault does not concern a chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<String>,
    /// What is wrong.
    pub fault: String,
    /// Whether the location could not be inspected, so that it is unknown whether its content is correct.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

/// What was inspected, and the faults that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Stores that were inspected.
    pub stores: usize,
    /// VHDs that were inspected.
    pub vhds: usize,
    /// VHDs that do not exist and are not needed, because their images exist.
    pub vhds_gone: usize,
    /// Managed images that were inspected.
    pub images: usize,
    /// Effects of operations of other kinds that were inspected.
    pub others: usize,
    /// Bytes whose checksum was compared.
    pub bytes_read: u64,
    /// Chunks that were removed because their content does not match their names.
    pub removed: usize,
    /// The faults.
    pub faults: Vec<VerifyFault>,
}

impl VerifyReport {
    /// Adds the result for another location. Bytes are counted separately while they are read.
    fn add(&mut self, other: Self) {
        self.stores += other.stores;
        self.vhds += other.vhds;
        self.vhds_gone += other.vhds_gone;
        self.images += other.images;
        self.others += other.others;
        self.removed += other.removed;
        self.faults.extend(other.faults);
    }
}

/// The locations that should contain a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyScope {
    /// Stores that should have every chunk.
    pub stores: BTreeSet<Store>,
    /// VHDs that should be complete, each with its disk.
    pub vhds: BTreeMap<BlobAddress, (DiskRef, VhdRequirement)>,
    /// Managed images that should be created from the version.
    pub images: BTreeSet<ImageLocation>,
    /// Operations whose kind can probe whether their effect is in place.
    pub probes: Vec<Operation>,
}

/// Whether a VHD is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VhdRequirement {
    /// The VHD has no image yet.
    Required,
    /// The image exists, so the VHD may be deleted.
    Optional,
}

/// The location of a managed image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageLocation {
    /// The image.
    pub id: ResourceId,
    /// Its region.
    pub region: Region,
    /// The tenant of its subscription. None if it is the credential's tenant.
    pub tenant: Option<String>,
}

impl VerifyScope {
    /// The locations to which a job copied its version, and those that had it before: the source store, the filled
    /// stores, the completed VHDs, and the images. For other work: the products of its operations.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub async fn scope_of_job(control: &ControlContext, job: &Job) -> Result<Self, ControlError> {
        let has_chunks = job.image().is_some() && uses_chunks(&job.subject);
        let mut places = if has_chunks { Self::scope_of_source(&control.config) } else { Self::default() };
        let rows: Vec<Operation> = control.jobs.operations(job).await?.into_iter().map(|row| row.value).collect();
        let delivers = |row: &&Operation| control.jobs.registry.delivers(row);
        let done = rows.iter().filter(|row| row.state.is_done()).filter(delivers);
        let delivered: BTreeSet<TargetKey> = done.filter_map(|row| Some(row.target()?.key())).collect();
        for row in rows.iter().filter(|row| row.state.is_done()) {
            // This program cannot verify operations of a kind that it does not know.
            let Some(kind) = control.jobs.registry.get(&row.kind) else { continue };
            match kind.verification(&control.ports, row) {
                Verification::Store(store) => drop(places.stores.insert(store)),
                Verification::Vhd(TemporaryBlob { blob, disk }) => {
                    let is_optional = row.target().is_some_and(|target| delivered.contains(&target.key()));
                    let needed = if is_optional { VhdRequirement::Optional } else { VhdRequirement::Required };
                    places.vhds.insert(blob, (disk, needed));
                }
                Verification::Image { id, region, tenant } => {
                    places.images.insert(ImageLocation { id, region, tenant });
                }
                Verification::Probe => places.probes.push(row.clone()),
            }
        }
        Ok(places)
    }

    /// The source store, for a version without a job.
    #[must_use]
    pub fn scope_of_source(config: &Config) -> Self {
        Self { stores: BTreeSet::from([config.source.store()]), ..Self::default() }
    }

    /// Whether there are places whose content the manifest describes.
    fn has_chunks(&self) -> bool {
        !self.stores.is_empty() || !self.vhds.is_empty()
    }

    fn all(&self) -> Vec<Location<'_>> {
        let stores = self.stores.iter().map(Location::Store);
        let vhds = self.vhds.iter().map(|(vhd, (disk, needed))| Location::Vhd(vhd, disk, *needed));
        let images = self.images.iter().map(Location::Image);
        stores.chain(vhds).chain(images).chain(self.probes.iter().map(Location::Probe)).collect()
    }
}

/// One location to inspect.
#[derive(Clone, Copy)]
enum Location<'a> {
    Store(&'a Store),
    Vhd(&'a BlobAddress, &'a DiskRef, VhdRequirement),
    Image(&'a ImageLocation),
    Probe(&'a Operation),
}

impl Location<'_> {
    /// A fault at this location. The text follows the location's name.
    fn describe_fault(self, fault: impl Into<String>) -> VerifyFault {
        let kind = match self {
            Self::Store(_) => LocationKind::Store,
            Self::Vhd(..) => LocationKind::Vhd,
            Self::Image(_) => LocationKind::Image,
            Self::Probe(_) => LocationKind::Other,
        };
        VerifyFault { kind, place: self.to_string(), chunk: None, fault: fault.into(), unseen: false }
    }
}

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(store) => write!(f, "store {store}"),
            Self::Vhd(vhd, ..) => write!(f, "VHD {vhd}"),
            Self::Image(image) => write!(f, "image {}", image.id),
            Self::Probe(operation) => write!(f, "{} {}", operation.kind, operation.place.label),
        }
    }
}

/// The options of a verification.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyOptions {
    /// Whether content is read and compared.
    pub read: bool,
    /// Whether chunks with a wrong length, or with wrong content that was read, are removed.
    pub remove: bool,
}

/// The progress of a verification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VerifyProgress {
    /// Locations that were inspected.
    #[serde(rename = "places")]
    pub locations: usize,
    /// The total number of locations.
    pub places_total: usize,
    /// Bytes whose checksum was compared.
    pub bytes_read: u64,
    /// The approximate total number of bytes. 0 if content is not read.
    pub bytes_total: u64,
}

/// Verifies a version at `places`, and reports progress to `watch`. A location that cannot be inspected is a fault, and
/// does not prevent the inspection of others. Without a version, only the effects of operations can be inspected.
///
/// # Errors
/// If the version does not exist or was replaced.
pub async fn verify(
    control: &ControlContext,
    image: Option<&ImageRef>,
    places: &VerifyScope,
    how: VerifyOptions,
    watch: &(dyn Fn(VerifyProgress) + Sync),
) -> Result<VerifyReport, ControlError> {
    // A version that the platform copied has no manifest.
    let version = match image.filter(|_| places.has_chunks()) {
        Some(image) => Some(current_version(&control.ports, &control.config, image).await?),
        None => None,
    };
    let bytes_total = version.as_ref().filter(|_| how.read).map_or(0, |version| estimated_bytes(places, version));
    let checking = VerifyRun {
        control,
        image,
        version: version.as_ref(),
        how,
        places_total: places.all().len(),
        places_seen: AtomicUsize::new(0),
        bytes_total,
        bytes_read: AtomicU64::new(0),
        watch,
    };
    // Reading the content of one location already has many requests in flight.
    let at_once = if how.read { 1 } else { MAX_IN_FLIGHT };
    let mut looked = stream::iter(places.all()).map(|place| checking.check_location(place)).buffered(at_once);
    let mut verified = VerifyReport::default();
    while let Some(one) = looked.next().await {
        verified.add(one);
    }
    drop(looked);
    verified.bytes_read = checking.bytes_read.into_inner();
    Ok(verified)
}

/// A version with its manifests, if it still has the same content.
async fn current_version(ports: &Ports, config: &Config, image: &ImageRef) -> Result<LoadedVersion, ControlError> {
    let artifact = artifact_record(ports, config, &image.name, &image.version).await?.artifact;
    let found = artifact.named(&image.name, &image.version);
    if found.digest == image.digest {
        return load_disks(ports, config, found, artifact).await;
    }
    Err(ControlError::Refused(format!(
        "{image} was replaced: it is {} now, not {}; 'goldfleet dispatch' it, and verify that job",
        found.digest, image.digest
    )))
}

/// The approximate number of bytes that are read at all locations.
fn estimated_bytes(places: &VerifyScope, version: &LoadedVersion) -> u64 {
    let vhds = places.vhds.values().filter_map(|(disk, _)| Some(version.manifest(disk)?.data_bytes()));
    places.stores.len() as u64 * version.artifact.data_bytes() + vhds.sum::<u64>()
}

/// A running verification.
struct VerifyRun<'a> {
    control: &'a ControlContext,
    /// The version, for images.
    image: Option<&'a ImageRef>,
    /// The version with its manifests, for stores and VHDs.
    version: Option<&'a LoadedVersion>,
    how: VerifyOptions,
    places_total: usize,
    places_seen: AtomicUsize,
    bytes_total: u64,
    bytes_read: AtomicU64,
    watch: &'a (dyn Fn(VerifyProgress) + Sync),
}

impl<'a> VerifyRun<'a> {
    /// The version that images must have.
    fn image_version(&self) -> PortResult<&'a ImageRef> {
        self.image.ok_or_else(|| PortError::new(ErrorKind::Invalid, "the job names no image version"))
    }

    /// The version that stores and VHDs must have.
    fn version(&self) -> PortResult<&'a LoadedVersion> {
        self.version.ok_or_else(|| PortError::new(ErrorKind::Invalid, "the job's version has no manifest"))
    }

    /// Inspects one location.
    async fn check_location(&self, place: Location<'_>) -> VerifyReport {
        let mut seen = VerifyReport::default();
        let looked = match place {
            Location::Store(store) => self.store(place, store, &mut seen).await,
            Location::Vhd(vhd, disk, needed) => self.vhd(place, vhd, disk, needed, &mut seen).await,
            Location::Image(image) => self.image(place, image, &mut seen).await,
            Location::Probe(operation) => self.probe(place, operation, &mut seen).await,
        };
        // Faults that were found before the error are kept.
        if let Err(error) = looked {
            seen.faults
                .push(VerifyFault { unseen: true, ..place.describe_fault(format!("cannot be checked: {error}")) });
        }
        self.places_seen.fetch_add(1, Ordering::Relaxed);
        self.report_progress();
        seen
    }

    /// Checks with the operation's kind whether its effect is in place.
    async fn probe(&self, at: Location<'_>, operation: &Operation, seen: &mut VerifyReport) -> PortResult<()> {
        let Some(kind) = self.control.jobs.registry.get(&operation.kind) else { return Ok(()) };
        seen.others = 1;
        let fault = match kind.probe(&self.control.ports, operation).await? {
            Probe::Done => return Ok(()),
            Probe::Absent => "is not there",
            Probe::Underway => "is not complete",
            Probe::Stale => "has other content",
            Probe::Foreign => "was not made by goldfleet",
        };
        seen.faults.push(at.describe_fault(fault));
        Ok(())
    }

    /// Counts bytes of content that were read.
    fn add_bytes_read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.report_progress();
    }

    fn report_progress(&self) {
        (self.watch)(VerifyProgress {
            locations: self.places_seen.load(Ordering::Relaxed),
            places_total: self.places_total,
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_total: self.bytes_total,
        });
    }
}
