//! Verification: whether what lies in stores and at targets is what the manifest says.
//!
//! Without reading content it is checked that every chunk is there with its length, and that every VHD has its length, its
//! digest, its footer, and data in no place where the disk has none. With it, every byte is read and its checksum compared.
//! Chunks that are wrong can be removed, so that whole ones can take their place.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use futures::stream::{self, StreamExt as _};
use goldfleet_shared::chunk::crc64;
use goldfleet_shared::chunk_store::{self, discard};
use goldfleet_shared::model::image::{ImageRef, VhdMetadata};
use goldfleet_shared::model::manifest::{ChunkEntry, Manifest, Run, chunk_name};
use goldfleet_shared::model::operation::{OperationState, Work};
use goldfleet_shared::model::store::{BlobAddress, Store};
use goldfleet_shared::ports::blob_store::BlobListed;
use goldfleet_shared::ports::error::PortResult;
use goldfleet_shared::ranges::without;
use serde::Serialize;

use crate::desk::{Desk, DeskError, IN_FLIGHT};
use crate::request::manifest;

/// Where something is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The store or VHD.
    pub place: String,
    /// The chunk, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<String>,
    /// What is wrong.
    pub fault: String,
}

/// What was looked at, and what was wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Stores looked at.
    pub stores: usize,
    /// VHDs looked at.
    pub vhds: usize,
    /// Bytes whose checksum was compared.
    pub bytes_read: u64,
    /// Chunks removed, as they were not what their names say.
    pub removed: usize,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// What a version's data should be found in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Stores that should have every chunk.
    pub stores: BTreeSet<Store>,
    /// VHDs that should be whole.
    pub vhds: BTreeSet<BlobAddress>,
}

impl Places {
    /// Where a job has brought its version: the source, the stores that were filled, and the VHDs that are done.
    ///
    /// # Errors
    /// Where the table can't be read.
    pub async fn of_job(desk: &Desk, job: &goldfleet_shared::model::job::Job) -> Result<Self, DeskError> {
        let mut places = Self { stores: BTreeSet::from([desk.config.source.store()]), ..Self::default() };
        for row in desk.ports.table.operations(&job.id).await? {
            if row.value.state != OperationState::Succeeded {
                continue;
            }
            match row.value.work {
                Work::Seed { store, .. } => drop(places.stores.insert(store)),
                Work::Copy { target, .. } => drop(places.vhds.insert(target.vhd(&job.image))),
                Work::Image { .. } => {}
            }
        }
        Ok(places)
    }

    /// The source, for a version without a job.
    #[must_use]
    pub fn source(desk: &Desk) -> Self {
        Self { stores: BTreeSet::from([desk.config.source.store()]), ..Self::default() }
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

/// Verifies a version at `places`.
///
/// # Errors
/// Where the version is not there or was replaced, or a service can't be reached.
pub async fn verify(desk: &Desk, image: &ImageRef, places: &Places, how: How) -> Result<Verified, DeskError> {
    let (found, manifest) = manifest(desk, &image.name, &image.version).await?;
    if found.digest != image.digest {
        return Err(DeskError::Refused(format!(
            "{image} was replaced: it is {} now, not {}; 'goldfleet dispatch' it, and verify that job",
            found.digest, image.digest
        )));
    }
    let mut verified = Verified { stores: places.stores.len(), vhds: places.vhds.len(), ..Verified::default() };
    let checking = Checking { desk, image, manifest: &manifest, read: how.read };
    for store in &places.stores {
        let found = checking.store(store).await?;
        verified.bytes_read += found.bytes;
        verified.faults.extend(found.faults);
        for chunk in found.wrong.iter().filter(|_| how.remove) {
            verified.removed += usize::from(discard(&desk.ports, &store.container(), chunk).await?);
        }
    }
    for vhd in &places.vhds {
        let (bytes, faults) = checking.vhd(vhd).await?;
        verified.bytes_read += bytes;
        verified.faults.extend(faults);
    }
    Ok(verified)
}

struct Checking<'a> {
    desk: &'a Desk,
    image: &'a ImageRef,
    manifest: &'a Manifest,
    read: bool,
}

/// Bytes read, and faults.
type Found = (u64, Vec<Fault>);

/// What was found in a store.
#[derive(Default)]
struct InStore {
    /// Bytes read.
    bytes: u64,
    faults: Vec<Fault>,
    /// The chunks that are there and not what their names say.
    wrong: Vec<BlobListed>,
}

impl Checking<'_> {
    /// Every chunk of the version, each content once.
    fn chunks(&self) -> Vec<&ChunkEntry> {
        let mut seen = HashSet::new();
        self.manifest.chunks.iter().filter(|entry| seen.insert(entry.hash)).collect()
    }

    async fn store(&self, store: &Store) -> PortResult<InStore> {
        let present = chunk_store::present(self.desk.ports.blobs.as_ref(), &store.container()).await?;
        let fault = |entry: &ChunkEntry, fault: String| Fault {
            place: format!("store {store}"),
            chunk: Some(entry.hash.to_string()),
            fault,
        };
        let mut found = InStore::default();
        let mut whole = Vec::new();
        for entry in self.chunks() {
            match present.get(&chunk_name(&entry.hash)) {
                None => found.faults.push(fault(entry, "is missing".to_owned())),
                Some(listed) if listed.length != u64::from(entry.length) => {
                    found.faults.push(fault(entry, format!("has {} bytes, not {}", listed.length, entry.length)));
                    found.wrong.push(listed.clone());
                }
                Some(listed) => whole.push((entry, listed)),
            }
        }
        if !self.read {
            return Ok(found);
        }
        let container = store.container();
        let mut reading = stream::iter(whole)
            .map(async |(entry, listed): (&ChunkEntry, &BlobListed)| {
                let content = self.desk.ports.blobs.get(&container.blob(listed.name.as_str()), None).await?;
                PortResult::Ok((entry, listed, crc64(&content) == entry.crc64()))
            })
            .buffer_unordered(IN_FLIGHT);
        while let Some(read) = reading.next().await {
            let (entry, listed, right) = read?;
            found.bytes += u64::from(entry.length);
            if !right {
                found.faults.push(fault(entry, "has other bytes than it should have".to_owned()));
                found.wrong.push(listed.clone());
            }
        }
        Ok(found)
    }

    async fn vhd(&self, vhd: &BlobAddress) -> PortResult<Found> {
        let blobs = self.desk.ports.blobs.as_ref();
        let wrong = |fault: String| Fault { place: format!("VHD {vhd}"), chunk: None, fault };
        let Some(properties) = blobs.properties(vhd).await? else {
            // Removed after its image was made, where the configuration says so.
            return Ok((0, vec![wrong("is not there".to_owned())]));
        };
        let footer = self.manifest.size..self.manifest.size + self.manifest.footer.len() as u64;
        if properties.length != footer.end {
            return Ok((0, vec![wrong(format!("has {} bytes, not {}", properties.length, footer.end))]));
        }
        let mut faults = Vec::new();
        if properties.metadata.get(VhdMetadata::DIGEST) != Some(&self.image.digest.to_string()) {
            faults.push(wrong("is of another version, or not goldfleet's".to_owned()));
        }
        if blobs.get(vhd, Some(footer)).await?[..] != self.manifest.footer[..] {
            faults.push(wrong("has no footer, or another one: it is not whole".to_owned()));
        }
        let (bytes, more) = if self.read { self.content(vhd).await? } else { (0, self.holes(vhd).await?) };
        faults.extend(more.into_iter().map(wrong));
        Ok((bytes, faults))
    }

    /// Where the VHD lacks pages that the disk has. (It may have more: services keep whole blocks of pages.)
    async fn holes(&self, vhd: &BlobAddress) -> PortResult<Vec<String>> {
        let ranges = self.desk.ports.blobs.page_ranges(vhd).await?;
        let covered = |run: &Range<u64>| {
            let after = ranges.partition_point(|range| range.end <= run.start);
            ranges.get(after).is_some_and(|range| range.start <= run.start && run.end <= range.end)
        };
        let runs = self.manifest.chunks.iter().flat_map(|entry| &entry.runs);
        let lacking = runs.map(Run::range).filter(|run| !covered(run));
        Ok(lacking.map(|run| format!("has no data at {} to {}", run.start, run.end)).collect())
    }

    async fn content(&self, vhd: &BlobAddress) -> PortResult<(u64, Vec<String>)> {
        let blobs = self.desk.ports.blobs.as_ref();
        let (mut bytes, mut faults) = (0, Vec::new());
        let mut reading = stream::iter(self.manifest.chunks.iter().flat_map(|entry| &entry.runs))
            .map(async |run| {
                let content = blobs.get(vhd, Some(run.range())).await?;
                PortResult::Ok((run, crc64(&content) == run.crc64))
            })
            .buffered(IN_FLIGHT);
        while let Some(read) = reading.next().await {
            let (run, right) = read?;
            bytes += u64::from(run.length);
            if !right {
                let Range { start, end } = run.range();
                faults.push(format!("has other bytes than it should have at {start} to {end}"));
            }
        }
        drop(reading);
        let (more, zeros) = self.zeros(vhd).await?;
        faults.extend(zeros);
        Ok((bytes + more, faults))
    }

    /// What the VHD holds where the disk is zero.
    async fn zeros(&self, vhd: &BlobAddress) -> PortResult<(u64, Vec<String>)> {
        const PIECE: u64 = 4 << 20;
        let runs = self.manifest.chunks.iter().flat_map(|entry| &entry.runs);
        let data: Vec<Range<u64>> = runs.map(Run::range).collect();
        let (mut bytes, mut faults) = (0, Vec::new());
        for range in self.desk.ports.blobs.page_ranges(vhd).await? {
            for gap in without(&(range.start..range.end.min(self.manifest.size)), &data) {
                let mut at = gap.start;
                while at < gap.end {
                    let end = gap.end.min(at + PIECE);
                    let content = self.desk.ports.blobs.get(vhd, Some(at..end)).await?;
                    bytes += end - at;
                    if content.iter().any(|byte| *byte != 0) {
                        faults.push(format!("has data at {at} to {end}, where the disk is zero"));
                    }
                    at = end;
                }
            }
        }
        Ok((bytes, faults))
    }
}
