//! Versions with data disks: every disk is uploaded, copied to every target, verified and retried on its own, and the
//! managed image has all of them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use goldfleet_disk::{AzureDisk, GoldenSpec, OpenOptions as DiskOptions, StatedFormat, open, same_disk};
use goldfleet_dispatcher::control::artifacts::artifact_record;
use goldfleet_dispatcher::control::check::ImageChecks;
use goldfleet_dispatcher::control::cleanup::{cleanup_job, delete_version};
use goldfleet_dispatcher::control::garbage_collection::{CollectOptions, collect_garbage};
use goldfleet_dispatcher::control::images::images;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_dispatcher::control::upload::{UploadError, UploadRequest, UploadResult, upload};
use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyScope, verify};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::JobId;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_ports::Ports;
use goldfleet_sources::{DataFile, DiskFile};
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::files::visit;
use goldfleet_tests::fleet::{InProcessFleet, staged_vhd};
use goldfleet_tests::process_fixture;
use tokio_util::sync::CancellationToken;

use crate::killed_seeds::later;

const MIB: u64 = 1 << 20;
const DATA_0: DiskRole = DiskRole::Data(0);
const DATA_5: DiskRole = DiskRole::Data(5);

/// A fleet with four targets in two regions, and the files of two data disks: a VHD, and a raw disk without partitions.
struct Scene {
    fleet: InProcessFleet,
    targets: usize,
}

impl Scene {
    fn new() -> Self {
        Self::of(InProcessFleet::new(), 4)
    }

    fn of(fleet: InProcessFleet, targets: usize) -> Self {
        let scene = Self { fleet, targets };
        GoldenSpec::spread(32 * MIB, Generation::V2, MIB, 4, 2).write(&scene.file(DATA_0)).unwrap();
        let raw = OpenOptions::new().write(true).create_new(true).open(scene.file(DATA_5)).unwrap();
        raw.set_len(20 * MIB).unwrap();
        raw.write_all_at(&[0x17; 96 << 10], 9 * MIB).unwrap();
        scene
    }

    fn file(&self, disk: DiskRole) -> PathBuf {
        match disk {
            DiskRole::Os => self.fleet.golden(),
            DiskRole::Data(lun) => self.fleet.golden().with_file_name(format!("data-{lun}.img")),
        }
    }

    fn format(disk: DiskRole) -> Option<StatedFormat> {
        (disk == DATA_5).then(|| "raw".parse().unwrap())
    }

    async fn upload(&self, ports: &Ports, version: &str) -> Result<UploadResult, UploadError> {
        let data =
            |disk: DiskRole| DataFile { lun: disk.lun().unwrap(), format: Self::format(disk), path: self.file(disk) };
        let request = UploadRequest {
            // The order on the command line does not matter.
            source: Arc::new(DiskFile::new(self.fleet.golden()).with_data(vec![data(DATA_5), data(DATA_0)])),
            image: "golden".parse().unwrap(),
            version: version.parse().unwrap(),
            os: OsType::Linux,
            check: ImageChecks::default(),
            limit: None,
        };
        upload(&self.fleet.control_with(ports.clone()), &request, &|_| {}, &CancellationToken::new()).await
    }

    async fn roll_out(&self, version: &str) -> (JobId, Status) {
        self.upload(&self.fleet.ports, version).await.unwrap();
        self.fleet.request_and_run(&self.fleet.ports, version, 2).await
    }

    async fn rows(&self, job: &JobId) -> Vec<Operation> {
        self.fleet.ports.table.operations(job).await.unwrap().into_iter().map(|row| row.value).collect()
    }

    /// The copies of a disk.
    async fn copies(&self, job: &JobId, disk: DiskRole) -> Vec<Operation> {
        let mut rows = self.rows(job).await;
        let is_of_disk = |row: &Operation| row.spec.data["disk"] == disk.to_string() && row.kind.as_str() == "copy";
        rows.retain(is_of_disk);
        rows
    }

    /// The files below a folder of the source store.
    fn stored(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        visit(&self.fleet.cloud().join("goldsource/golden").join(folder), &mut |file| files.push(file.to_owned()));
        files
    }

    /// Asserts that every target has every disk with its bytes, and an image with all of them.
    async fn assert_all_at_targets(&self, job: &JobId) {
        let status = self.fleet.status(job).await;
        assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
        for disk in [DiskRole::Os, DATA_0, DATA_5] {
            let options = DiskOptions { format: Self::format(disk), ..DiskOptions::default() };
            let golden = AzureDisk::new(&open(&self.file(disk), &options).unwrap(), false).unwrap();
            let copies = self.copies(job, disk).await;
            assert_eq!(copies.len(), self.targets, "{disk}");
            for copy in copies {
                let file = self.fleet.cloud().join(staged_vhd(&self.fleet.ports, &copy).to_string());
                assert_eq!(same_disk(&golden, &file).unwrap(), None, "{} differs", file.display());
            }
        }
        let images = self.fleet.images();
        assert_eq!(images.len(), self.targets);
        for image in images.values() {
            assert_eq!(image["tags"]["goldfleet-digest"].as_str(), status.digest.as_deref());
            let profile = &image["properties"]["storageProfile"];
            let data = profile["dataDisks"].as_array().unwrap();
            let luns: Vec<_> = data.iter().map(|disk| disk["lun"].as_u64().unwrap()).collect();
            assert_eq!(luns, [0, 5]);
            assert!(data.iter().all(|disk| disk["caching"] == "None"), "{data:?}");
            let of_os = profile["osDisk"]["blobUri"].as_str().unwrap().to_owned();
            for (disk, role) in data.iter().zip(["data-0", "data-5"]) {
                let url = disk["blobUri"].as_str().unwrap();
                assert!(url.contains(role) && url != of_os, "{url}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_disks_reach_all_targets_and_are_cleaned_up() {
    let scene = Scene::new();
    let (job, status) = scene.roll_out("1").await;
    scene.assert_all_at_targets(&job).await;
    let shown: Vec<_> = status.disks.iter().map(|disk| (disk.disk, disk.targets, disk.done, disk.failed)).collect();
    assert_eq!(shown, [(DiskRole::Os, 4, 4, 0), (DATA_0, 4, 4, 0), (DATA_5, 4, 4, 0)]);
    assert!(status.disks.iter().all(|disk| disk.bytes_done == disk.bytes_total && disk.bytes_total > 0));

    let control = scene.fleet.control_with_own_ports();
    let (image, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
    let record = artifact_record(&control.ports, &control.config, &image, &version).await.unwrap();
    let roles: Vec<_> = record.artifact.disks.iter().map(|disk| disk.disk.role).collect();
    assert_eq!(roles, [DiskRole::Os, DATA_0, DATA_5]);
    assert_eq!((scene.stored("manifests").len(), scene.stored("artifacts").len()), (3, 1));
    let (listed, _) = images(&control, None).await.unwrap();
    assert_eq!((listed[0].disks.len(), listed[0].size, &listed[0].fault), (3, Some((24 + 32 + 20) * MIB), &None));

    let row = scene.fleet.ports.table.job(&job).await.unwrap().unwrap().value;
    let places = VerifyScope::scope_of_job(&control, &row).await.unwrap();
    let how = VerifyOptions { read: true, remove: false };
    let report = verify(&control, row.image(), &places, how, &|_| {}).await.unwrap();
    assert_eq!((report.vhds, report.images, report.faults.len()), (12, 4, 0), "{report:?}");
    assert_eq!(cleanup_job(&control.jobs, &job).await.unwrap().vhds, 12);
    let report = verify(&control, row.image(), &places, how, &|_| {}).await.unwrap();
    assert_eq!((report.vhds_gone, report.faults.len()), (12, 0), "the images exist: {report:?}");

    assert!(delete_version(&control, &image, &version).await.unwrap());
    let later = scene.fleet.control_with(later(&scene.fleet.ports, Duration::from_secs(3600)));
    let given_up = [control.config.source.store().container()].into();
    let options = CollectOptions { given_up, ..CollectOptions::default() };
    collect_garbage(&later, &options).await.unwrap();
    assert_eq!((scene.stored("manifests").len(), scene.stored("chunks").len()), (0, 0));
}

/// The copy of one disk fails at one target. All other disks arrive. A retry copies this disk only, and then creates
/// the image.
#[tokio::test(flavor = "multi_thread")]
async fn one_disk_is_retried_alone() {
    let scene = Scene::new();
    scene.upload(&scene.fleet.ports, "1").await.unwrap();
    let blocked = "stage1eastus/vhds/golden";
    fs::create_dir_all(scene.fleet.cloud().join(blocked)).unwrap();
    let vhd = scene.fleet.cloud().join(blocked).join("1__data-5.vhd");
    fs::write(&vhd, "in the way").unwrap();
    let (job, status) = scene.fleet.request_and_run(&scene.fleet.ports, "1", 2).await;
    assert_eq!(status.state, ReportedState::Failed);
    let failed: Vec<_> = status.failures.iter().map(|row| (row.phase.as_str(), row.disk, row.code.as_str())).collect();
    assert_eq!(failed, [("copy", Some(DATA_5), "vhd-foreign")], "{:#?}", status.failures);
    assert_eq!((status.phases.of_kind("copy").succeeded, status.phases.of_kind("image").succeeded), (11, 3));

    let attempts = |rows: Vec<Operation>| -> BTreeMap<_, _> {
        rows.into_iter().filter(|row| row.kind.as_str() == "copy").map(|row| (row.id, row.attempts)).collect()
    };
    let before = attempts(scene.rows(&job).await);
    fs::remove_file(&vhd).unwrap();
    scene.fleet.drain_dead_letters().await;
    assert_eq!(scene.fleet.retry(&job).await, 2, "the copy of the disk, and the image");
    scene.fleet.run(&scene.fleet.ports, 1, &job).await;
    scene.assert_all_at_targets(&job).await;
    let again: Vec<_> =
        attempts(scene.rows(&job).await).into_iter().filter(|(id, attempts)| before[id] != *attempts).collect();
    assert_eq!(again.len(), 1, "{again:#?}");
}

/// The VHD of a data disk disappears before the image is created. A retry of the image copies that disk again.
#[tokio::test(flavor = "multi_thread")]
async fn vanished_data_disk_is_copied_again_with_the_image() {
    let config = format!("{}[dispatch]\nsweep = \"50ms\"\n", process_fixture::SOURCE);
    let targets = process_fixture::targets(1, &["westeurope"]);
    let scene = Scene::of(InProcessFleet::with(&config, &targets, &process_fixture::golden()), 1);
    scene.upload(&scene.fleet.ports, "1").await.unwrap();
    let cloud = scene.fleet.cloud();
    let faults = Faults::before("ResourceService.put", 0, async move {
        visit(&cloud, &mut |file| {
            if file.to_string_lossy().contains("1__data-0.vhd") {
                fs::remove_file(file).unwrap();
            }
        });
    });
    let (job, status) = scene.fleet.request_and_run(&with_faults(&scene.fleet.ports, &faults), "1", 1).await;
    assert_eq!(status.state, ReportedState::Failed, "{status:#?}");
    let failed: Vec<_> = status.failures.iter().map(|row| (row.phase.as_str(), row.code.as_str())).collect();
    assert_eq!(failed, [("image", "vhd-not-found")], "{:#?}", status.failures);
    let before: BTreeMap<_, _> = scene.rows(&job).await.into_iter().map(|row| (row.id, row.attempts)).collect();
    scene.fleet.drain_dead_letters().await;
    scene.fleet.retry(&job).await;
    scene.fleet.run(&scene.fleet.ports, 2, &job).await;
    let again = scene.copies(&job, DATA_0).await.remove(0);
    assert!(again.attempts > before[&again.id], "{again:#?}");
    scene.assert_all_at_targets(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_data_disk_sends_only_its_chunks() {
    let scene = Scene::new();
    let first = scene.upload(&scene.fleet.ports, "1").await.unwrap();
    let again = scene.upload(&scene.fleet.ports, "1").await.unwrap();
    assert!(again.existed && again.counts.bytes_sent == 0, "{again:?}");
    let raw = OpenOptions::new().write(true).open(scene.file(DATA_5)).unwrap();
    raw.write_all_at(&[0x71; 64 << 10], 9 * MIB).unwrap();
    let refused = scene.upload(&scene.fleet.ports, "1").await.unwrap_err();
    assert!(matches!(&refused, UploadError::OtherContent(_)), "{refused:?}");
    assert!(refused.to_string().contains("disk data-5: "), "{refused}");
    let second = scene.upload(&scene.fleet.ports, "2").await.unwrap();
    assert_ne!(second.image.digest, first.image.digest);
    assert_eq!(second.counts.bytes_sent, 96 << 10, "the chunk of the window that changed");
    assert_eq!(second.counts.bytes_total, first.counts.bytes_total);
    let (job, _) = scene.fleet.request_and_run(&scene.fleet.ports, "2", 2).await;
    scene.assert_all_at_targets(&job).await;
}

/// A version without the data disk, or with the disk at another LUN, is another version.
#[tokio::test(flavor = "multi_thread")]
async fn other_disks_are_other_content() {
    let scene = Scene::new();
    scene.upload(&scene.fleet.ports, "1").await.unwrap();
    let refused = scene.fleet.upload(&scene.fleet.ports, "1").await.unwrap_err();
    assert!(refused.to_string().contains("its disks (os, not os, data-0, data-5)"), "{refused}");
    scene.fleet.upload(&scene.fleet.ports, "2").await.unwrap();
    let refused = scene.upload(&scene.fleet.ports, "2").await.unwrap_err();
    assert!(refused.to_string().contains("its disks (os, data-0, data-5, not os)"), "{refused}");
}

/// An upload that was killed after some manifests continues, and one of a version with a missing manifest and a missing
/// chunk of a data disk repairs it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_upload_continues_and_damaged_version_is_repaired() {
    for nth in [1, 3, 5, 7] {
        let scene = Scene::new();
        let faults = Faults::failing_at("BlobStore.put_blob", nth, LostPart::Caller);
        let ports = with_faults(&scene.fleet.ports, &faults);
        tokio::select! {
            ended = scene.upload(&ports, "1") => panic!("the upload ended: {ended:?}"),
            () = faults.reached() => {}
        }
        let again = scene.upload(&scene.fleet.ports, "1").await.unwrap();
        assert!(!again.existed && again.counts.bytes_reused > 0, "{nth}: {again:?}");

        let control = scene.fleet.control_with_own_ports();
        let record =
            artifact_record(&control.ports, &control.config, &again.image.name, &again.image.version).await.unwrap();
        let data = record.artifact.disk(DATA_5).unwrap().disk;
        let store = control.config.source.store().container();
        let manifest = store.manifest(&again.image.name, &again.image.version, &data.manifest);
        fs::remove_file(scene.fleet.cloud().join(manifest.to_string())).unwrap();
        let chunk = scene.stored("chunks").into_iter().find(|file| fs::metadata(file).unwrap().len() == 96 << 10);
        fs::remove_file(chunk.unwrap()).unwrap();
        let repaired = scene.upload(&scene.fleet.ports, "1").await.unwrap();
        assert_eq!((repaired.existed, repaired.repaired, repaired.counts.bytes_sent), (true, 1, 96 << 10), "{nth}");
        let (job, _) = scene.fleet.request_and_run(&scene.fleet.ports, "1", 2).await;
        scene.assert_all_at_targets(&job).await;
    }
}

/// With rings, the copies of data disks count: the next ring waits for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn next_ring_waits_for_all_disks() {
    let scene = Scene::new();
    scene.fleet.put_eastus_in_ring_1();
    let (job, _) = scene.roll_out("1").await;
    scene.assert_all_at_targets(&job).await;
    let rows = scene.rows(&job).await;
    let of_ring = |ring: u32| rows.iter().filter(move |row| row.target().is_some_and(|target| target.ring == ring));
    let last = of_ring(0).map(|row| row.updated).max().unwrap();
    let first = of_ring(1).filter_map(|row| row.started).min().unwrap();
    assert!(of_ring(0).all(|row| row.state == OperationState::Succeeded));
    assert!(first >= last, "{first} is before {last}");
}
