//! A version exists when its artifact record exists.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use goldfleet_dispatcher::control::artifacts::artifact_record;
use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::garbage_collection::{CollectOptions, CollectionReport, collect_garbage};
use goldfleet_dispatcher::control::images::images;
use goldfleet_dispatcher::control::live::LiveSetError;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::upload::UploadError;
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_tests::files::visit;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::intercept::{Call, Interceptor, intercepted};
use tokio::sync::Notify;

use crate::killed_seeds::later;

const HOUR: Duration = Duration::from_secs(3600);

fn golden() -> (ImageName, ImageVersion) {
    ("golden".parse().unwrap(), "1".parse().unwrap())
}

/// The files under a prefix of the source store.
fn files(fleet: &InProcessFleet, prefix: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    visit(&fleet.cloud().join("goldsource/golden").join(prefix), &mut |file| files.push(file.to_owned()));
    files
}

async fn collect(fleet: &InProcessFleet, after: Duration) -> Result<CollectionReport, ControlError> {
    collect_garbage(&fleet.control_with(later(&fleet.ports, after)), &CollectOptions::default()).await
}

/// Never writes a blob whose name begins with a prefix: the process is killed before that.
#[derive(Default)]
struct KilledBefore {
    prefix: &'static str,
    reached: Notify,
    is_reached: AtomicBool,
}

impl Interceptor for KilledBefore {
    async fn call<T: Send + 'static>(&self, Call { name, arguments, make }: Call<'_, T>) -> PortResult<T> {
        let is_there = arguments.iter().any(|&argument| {
            let argument: &dyn std::any::Any = argument;
            argument.downcast_ref::<BlobAddress>().is_some_and(|blob| blob.name.starts_with(self.prefix))
        });
        if name == "BlobStore.put_blob" && is_there {
            self.is_reached.store(true, Ordering::SeqCst);
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        make.await
    }
}

/// Uploads version 1, and kills the upload before it writes such a blob.
async fn killed_before(fleet: &InProcessFleet, prefix: &'static str) {
    let kill = Arc::new(KilledBefore { prefix, ..KilledBefore::default() });
    let ports: Ports = intercepted(&fleet.ports, &kill);
    tokio::select! {
        ended = fleet.upload(&ports, "1") => panic!("the upload ended: {ended:?}"),
        () = kill.reached.notified() => {}
    }
    assert!(kill.is_reached.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn record_names_disks_and_says_who_uploaded_them() {
    let fleet = InProcessFleet::new();
    let uploaded = fleet.upload(&fleet.ports, "1").await.unwrap();
    let control = fleet.control_with_own_ports();
    let (image, version) = golden();
    let record = artifact_record(&control.ports, &control.config, &image, &version).await.unwrap();
    assert_eq!(record.artifact.named(&image, &version), uploaded.image);
    assert_eq!(record.artifact.disks.len(), 1);
    assert_eq!(record.artifact.disks[0].disk.role, DiskRole::Os);
    assert_eq!(record.artifact.disks[0].data_bytes, uploaded.counts.bytes_data);
    assert_eq!(record.provenance.upload, uploaded.counts.id);
    assert_eq!(record.provenance.by, control.jobs.actor);
    assert_eq!(record.provenance.source, Some(fleet.golden().display().to_string()));
    assert_eq!((files(&fleet, "artifacts").len(), files(&fleet, "manifests").len()), (1, 1));
}

/// An upload that is killed before it writes its record leaves no version, though its manifest is in the store. The
/// next upload sends nothing and writes the record.
#[tokio::test(flavor = "multi_thread")]
async fn upload_without_its_record_leaves_no_version() {
    for prefix in ["manifests/", "artifacts/"] {
        let fleet = InProcessFleet::new();
        killed_before(&fleet, prefix).await;
        assert_eq!(files(&fleet, "manifests").len(), usize::from(prefix == "artifacts/"));
        let control = fleet.control_with_own_ports();
        let (image, version) = golden();
        let requested = request_job(&control, &image, &version, &[], false).await;
        assert!(matches!(requested, Err(ControlError::NoSuchImage { .. })), "{requested:?}");
        assert!(images(&control, None).await.unwrap().0.is_empty());

        let again = fleet.upload(&fleet.ports, "1").await.unwrap();
        assert!(!again.existed && again.counts.bytes_sent == 0, "{again:?}");
        let (listed, _) = images(&control, None).await.unwrap();
        assert_eq!((listed.len(), &listed[0].fault), (1, &None));
        assert_eq!(listed[0].digest, Some(again.image.digest));
    }
}

/// The manifest of a killed upload is kept as long as the upload may be in progress, and is garbage afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn manifest_without_a_version_is_collected_later() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "2").await.unwrap();
    fleet.change_golden();
    killed_before(&fleet, "artifacts/").await;
    let (chunks, manifests) = (files(&fleet, "chunks"), files(&fleet, "manifests"));
    let early = collect(&fleet, Duration::ZERO).await.unwrap();
    assert_eq!((early.garbage, early.manifests), (0, 0), "{early:?}");
    assert_eq!((files(&fleet, "chunks"), files(&fleet, "manifests")), (chunks.clone(), manifests));

    let late = collect(&fleet, HOUR).await.unwrap();
    assert_eq!((late.deleted, late.manifests), (1, 1), "{late:?}");
    assert_eq!((files(&fleet, "chunks").len(), files(&fleet, "manifests").len()), (chunks.len() - 1, 1));
    let again = fleet.upload(&fleet.ports, "1").await.unwrap();
    assert!(!again.existed && again.counts.bytes_sent > 0, "{again:?}");
    collect(&fleet, HOUR).await.unwrap();
    fleet.request_and_run(&fleet.ports, "1", 1).await;
}

/// A running upload that finds an old manifest renews it, so that a collection that runs at the same time keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn manifest_that_an_upload_relies_on_is_renewed() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "2").await.unwrap();
    killed_before(&fleet, "artifacts/").await;
    let manifest = files(&fleet, "manifests").into_iter().find(|file| file.to_string_lossy().contains("/1/")).unwrap();
    let modified = |file: &PathBuf| fs::metadata(file).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&manifest).unwrap().set_modified(modified(&manifest) - HOUR).unwrap();
    let old = modified(&manifest);
    killed_before(&fleet, "artifacts/").await;
    assert!(modified(&manifest) > old, "it was not renewed");
    let early = collect(&fleet, Duration::ZERO).await.unwrap();
    assert_eq!(early.manifests, 0, "{early:?}");
}

/// Deleting a version deletes its record. The manifest is garbage, and the next upload relies on it nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn deleted_version_can_be_uploaded_again() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    assert!(fleet.delete_version("1").await);
    assert_eq!((files(&fleet, "artifacts").len(), files(&fleet, "manifests").len()), (0, 1));
    let again = fleet.upload(&fleet.ports, "1").await.unwrap();
    assert!(!again.existed && again.counts.bytes_sent == 0, "{again:?}");
    collect(&fleet, HOUR).await.unwrap();
    fleet.request_and_run(&fleet.ports, "1", 1).await;
}

/// A manifest that is damaged or missing is named by the list, stops a collection, and is written again by an upload.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_manifest_is_written_again() {
    for is_missing in [false, true] {
        let fleet = InProcessFleet::new();
        let uploaded = fleet.upload(&fleet.ports, "1").await.unwrap();
        let manifest = files(&fleet, "manifests").remove(0);
        let whole = fs::read(&manifest).unwrap();
        if is_missing {
            fs::remove_file(&manifest).unwrap();
            let (listed, _) = images(&fleet.control_with_own_ports(), None).await.unwrap();
            assert_eq!(listed[0].fault.as_ref().map(|fault| fault.code), Some("manifest-missing"));
        } else {
            fs::write(&manifest, &whole[..whole.len() / 2]).unwrap();
        }
        let refused = collect(&fleet, HOUR).await.unwrap_err();
        assert!(matches!(refused, ControlError::LiveSet(LiveSetError::Unreadable { .. })), "{refused}");
        let again = fleet.upload(&fleet.ports, "1").await.unwrap();
        assert!(again.existed && again.image == uploaded.image, "{again:?}");
        assert_eq!(fs::read(&manifest).unwrap(), whole);
        collect(&fleet, HOUR).await.unwrap();
        fleet.request_and_run(&fleet.ports, "1", 1).await;
    }
}

/// Two uploads of one version have different content. The first record wins, and the other upload changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_never_changes() {
    let fleet = InProcessFleet::new();
    let first = fleet.upload(&fleet.ports, "1").await.unwrap();
    let record = fs::read(&files(&fleet, "artifacts")[0]).unwrap();
    fleet.change_golden();
    let other = fleet.upload(&fleet.ports, "1").await.unwrap_err();
    let UploadError::OtherContent(other) = other else { panic!("{other}") };
    assert_eq!((other.there, other.differences.as_str()), (first.image.digest, "its data"));
    assert_eq!(fs::read(&files(&fleet, "artifacts")[0]).unwrap(), record);
}

/// A store of an earlier release has manifests and no records. Everything that would rely on it is refused with what to
/// do, and that works.
#[tokio::test(flavor = "multi_thread")]
async fn store_of_an_earlier_release_is_refused() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "2").await.unwrap();
    let earlier = fleet.cloud().join("goldsource/golden/manifests/golden/1.jsonl");
    fs::write(&earlier, b"{\"format\":\"goldfleet-manifest\",\"v\":3}\n").unwrap();
    let (chunks, control, (image, version)) = (files(&fleet, "chunks"), fleet.control_with_own_ports(), golden());
    let remedy = "goldfleet cleanup --image golden --version 1";
    let uploaded = fleet.upload(&fleet.ports, "3").await.unwrap_err();
    assert!(matches!(uploaded, UploadError::Earlier(_)) && uploaded.to_string().contains(remedy), "{uploaded}");
    let requested = request_job(&control, &image, &version, &[], false).await.unwrap_err();
    assert!(matches!(requested, ControlError::EarlierVersion(_)), "{requested}");
    let collected = collect(&fleet, HOUR).await.unwrap_err();
    assert!(matches!(collected, ControlError::LiveSet(LiveSetError::Earlier(_))), "{collected}");
    assert_eq!(files(&fleet, "chunks"), chunks);
    let (listed, _) = images(&control, None).await.unwrap();
    let faults: Vec<_> = listed.iter().map(|line| line.fault.as_ref().map(|fault| fault.code)).collect();
    assert_eq!(faults.iter().flatten().collect::<Vec<_>>(), [&"manifest-version"]);

    assert!(fleet.delete_version("1").await && !earlier.exists());
    fleet.upload(&fleet.ports, "1").await.unwrap();
    collect(&fleet, HOUR).await.unwrap();
    fleet.request_and_run(&fleet.ports, "1", 1).await;
}
