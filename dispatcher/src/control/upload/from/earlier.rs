//! Reads only what differs from an earlier snapshot of the same disk whose content is in the store.
//!
//! The result is that of reading everything, because each of these is checked: the row of the earlier upload names the
//! snapshot by its unique id, and the version by its digest; the version has this digest; the snapshot exists with that
//! unique id before and after the service lists the difference; both are incremental snapshots of one family, with
//! equal sizes. If any check fails, everything is read.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::image::ImageRef;
use goldfleet_model::manifest::{Digest, Manifest};
use goldfleet_model::resource::ResourceId;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_sources::cloud_disk::{ContentAccess, DiskFacts};
use goldfleet_sources::{CloudDisk, EarlierContent, SourceLocation};

use super::{Session, retried};
use crate::control::artifacts::load_version;
use crate::control::versions::find;

const MIB: u64 = 1 << 20;

/// The number of earlier snapshots that are tried, the newest first.
const MAX_TRIED: usize = 4;

/// An upload of an earlier snapshot of the family.
struct Candidate {
    snapshot: ResourceId,
    unique_id: String,
    image: ImageRef,
}

impl Candidate {
    /// The candidate of a complete upload that read a snapshot of this family itself, and not a temporary.
    fn of(upload: &Upload, family: &str) -> Option<Self> {
        let origin = upload.origin.as_ref()?;
        let is_of_family = origin.family_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(family));
        if upload.state != UploadState::Complete || !is_of_family || origin.temporaries().next().is_some() {
            return None;
        }
        let Ok(SourceLocation::Snapshot(snapshot)) = SourceLocation::parse(&origin.source, &ToString::to_string) else {
            return None;
        };
        let digest: Digest = upload.digest?;
        let image = ImageRef { name: upload.image.clone(), version: upload.version.clone(), digest };
        Some(Self { snapshot, unique_id: origin.unique_id.clone()?, image })
    }
}

impl Session<'_> {
    /// Adds the newest earlier content of a disk that is in the store. Without one, everything is read.
    pub(super) async fn with_earlier(
        &mut self,
        disk: CloudDisk,
        facts: &DiskFacts,
        access: &ContentAccess,
    ) -> CloudDisk {
        let source = self.request.from.to_string();
        let (candidates, family) = match self.candidates(facts).await {
            Ok(found) => found,
            Err(reason) => {
                tracing::info!(%source, disk = %facts.id, "everything is read: {reason}");
                return disk;
            }
        };
        for candidate in candidates {
            match self.difference(&candidate, facts, (access, &family)).await {
                Ok((manifest, changes)) => {
                    let bytes: u64 = changes.iter().map(|range| range.end - range.start).sum();
                    tracing::info!(
                        %source, disk = %facts.id, version = %candidate.image, earlier = %candidate.snapshot, bytes,
                        "only what differs from an earlier snapshot is read"
                    );
                    return disk.with_earlier(&candidate.image, EarlierContent::new(&manifest, &changes));
                }
                Err(reason) => tracing::info!(
                    %source, disk = %facts.id, version = %candidate.image, earlier = %candidate.snapshot,
                    "the difference to an earlier snapshot is not used: {reason}"
                ),
            }
        }
        tracing::info!(%source, disk = %facts.id, "everything is read");
        disk
    }

    /// The uploads of snapshots of the same family, the newest first, and the family.
    async fn candidates(&self, facts: &DiskFacts) -> Result<(Vec<Candidate>, String), String> {
        let family = facts.family_id.clone().ok_or("it is no incremental snapshot")?;
        let uploads = retried(&self.control.ports, || self.control.ports.table.list_uploads()).await;
        let uploads = uploads.map_err(|error| format!("the earlier uploads are not known: {error}"))?.rows;
        let mut seen = HashSet::new();
        let candidates = uploads.iter().filter_map(|upload| Candidate::of(upload, &family));
        let candidates: Vec<_> =
            candidates.filter(|candidate| seen.insert(candidate.unique_id.clone())).take(MAX_TRIED).collect();
        if candidates.is_empty() {
            return Err("no other snapshot of its disk was uploaded".to_owned());
        }
        Ok((candidates, family))
    }

    /// The manifest of an earlier content, and the ranges in which the disk differs from it. The error is the reason
    /// why these are not used.
    async fn difference(
        &mut self,
        candidate: &Candidate,
        facts: &DiskFacts,
        (access, family): (&ContentAccess, &str),
    ) -> Result<(Manifest, Vec<Range<u64>>), String> {
        let (name, version) = (&candidate.image.name, &candidate.image.version);
        let loaded = load_version(&self.control.ports, &self.control.config, name, version)
            .await
            .map_err(|error| error.to_string())?;
        if loaded.image.digest != candidate.image.digest {
            return Err("the version was uploaded again with other content".to_owned());
        }
        let manifest =
            loaded.disks().find(|(disk, _)| disk.disk.role == DiskRole::Os).map(|(_, manifest)| manifest.clone());
        let manifest = manifest.ok_or("the version has no OS disk")?;
        if facts.size.is_none_or(|size| size.next_multiple_of(MIB) != manifest.size) {
            return Err("the size of the disk has changed".to_owned());
        }
        let is_same = facts.unique_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(&candidate.unique_id));
        if is_same {
            // The content of a snapshot does not change.
            return Ok((manifest, Vec::new()));
        }
        if self.check_earlier(candidate, facts, family).await?.has_access {
            // The end of this access would end that one too.
            return Err("another program has access to the earlier snapshot".to_owned());
        }
        let (disks, clock) = (Arc::clone(&self.control.ports.disk_access), Arc::clone(&self.control.ports.clock));
        let earlier = Arc::new(ContentAccess::new(disks, clock, candidate.snapshot.clone()));
        self.accesses.push(Arc::clone(&earlier));
        let changes = tokio::select! {
            changes = access.changes_since(&earlier) => changes.map_err(|error| format!("{error} ({})", error.code)),
            () = self.stop.cancelled() => Err("interrupted".to_owned()),
        };
        // It is ended again with the upload if this fails.
        if let Err(error) = earlier.end().await {
            tracing::warn!(snapshot = %candidate.snapshot, %error, "the access could not be ended: it ends by itself within an hour");
        }
        let changes = changes?;
        // The unique id of a removed snapshot never returns. So the difference is the one to this snapshot.
        self.check_earlier(candidate, facts, family).await?;
        Ok((manifest, changes))
    }

    /// Checks that the earlier snapshot exists, is the one whose content is in the store, and can be compared.
    async fn check_earlier(&self, candidate: &Candidate, facts: &DiskFacts, family: &str) -> Result<DiskFacts, String> {
        let location = format!("snapshot:{}", candidate.snapshot);
        let found = find(&self.control.ports, &candidate.snapshot).await.map_err(|error| error.to_string())?;
        let found = found.ok_or("the earlier snapshot does not exist any more")?;
        let earlier = DiskFacts::of(&location, &found).map_err(|refusal| refusal.to_string())?;
        if earlier.unique_id.as_ref().is_none_or(|id| !id.eq_ignore_ascii_case(&candidate.unique_id)) {
            return Err("another snapshot has the name of the earlier one".to_owned());
        }
        if earlier.family_id.as_ref().is_none_or(|id| !id.eq_ignore_ascii_case(family)) {
            return Err("the earlier snapshot is not of the same family".to_owned());
        }
        if earlier.size.is_none() || earlier.size != facts.size {
            return Err("the size of the disk has changed".to_owned());
        }
        Ok(earlier)
    }
}
