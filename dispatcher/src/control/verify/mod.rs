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
use goldfleet_model::ids::Region;
use goldfleet_model::image::{ImageRef, ManagedImageId};
use goldfleet_model::job::Job;
use goldfleet_model::manifest::Manifest;
use goldfleet_model::operation::{OperationState, Work};
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_model::target::Target;
use serde::Serialize;

pub use store::MISSING;

use crate::control::desk::{Desk, DeskError, IN_FLIGHT};
use crate::control::request::manifest;

/// What a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// A store of chunks.
    Store,
    /// A staged VHD.
    Vhd,
    /// A managed image.
    Image,
}

/// Where something is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What the place is, as its name says too.
    #[serde(skip)]
    pub kind: PlaceKind,
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
pub struct Verified {
    /// Stores looked at.
    pub stores: usize,
    /// VHDs looked at.
    pub vhds: usize,
    /// VHDs that are gone and no longer needed, as their images are made.
    pub vhds_gone: usize,
    /// Managed images looked at.
    pub images: usize,
    /// Bytes whose checksum was compared.
    pub bytes_read: u64,
    /// Chunks removed, as they were not what their names say.
    pub removed: usize,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl Verified {
    /// Adds what came of another place. Bytes are counted as they are read.
    fn add(&mut self, other: Self) {
        self.stores += other.stores;
        self.vhds += other.vhds;
        self.vhds_gone += other.vhds_gone;
        self.images += other.images;
        self.removed += other.removed;
        self.faults.extend(other.faults);
    }
}

/// What a version should be found in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Stores that should have every chunk.
    pub stores: BTreeSet<Store>,
    /// VHDs that should be whole.
    pub vhds: BTreeMap<BlobAddress, Needed>,
    /// Managed images that should be made of it.
    pub images: BTreeSet<ImagePlace>,
}

/// Whether a VHD is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// No image is made of it yet.
    Still,
    /// Its image is made: it may be gone.
    NoLonger,
}

/// Where a managed image should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImagePlace {
    /// The image.
    pub id: ManagedImageId,
    /// Its region.
    pub region: Region,
    /// The tenant of its subscription, where that differs from the credential's.
    pub tenant: Option<String>,
}

impl Places {
    /// Where a job has brought its version or found it: the source, the stores that were filled, the VHDs that are done,
    /// and the images.
    ///
    /// # Errors
    /// Where the table can't be read.
    pub async fn of_job(desk: &Desk, job: &Job) -> Result<Self, DeskError> {
        let mut places = Self::source(desk);
        let (mut staged, mut made) = (Vec::new(), BTreeSet::new());
        for row in desk.ports.table.operations(&job.id).await? {
            if !matches!(row.value.state, OperationState::Succeeded | OperationState::Skipped) {
                continue;
            }
            match row.value.work {
                Work::Seed { store, .. } => drop(places.stores.insert(store)),
                Work::Copy { target, .. } => staged.push(target),
                Work::Image { target, name, .. } => {
                    made.insert(target.key());
                    let id = target.image(name);
                    places.images.insert(ImagePlace { id, region: target.region, tenant: target.tenant });
                }
            }
        }
        let needed = |target: &Target| if made.contains(&target.key()) { Needed::NoLonger } else { Needed::Still };
        places.vhds = staged.iter().map(|target| (desk.ports.vhd(target, &job.image), needed(target))).collect();
        Ok(places)
    }

    /// The source, for a version without a job.
    #[must_use]
    pub fn source(desk: &Desk) -> Self {
        Self { stores: BTreeSet::from([desk.config.source.store()]), ..Self::default() }
    }

    fn all(&self) -> Vec<Place<'_>> {
        let stores = self.stores.iter().map(Place::Store);
        let vhds = self.vhds.iter().map(|(vhd, needed)| Place::Vhd(vhd, *needed));
        stores.chain(vhds).chain(self.images.iter().map(Place::Image)).collect()
    }
}

/// One place to look at.
#[derive(Clone, Copy)]
enum Place<'a> {
    Store(&'a Store),
    Vhd(&'a BlobAddress, Needed),
    Image(&'a ImagePlace),
}

impl Place<'_> {
    /// What is wrong with it, in words that follow its name.
    fn wrong(self, fault: impl Into<String>) -> Fault {
        let kind = match self {
            Self::Store(_) => PlaceKind::Store,
            Self::Vhd(..) => PlaceKind::Vhd,
            Self::Image(_) => PlaceKind::Image,
        };
        Fault { kind, place: self.to_string(), chunk: None, fault: fault.into(), unseen: false }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(store) => write!(f, "store {store}"),
            Self::Vhd(vhd, _) => write!(f, "VHD {vhd}"),
            Self::Image(image) => write!(f, "image {}", image.id),
        }
    }
}

/// How thoroughly to verify.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// Content too.
    pub read: bool,
    /// Chunks of another length, or that were read and have other bytes, are removed.
    pub remove: bool,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Stores, VHDs and images that were looked at.
    pub places: usize,
    /// Of so many.
    pub places_total: usize,
    /// Bytes whose checksum was compared.
    pub bytes_read: u64,
    /// About how many there are; 0 where content is not read.
    pub bytes_total: u64,
}

/// Verifies a version at `places`, and tells `watch` how far it is. A place that can't be looked at is a fault, and keeps no
/// other from being looked at.
///
/// # Errors
/// Where the version is not there or was replaced.
pub async fn verify(
    desk: &Desk,
    image: &ImageRef,
    places: &Places,
    how: How,
    watch: &(dyn Fn(Seen) + Sync),
) -> Result<Verified, DeskError> {
    let (found, manifest) = manifest(desk, &image.name, &image.version).await?;
    if found.digest != image.digest {
        return Err(DeskError::Refused(format!(
            "{image} was replaced: it is {} now, not {}; 'goldfleet dispatch' it, and verify that job",
            found.digest, image.digest
        )));
    }
    let bytes_total = if how.read { bytes_at(places, &manifest) } else { 0 };
    let checking = Checking {
        desk,
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
    let at_once = if how.read { 1 } else { IN_FLIGHT };
    let mut looked = stream::iter(places.all()).map(|place| checking.place(place)).buffered(at_once);
    let mut verified = Verified::default();
    while let Some(one) = looked.next().await {
        verified.add(one);
    }
    drop(looked);
    verified.bytes_read = checking.bytes_read.into_inner();
    Ok(verified)
}

/// About how many bytes are read at all places.
fn bytes_at(places: &Places, manifest: &Manifest) -> u64 {
    (places.stores.len() + places.vhds.len()) as u64 * manifest.data_bytes()
}

/// A verification under way.
struct Checking<'a> {
    desk: &'a Desk,
    image: &'a ImageRef,
    manifest: &'a Manifest,
    how: How,
    places_total: usize,
    places_seen: AtomicUsize,
    bytes_total: u64,
    bytes_read: AtomicU64,
    watch: &'a (dyn Fn(Seen) + Sync),
}

impl Checking<'_> {
    /// What came of looking at a place.
    async fn place(&self, place: Place<'_>) -> Verified {
        let mut seen = Verified::default();
        let looked = match place {
            Place::Store(store) => self.store(place, store, &mut seen).await,
            Place::Vhd(vhd, needed) => self.vhd(place, vhd, needed, &mut seen).await,
            Place::Image(image) => self.image(place, image, &mut seen).await,
        };
        // What was found before stays found.
        if let Err(error) = looked {
            seen.faults.push(Fault { unseen: true, ..place.wrong(format!("can't be looked at: {error}")) });
        }
        self.places_seen.fetch_add(1, Ordering::Relaxed);
        self.tell();
        seen
    }

    /// Content was read.
    fn read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        (self.watch)(Seen {
            places: self.places_seen.load(Ordering::Relaxed),
            places_total: self.places_total,
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_total: self.bytes_total,
        });
    }
}
