//! Clone and patch: an assembly starts with the VHD of an earlier version, if the staging account still has one.
//!
//! Copying a page blob inside its account takes seconds and no bandwidth. After that the worker writes the runs that
//! differ, and clears the ranges that became zero. But no checksum proves what the service copied, so the worker reads
//! back the runs that do not change and the ranges in which the disk is zero. Reading a page blob is not faster than
//! writing it, so this is off by default (`[worker] clone_and_patch`). The metadata of such a VHD name the base
//! version. Like every VHD it is complete when it has the footer of its own version. A version is therefore a valid
//! base only if its footer differs. (Every tool that writes a VHD gives it a unique id.)

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use goldfleet_model::artifact::DiskRef;
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::hash::Digest;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::image::VhdMetadata;
use goldfleet_model::manifest::{CHUNK_SIZE, ChunkEntry, Manifest, Run};
use goldfleet_model::ranges::subtract;
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_ports::chunk_store;

use crate::attempt_error::AttemptError;
use crate::context::{Attempt, StepContext};
use crate::outcome::StepError;
use crate::transfer::manifest_cache::ManifestLoadError;

/// The base version of a VHD.
pub(super) struct BaseVersion {
    version: ImageVersion,
    /// The digest of its manifest.
    digest: Digest,
    vhd: BlobAddress,
    manifest: Arc<Manifest>,
    /// The indexes of the base's chunks by their window of the disk.
    windows: HashMap<u64, usize>,
}

/// A VHD to assemble: its disk and its location.
#[derive(Clone, Copy)]
pub(super) struct VhdPlan<'a> {
    /// The image.
    pub(super) image: &'a ImageName,
    pub(super) disk: &'a DiskRef,
    pub(super) manifest: &'a Manifest,
    /// The store from which manifests are read.
    pub(super) source: &'a Store,
    /// The address of the VHD. The VHDs of base versions are in the same container.
    pub(super) vhd: &'a BlobAddress,
}

impl VhdPlan<'_> {
    /// The newest complete VHD of another version of this image with the same disk size. None if there is no such VHD.
    /// A candidate that cannot be read is skipped and is not an error.
    pub(super) async fn newest_base(&self, shared: &StepContext) -> Option<BaseVersion> {
        let (blobs, container) = (shared.ports.blobs.as_ref(), &self.vhd.container);
        let names = shared.ports.resources.vhd_names();
        let mut listed = chunk_store::list(blobs, container, &names.prefix(self.image)).await.ok()?;
        listed.retain(|blob| blob.name != self.vhd.name && blob.length == self.manifest.vhd_length());
        listed.sort_by_key(|blob| std::cmp::Reverse(blob.modified));
        for blob in listed {
            let version = names.version(self.image, self.disk.role, &blob.name);
            let candidate = container.blob(blob.name);
            let properties = blobs.properties(&candidate).await.ok()??;
            let digest = properties.metadata.get(VhdMetadata::DIGEST).and_then(|digest| digest.parse().ok());
            let (Some(version), Some(digest)) = (version, digest) else { continue };
            if let Ok(Some(base)) = self.load_base(shared, version, digest, candidate).await
                && base.is_whole(shared).await
            {
                return Some(base);
            }
        }
        None
    }

    /// The base version that the metadata of a VHD name. None if it no longer exists.
    ///
    /// # Errors
    /// If this cannot be determined because the manifest of the base cannot be read now.
    pub(super) async fn base_from_metadata(
        &self,
        shared: &StepContext,
        named: &str,
    ) -> Result<Option<BaseVersion>, AttemptError> {
        let parse = || {
            let (version, digest) = named.split_once(' ')?;
            Some((version.parse::<ImageVersion>().ok()?, digest.parse::<Digest>().ok()?))
        };
        let Some((version, digest)) = parse() else { return Ok(None) };
        let name = shared.ports.resources.vhd_names().name(self.image, &version, self.disk.role);
        match self.load_base(shared, version, digest, self.vhd.container.blob(name)).await {
            Ok(base) => Ok(base),
            Err(ManifestLoadError::Missing(why)) => {
                tracing::info!(vhd = %self.vhd, "the base version of a VHD cannot be read any more: {}", why.message);
                Ok(None)
            }
            Err(ManifestLoadError::Unavailable(error)) => Err(error.into()),
        }
    }

    /// Loads a version as a base. None if it is not a valid base for this manifest.
    async fn load_base(
        &self,
        shared: &StepContext,
        version: ImageVersion,
        digest: Digest,
        vhd: BlobAddress,
    ) -> Result<Option<BaseVersion>, ManifestLoadError> {
        let blobs = shared.ports.blobs.as_ref();
        let base = shared.manifests.get_disk(blobs, self.source, (self.image, &version), digest).await?;
        let fits = base.size == self.manifest.size && base.footer != self.manifest.footer;
        Ok(fits.then(|| BaseVersion::new(version, digest, vhd, base)))
    }
}

impl BaseVersion {
    fn new(version: ImageVersion, digest: Digest, vhd: BlobAddress, manifest: Arc<Manifest>) -> Self {
        let windows = manifest.chunks.iter().enumerate().filter_map(|(n, entry)| Some((window(entry)?, n))).collect();
        Self { version, digest, vhd, manifest, windows }
    }

    async fn is_whole(&self, shared: &StepContext) -> bool {
        let read = shared.ports.blobs.get(&self.vhd, Some(self.manifest.footer_range())).await;
        read.is_ok_and(|footer| footer[..] == self.manifest.footer[..])
    }

    /// Starts the service's copy of the base to `vhd`. Returns whether it started.
    pub(super) async fn start_clone(
        &self,
        Attempt { shared, lease, .. }: Attempt<'_>,
        vhd: &BlobAddress,
        mut metadata: BTreeMap<String, String>,
    ) -> Result<bool, StepError> {
        metadata.insert(VhdMetadata::BASE.to_owned(), format!("{} {}", self.version, self.digest));
        lease.ensure_held()?;
        match shared.ports.blobs.start_copy(vhd, &self.vhd, &metadata).await {
            Ok(_) => {}
            // The base may be deleted, or the account may not support copies. The VHD is then created from zeros. If a
            // blob already exists, a later step finds it.
            Err(error) if !error.is_retryable() => {
                tracing::info!(base = %self.vhd, code = error.code, "an earlier version cannot be used as the base: {error}");
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        tracing::debug!(base = %self.vhd, "begins with an earlier version");
        Ok(true)
    }

    /// The chunks that are the same in the base and the new version.
    pub(super) fn unchanged_chunks(&self, manifest: &Manifest) -> ChunkSet {
        let mut same = ChunkSet::empty(manifest.chunk_count());
        for (index, entry) in (0_u32..).zip(&manifest.chunks) {
            if self.base_entry(entry).is_some_and(|before| before == entry) {
                same.insert(index);
            }
        }
        same
    }

    fn base_entry(&self, entry: &ChunkEntry) -> Option<&ChunkEntry> {
        self.manifest.chunks.get(*self.windows.get(&window(entry)?)?)
    }

    /// The ranges in a chunk's window with data in the base and zeros in the new version.
    pub(super) fn stale_ranges(&self, entry: &ChunkEntry) -> Vec<Range<u64>> {
        self.base_entry(entry).map_or_else(Vec::new, |before| subtract_ranges(&ranges(before), &ranges(entry)))
    }

    /// The base's data in windows in which the new version has no chunk. Adjacent ranges are merged.
    pub(super) fn removed_ranges(&self, manifest: &Manifest) -> Vec<Range<u64>> {
        let kept: std::collections::HashSet<u64> = manifest.chunks.iter().filter_map(window).collect();
        let mut vanished: Vec<Range<u64>> = Vec::new();
        let gone = self.manifest.chunks.iter().filter(|entry| window(entry).is_some_and(|w| !kept.contains(&w)));
        for range in gone.flat_map(ranges) {
            match vanished.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => vanished.push(range),
            }
        }
        vanished
    }
}

/// The index of the window that contains a chunk.
fn window(entry: &ChunkEntry) -> Option<u64> {
    entry.runs.first().map(|run| run.offset / CHUNK_SIZE)
}

fn ranges(entry: &ChunkEntry) -> Vec<Range<u64>> {
    entry.runs.iter().map(Run::range).collect()
}

/// The parts of `ranges` that are in none of `others`. Both are sorted.
fn subtract_ranges(ranges: &[Range<u64>], others: &[Range<u64>]) -> Vec<Range<u64>> {
    ranges.iter().flat_map(|range| subtract(range, others)).collect()
}

#[cfg(test)]
mod tests {
    use goldfleet_model::manifest::Md5Sum;
    use goldfleet_model::store::Container;
    use proptest::prelude::*;

    use super::*;

    const SECTOR: u64 = 512;

    /// Creates a chunk with runs in sectors. Its hash depends on `content`.
    fn entry(content: u8, runs: &[(u64, u32)]) -> ChunkEntry {
        let mut at = 0;
        let runs = runs.iter().map(|&(offset, length)| {
            let md5 = Md5Sum::of(&[content]);
            let run = Run { offset: offset * SECTOR, length: length * 512, at, crc64: u64::from(content), md5 };
            at += run.length;
            run
        });
        let runs: Vec<Run> = runs.collect();
        ChunkEntry { hash: format!("{content:02x}").repeat(32).parse().unwrap(), length: at, runs }
    }

    fn manifest(id: u8, chunks: Vec<ChunkEntry>) -> Manifest {
        Manifest { size: 64 << 20, footer: [id; 512], chunks }
    }

    fn base(manifest: Manifest) -> BaseVersion {
        let digest = format!("b3:{}", "5".repeat(64)).parse().unwrap();
        let container = Container { account: "stage".parse().unwrap(), container: "vhds".parse().unwrap() };
        BaseVersion::new("1".parse().unwrap(), digest, container.blob("golden__1.vhd"), Arc::new(manifest))
    }

    #[test]
    fn unchanged_chunks_stay_and_removed_ranges_are_cleared() {
        let window = CHUNK_SIZE / SECTOR;
        let old = base(manifest(
            1,
            vec![entry(1, &[(0, 8)]), entry(2, &[(window, 8), (window + 16, 8)]), entry(3, &[(2 * window, 8)])],
        ));
        let changed = entry(4, &[(window + 4, 14)]);
        let new = manifest(2, vec![entry(1, &[(0, 8)]), changed.clone()]);
        assert_eq!(old.unchanged_chunks(&new).iter().collect::<Vec<_>>(), [0]);
        let sectors = |range: &Range<u64>| (range.start / SECTOR - window, range.end / SECTOR - window);
        assert_eq!(old.stale_ranges(&changed).iter().map(sectors).collect::<Vec<_>>(), [(0, 4), (18, 24)]);
        assert_eq!(old.removed_ranges(&new), vec![2 * CHUNK_SIZE..2 * CHUNK_SIZE + 8 * SECTOR]);
    }

    proptest! {
        #[test]
        fn stale_ranges_exclude_shared_data(a in sorted_ranges(), b in sorted_ranges()) {
            let left = subtract_ranges(&a, &b);
            for at in 0..64_u64 {
                let inside = |ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&at));
                prop_assert_eq!(inside(&left), inside(&a) && !inside(&b), "at {}", at);
            }
        }
    }

    fn sorted_ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        proptest::collection::btree_set(0_u64..64, 0..12).prop_map(|bounds| {
            let bounds: Vec<u64> = bounds.into_iter().collect();
            bounds.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect()
        })
    }
}
