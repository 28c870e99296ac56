//! A source that is written in one file: a disk in memory, and what an upload does with it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use goldfleet_disk::{DiskError, MemoryDisk, OpenDisk, OpenError, OpenOptions, open};
use goldfleet_dispatcher::control::check::ImageChecks;
use goldfleet_dispatcher::control::upload::{UploadError, UploadRequest, UploadResult, upload};
use goldfleet_model::manifest::OsType;
use goldfleet_sources::{ArtifactSource, DataDisk, OpenArtifact, Revision};
use goldfleet_tests::fleet::InProcessFleet;
use tokio_util::sync::CancellationToken;

/// A source that reads its disk like a remote one: whole, once, and without a path.
#[derive(Debug)]
struct Remote {
    fleet_disk: PathBuf,
    data_disks: u8,
    /// The number of revisions that were asked for, and from which of them on the source has changed.
    asked: AtomicUsize,
    changes_at: usize,
}

impl Remote {
    fn disk(&self, options: &OpenOptions) -> Result<OpenDisk, OpenError> {
        let mut open = open(&self.fleet_disk, options)?;
        let mut bytes = vec![0; usize::try_from(open.disk.size()).unwrap()];
        open.disk.read_at(0, &mut bytes).unwrap();
        open.disk = Arc::new(MemoryDisk(bytes));
        Ok(open)
    }
}

impl ArtifactSource for Remote {
    fn location(&self) -> &Path {
        Path::new("/subscriptions/1/disks/golden")
    }

    fn open(&self, options: &OpenOptions) -> OpenArtifact {
        let location = || PathBuf::from("/subscriptions/1/disks/data");
        let data_disk = |lun| DataDisk { lun, location: location(), disk: self.disk(options) };
        OpenArtifact { os_disk: self.disk(options), data_disks: (0..self.data_disks).map(data_disk).collect() }
    }

    fn revision(&self) -> Result<Revision, DiskError> {
        let changed = self.asked.fetch_add(1, Ordering::SeqCst) >= self.changes_at;
        Ok(Revision::new(if changed { "2" } else { "1" }))
    }
}

async fn send(fleet: &InProcessFleet, data_disks: u8, changes_at: usize) -> Result<UploadResult, UploadError> {
    let asked = AtomicUsize::new(0);
    let source = Arc::new(Remote { fleet_disk: fleet.golden(), data_disks, asked, changes_at });
    let request = UploadRequest {
        source,
        image: "golden".parse().unwrap(),
        version: "1".parse().unwrap(),
        os: OsType::Linux,
        check: ImageChecks::default(),
        limit: None,
    };
    upload(&fleet.control_with_own_ports(), &request, &|_| {}, &CancellationToken::new()).await
}

/// The disk of another source becomes the same version as the file with these bytes, and reaches all targets.
#[tokio::test(flavor = "multi_thread")]
async fn disk_of_added_source_is_rolled_out() {
    let fleet = InProcessFleet::new();
    let uploaded = send(&fleet, 0, usize::MAX).await.unwrap();
    assert_eq!(uploaded.report.disk.file, Path::new("/subscriptions/1/disks/golden"));
    let again = fleet.upload(&fleet.ports, "1").await.unwrap();
    assert_eq!(again.image.digest, uploaded.image.digest, "the file has the same content");
    let job = fleet.request("1").await;
    fleet.run(&fleet.ports, 2, &job).await;
    fleet.assert_all_done(&job).await;
}

/// A source that changes during the upload leaves no version.
#[tokio::test(flavor = "multi_thread")]
async fn changed_source_is_refused() {
    let fleet = InProcessFleet::new();
    let refused = send(&fleet, 0, 1).await.unwrap_err();
    assert!(matches!(&refused, UploadError::Changed(location) if location.ends_with("disks/golden")), "{refused:?}");
    send(&fleet, 0, usize::MAX).await.unwrap();
}
