//! An upload in progress: its passes over the disks, and what is written at the end.

use std::collections::{BTreeMap, HashSet};

use goldfleet_disk::DiskReader as _;
use goldfleet_model::artifact::{Artifact, ArtifactDisk, ArtifactRecord, DiskRole};
use goldfleet_model::manifest::{ChunkHash, Digest, Generation, Manifest};
use goldfleet_sources::Revision;
use tokio_util::sync::CancellationToken;

use super::md5::Md5s;
use super::record::UploadRecord;
use super::scan::{ScanPlan, ScannedDisk};
use super::send::{self, ChunkSelection, SendResult};
use super::version::{self, ExistingVersion};
use super::{OtherContent, UploadError, UploadRequest, revision};
use crate::control::context::ControlContext;

/// The maximum number of passes over the disks. A pass is repeated if the row of the upload was so old that a garbage
/// collection may have taken the upload for ended. That is rare, and a machine to which it happens this often would
/// fail again.
const MAX_PASSES: usize = 5;

/// A disk of an upload.
pub(super) struct UploadedDisk {
    pub(super) role: DiskRole,
    pub(super) disk: ScannedDisk,
}

/// An upload in progress.
pub(super) struct UploadRun<'a> {
    pub(super) control: &'a ControlContext,
    pub(super) request: &'a UploadRequest,
    pub(super) generation: Generation,
    /// The revision of the source when it was opened.
    pub(super) before: Revision,
    /// The disks: the OS disk first, then data disks by LUN.
    pub(super) disks: Vec<UploadedDisk>,
    pub(super) record: &'a UploadRecord<'a>,
    pub(super) md5s: Md5s,
    pub(super) stop: &'a CancellationToken,
}

/// An upload of a version that exists now.
pub(super) struct FinishedUpload {
    pub(super) digest: Digest,
    pub(super) repaired: usize,
}

impl UploadRun<'_> {
    /// Uploads a version that does not exist.
    pub(super) async fn upload_new(&self) -> Result<FinishedUpload, UploadError> {
        let here = self.manifests(self.ensure_chunks(&BTreeMap::new()).await?).await?;
        self.ensure_manifests(here.iter()).await?;
        let artifact = self.artifact(&here);
        let record = ArtifactRecord { artifact, provenance: self.record.provenance() };
        let digest = record.artifact.digest();
        if let Some(there) = version::write_record(self.control, self.request, &record).await? {
            return Err(self.other_content(&there, &here));
        }
        // If the process was suspended before the write, the record may name what was collected in the meantime.
        if self.record.has_expired() {
            self.ensure_chunks(&BTreeMap::new()).await?;
            self.ensure_manifests(here.iter()).await?;
        }
        Ok(FinishedUpload { digest, repaired: 0 })
    }

    /// Compares the content with the existing version, and sends the chunks and the manifests of it that the store
    /// lacks.
    pub(super) async fn repair_existing(&self, there: &ExistingVersion) -> Result<FinishedUpload, UploadError> {
        let sent = self.ensure_chunks(&self.listed_in(there)).await?;
        let repaired = sent.iter().map(|sent| sent.put).sum();
        let here = self.manifests(sent).await?;
        let digest = self.artifact(&here).digest();
        if there.digest != digest {
            return Err(self.other_content(there, &here));
        }
        let roles = self.disks.iter().map(|disk| disk.role).zip(&here);
        let missing = roles.filter(|(role, _)| there.manifest(*role).is_none()).map(|(_, manifest)| manifest);
        self.ensure_manifests(missing).await?;
        self.record.inherit_system(&digest).await?;
        Ok(FinishedUpload { digest, repaired })
    }

    /// The chunks of an existing version, for each disk whose manifest exists. If the version lacks the disk, the
    /// content differs, and no chunk of the disk is sent.
    fn listed_in(&self, there: &ExistingVersion) -> BTreeMap<DiskRole, HashSet<ChunkHash>> {
        let hashes = |manifest: &Manifest| manifest.chunks.iter().map(|entry| entry.hash).collect();
        let listed = self.disks.iter().filter_map(|disk| match there.manifest(disk.role) {
            Some(manifest) => Some((disk.role, hashes(manifest))),
            None if there.artifact.disk(disk.role).is_none() => Some((disk.role, HashSet::new())),
            // The chunks of the disk are not known. Garbage collection removes those that do not belong to the version.
            None => None,
        });
        listed.collect()
    }

    /// Ensures that the store has the chunks of every disk, and keeps them until the record exists. Of a disk in
    /// `listed`, only the listed chunks are sent: an existing record keeps them.
    async fn ensure_chunks(
        &self,
        listed: &BTreeMap<DiskRole, HashSet<ChunkHash>>,
    ) -> Result<Vec<SendResult>, UploadError> {
        let relies_on_row = self.disks.iter().any(|disk| !listed.contains_key(&disk.role));
        for _ in 0..MAX_PASSES {
            self.record.renew().await?;
            let sent = self.pass(listed).await?;
            if !relies_on_row || !self.record.has_expired() {
                return Ok(sent);
            }
            tracing::warn!(
                "the upload's row was not renewed in time: chunks may have been deleted, so all are checked again"
            );
        }
        Err(UploadError::Expired)
    }

    /// One pass over all disks.
    async fn pass(&self, listed: &BTreeMap<DiskRole, HashSet<ChunkHash>>) -> Result<Vec<SendResult>, UploadError> {
        let plans: Vec<ScanPlan> = self.disks.iter().map(|disk| ScanPlan::of(&disk.disk)).collect::<Result<_, _>>()?;
        self.record.count(|row| row.bytes_total = plans.iter().map(ScanPlan::bytes).sum());
        let mut sent = Vec::with_capacity(self.disks.len());
        for (UploadedDisk { role, disk }, plan) in self.disks.iter().zip(plans) {
            let wanted = listed.get(role).map_or(ChunkSelection::All, ChunkSelection::Listed);
            let limit = self.request.limit;
            sent.push(
                send::chunks(self.control, (disk, plan), wanted, limit, self.record, &self.md5s, self.stop).await?,
            );
        }
        Ok(sent)
    }

    async fn ensure_manifests(&self, manifests: impl Iterator<Item = &Manifest>) -> Result<(), UploadError> {
        for manifest in manifests {
            version::ensure_manifest(self.control, (&self.request.image, &self.request.version), manifest).await?;
        }
        Ok(())
    }

    /// The manifests of the disks with these chunks. An error if the source has changed.
    async fn manifests(&self, sent: Vec<SendResult>) -> Result<Vec<Manifest>, UploadError> {
        let source = &self.request.source;
        if revision(self.control, source).await? != self.before {
            return Err(UploadError::Changed(source.location().to_owned()));
        }
        let manifest = |(disk, sent): (&UploadedDisk, SendResult)| {
            let disk = &disk.disk.disk;
            Manifest { size: disk.size(), footer: disk.footer(), chunks: sent.chunks }
        };
        Ok(self.disks.iter().zip(sent).map(manifest).collect())
    }

    fn artifact(&self, manifests: &[Manifest]) -> Artifact {
        let disk = |(disk, manifest): (&UploadedDisk, &Manifest)| ArtifactDisk::new(disk.role, manifest);
        let disks = self.disks.iter().zip(manifests).map(disk).collect();
        Artifact { os: self.request.os, generation: self.generation, disks }
    }

    fn other_content(&self, there: &ExistingVersion, here: &[Manifest]) -> UploadError {
        let artifact = self.artifact(here);
        let mut differences = artifact.differences(&there.artifact);
        for (disk, manifest) in self.disks.iter().zip(here) {
            let of_disk = there.manifest(disk.role).map(|there| manifest.differences(there)).unwrap_or_default();
            differences.extend(of_disk.into_iter().map(|difference| match disk.role {
                DiskRole::Os => difference,
                role @ DiskRole::Data(_) => format!("disk {role}: {difference}"),
            }));
        }
        UploadError::OtherContent(Box::new(OtherContent {
            image: self.request.image.clone(),
            version: self.request.version.clone(),
            there: there.digest,
            here: artifact.digest(),
            differences: differences.join(", "),
        }))
    }
}
