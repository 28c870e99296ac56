//! Verification: whether what lies in stores and at targets is what the manifest says.
//!
//! Without reading content it is checked that every chunk is there with its length, that every VHD has its length, its
//! digest, its footer, and data in no place where the disk has none, and that every managed image was made of this content.
//! With it, every byte is read and its checksum compared. Chunks that are wrong can be removed, so that whole ones can take
//! their place.

mod image;
mod store;
mod vhd;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::stream::{self, StreamExt as _};
use goldfleet_kinds::kind::{Probe, Verification};
use goldfleet_model::ids::Region;
use goldfleet_model::image::{ImageRef, ManagedImageId};
use goldfleet_model::job::Job;
use goldfleet_model::manifest::Manifest;
use goldfleet_model::operation::{GroupId, Operation};
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_ports::error::PortResult;
use serde::Serialize;

pub use store::MISSING;

use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::request::manifest;

/// What a place is.
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

/// Where something is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyFault {
    /// What the place is, as its name says too.
    #[serde(skip)]
    pub kind: LocationKind,
    /// The store, VHD or managed image.
    pub place: String,
    /// The chunk, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<String>,
    /// What is wrong.
    pub fault: String,
    /// Whether nothing is known to be wrong, but that the place could not be looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

/// What was looked at, and what was wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Stores looked at.
    pub stores: usize,
    /// VHDs looked at.
    pub vhds: usize,
    /// VHDs that are gone and no longer needed, as their images are made.
    pub vhds_gone: usize,
    /// Managed images looked at.
    pub images: usize,
    /// Effects of operations of other kinds looked at.
    pub others: usize,
    /// Bytes whose checksum was compared.
    pub bytes_read: u64,
    /// Chunks removed, as they were not what their names say.
    pub removed: usize,
    /// What is wrong.
    pub faults: Vec<VerifyFault>,
}

impl VerifyReport {
    /// Adds what came of another place. Bytes are counted as they are read.
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

/// What a version should be found in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyScope {
    /// Stores that should have every chunk.
    pub stores: BTreeSet<Store>,
    /// VHDs that should be whole.
    pub vhds: BTreeMap<BlobAddress, VhdRequirement>,
    /// Managed images that should be made of it.
    pub images: BTreeSet<ImageLocation>,
    /// Operations whose kind probes whether their effect is in place.
    pub probes: Vec<Operation>,
}

/// Whether a VHD is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VhdRequirement {
    /// No image is made of it yet.
    Required,
    /// Its image is made: it may be gone.
    Optional,
}

/// Where a managed image should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageLocation {
    /// The image.
    pub id: ManagedImageId,
    /// Its region.
    pub region: Region,
    /// The tenant of its subscription, where that differs from the credential's.
    pub tenant: Option<String>,
}

impl VerifyScope {
    /// Where a job has brought its version or found it: the source, the stores that were filled, the VHDs that are done,
    /// and the images.
    ///
    /// # Errors
    /// Where the table can't be read.
    pub async fn scope_of_job(control: &ControlContext, job: &Job) -> Result<Self, ControlError> {
        let mut places = Self::scope_of_source(control);
        let rows: Vec<Operation> = control.operations(job).await?.into_iter().map(|row| row.value).collect();
        let delivers = |row: &&Operation| control.registry.delivers(row);
        let delivered: BTreeSet<&GroupId> =
            rows.iter().filter(|row| row.state.is_done()).filter(delivers).map(|row| row.id.group()).collect();
        for row in rows.iter().filter(|row| row.state.is_done()) {
            // What a kind does that this program does not know, it cannot verify either.
            let Some(kind) = control.registry.get(&row.kind) else { continue };
            match kind.verification(&control.ports, row) {
                Verification::Store(store) => drop(places.stores.insert(store)),
                Verification::Vhd(vhd) => {
                    let is_optional = delivered.contains(row.id.group());
                    let needed = if is_optional { VhdRequirement::Optional } else { VhdRequirement::Required };
                    places.vhds.insert(vhd, needed);
                }
                Verification::Image { id, region, tenant } => {
                    places.images.insert(ImageLocation { id, region, tenant });
                }
                Verification::Probe => places.probes.push(row.clone()),
            }
        }
        Ok(places)
    }

    /// The source, for a version without a job.
    #[must_use]
    pub fn scope_of_source(control: &ControlContext) -> Self {
        Self { stores: BTreeSet::from([control.config.source.store()]), ..Self::default() }
    }

    fn all(&self) -> Vec<Location<'_>> {
        let stores = self.stores.iter().map(Location::Store);
        let vhds = self.vhds.iter().map(|(vhd, needed)| Location::Vhd(vhd, *needed));
        let images = self.images.iter().map(Location::Image);
        stores.chain(vhds).chain(images).chain(self.probes.iter().map(Location::Probe)).collect()
    }
}

/// One place to look at.
#[derive(Clone, Copy)]
enum Location<'a> {
    Store(&'a Store),
    Vhd(&'a BlobAddress, VhdRequirement),
    Image(&'a ImageLocation),
    Probe(&'a Operation),
}

impl Location<'_> {
    /// What is wrong with it, in words that follow its name.
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
            Self::Vhd(vhd, _) => write!(f, "VHD {vhd}"),
            Self::Image(image) => write!(f, "image {}", image.id),
            Self::Probe(operation) => write!(f, "{} {}", operation.kind, operation.place.label),
        }
    }
}

/// How thoroughly to verify.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyOptions {
    /// Content too.
    pub read: bool,
    /// Chunks of another length, or that were read and have other bytes, are removed.
    pub remove: bool,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VerifyProgress {
    /// Stores, VHDs and images that were looked at.
    #[serde(rename = "places")]
    pub locations: usize,
    /// Of so many.
    pub places_total: usize,
    /// Bytes whose checksum was compared.
    pub bytes_read: u64,
    /// About how many there are; 0 where content is not read.
    pub bytes_total: u64,
}

/// Verifies a version at `locations`, and tells `watch` how far it is. A place that can't be looked at is a fault, and keeps no
/// other from being looked at.
///
/// # Errors
/// Where the version is not there or was replaced.
pub async fn verify(
    control: &ControlContext,
    image: &ImageRef,
    places: &VerifyScope,
    how: VerifyOptions,
    watch: &(dyn Fn(VerifyProgress) + Sync),
) -> Result<VerifyReport, ControlError> {
    let (found, manifest) = manifest(control, &image.name, &image.version).await?;
    if found.digest != image.digest {
        return Err(ControlError::Refused(format!(
            "{image} was replaced: it is {} now, not {}; 'goldfleet dispatch' it, and verify that job",
            found.digest, image.digest
        )));
    }
    let bytes_total = if how.read { estimated_bytes(places, &manifest) } else { 0 };
    let checking = VerifyRun {
        control,
        image,
        manifest: &manifest,
        how,
        places_total: places.all().len(),
        places_seen: AtomicUsize::new(0),
        bytes_total,
        bytes_read: AtomicU64::new(0),
        watch,
    };
    // Reading one place has many requests in flight already.
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

/// About how many bytes are read at all places.
fn estimated_bytes(places: &VerifyScope, manifest: &Manifest) -> u64 {
    (places.stores.len() + places.vhds.len()) as u64 * manifest.data_bytes()
}

/// A verification under way.
struct VerifyRun<'a> {
    control: &'a ControlContext,
    image: &'a ImageRef,
    manifest: &'a Manifest,
    how: VerifyOptions,
    places_total: usize,
    places_seen: AtomicUsize,
    bytes_total: u64,
    bytes_read: AtomicU64,
    watch: &'a (dyn Fn(VerifyProgress) + Sync),
}

impl VerifyRun<'_> {
    /// What came of looking at a place.
    async fn check_location(&self, place: Location<'_>) -> VerifyReport {
        let mut seen = VerifyReport::default();
        let looked = match place {
            Location::Store(store) => self.store(place, store, &mut seen).await,
            Location::Vhd(vhd, needed) => self.vhd(place, vhd, needed, &mut seen).await,
            Location::Image(image) => self.image(place, image, &mut seen).await,
            Location::Probe(operation) => self.probe(place, operation, &mut seen).await,
        };
        // What was found before stays found.
        if let Err(error) = looked {
            seen.faults
                .push(VerifyFault { unseen: true, ..place.describe_fault(format!("can't be looked at: {error}")) });
        }
        self.places_seen.fetch_add(1, Ordering::Relaxed);
        self.report_progress();
        seen
    }

    /// Whether a kind finds the effect of its operation in place.
    async fn probe(&self, at: Location<'_>, operation: &Operation, seen: &mut VerifyReport) -> PortResult<()> {
        let Some(kind) = self.control.registry.get(&operation.kind) else { return Ok(()) };
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

    /// Content was read.
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
