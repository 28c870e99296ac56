//! `verify`: missing or damaged content is reported, and unrelated content is not.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::any::Any;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::artifacts::{artifact_record, load_version};
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::verify::{
    VerifyFault, VerifyOptions, VerifyProgress, VerifyReport, VerifyScope, VhdRequirement, verify,
};
use goldfleet_model::artifact::{ArtifactRecord, LoadedVersion};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::Job;
use goldfleet_model::manifest::{Generation, Manifest};
use goldfleet_ports::blob_store::SourceRange;
use goldfleet_ports::error::PortResult;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::files::flip;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::intercept::{Call, Interceptor, intercepted};
use goldfleet_tests::process_fixture::{self, ProcessFixture};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

const MIB: u64 = 1 << 20;

async fn verified(fleet: &InProcessFleet, job: &Job, read: bool) -> VerifyReport {
    let control = fleet.control_with_own_ports();
    let places = VerifyScope::scope_of_job(&control, job).await.unwrap();
    verify(&control, job.image(), &places, VerifyOptions { read, remove: false }, &|_| {}).await.unwrap()
}

/// A job that has brought a version to four targets in two regions.
async fn rolled_out(fleet: &InProcessFleet) -> Job {
    let (job, _) = fleet.roll_out(&fleet.ports, "1", 2).await;
    fleet.ports.table.job(&job).await.unwrap().unwrap().value
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn is_of_chunk(fault: &VerifyFault, chunk: &Path) -> bool {
    fault.chunk.as_deref().is_some_and(|found| found.ends_with(&file_name(chunk)))
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_counts_and_reports_no_faults() {
    let fleet = InProcessFleet::new();
    let job = rolled_out(&fleet).await;
    let control = fleet.control_with_own_ports();
    let places = VerifyScope::scope_of_job(&control, &job).await.unwrap();
    assert!(places.vhds.values().all(|(_, needed)| *needed == VhdRequirement::Optional), "{places:?}");
    for read in [false, true] {
        let told = Mutex::new(Vec::new());
        let watch = |seen: VerifyProgress| told.lock().unwrap().push(seen);
        let verified =
            verify(&control, job.image(), &places, VerifyOptions { read, remove: false }, &watch).await.unwrap();
        assert_eq!(verified.faults, []);
        assert_eq!((verified.stores, verified.vhds, verified.vhds_gone, verified.images), (2, 4, 0, 4));
        assert_eq!(verified.bytes_read > 0, read);
        let told = told.into_inner().unwrap();
        let last = told.last().unwrap();
        assert_eq!((last.locations, last.places_total, last.bytes_read), (10, 10, verified.bytes_read));
        assert!(told.is_sorted_by_key(|seen| seen.bytes_read), "{told:?}");
        assert_eq!(last.bytes_total > 0, read);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_missing_and_corrupt() {
    let fleet = InProcessFleet::new();
    let job = rolled_out(&fleet).await;
    let mut chunks = fleet.chunks("goldsource", "golden").into_keys();
    let (missing, damaged) = (chunks.next().unwrap(), chunks.next().unwrap());
    std::fs::remove_file(&missing).unwrap();
    flip(&damaged, 100);
    flip(&fleet.cloud().join("stage2eastus/vhds/golden/1.vhd"), 24 * MIB - 1024);

    let quick = verified(&fleet, &job, false).await;
    assert_eq!(quick.faults.len(), 1, "{quick:#?}");
    assert!(is_of_chunk(&quick.faults[0], &missing), "{quick:#?}");

    let thorough = verified(&fleet, &job, true).await;
    assert_eq!(thorough.faults.len(), 3, "{thorough:#?}");
    assert!(thorough.faults.iter().any(|fault| is_of_chunk(fault, &damaged)), "{thorough:#?}");
    assert!(thorough.faults.iter().any(|fault| fault.place.contains("stage2eastus/vhds")), "{thorough:#?}");
}

/// Faults that were found before a request failed are reported, and so is what was removed.
#[tokio::test(flavor = "multi_thread")]
async fn failed_request_does_not_lower_counts() {
    let fleet = InProcessFleet::new();
    let job = rolled_out(&fleet).await;
    let missing = fleet.chunks("stage1eastus", "vhds").into_keys().next().unwrap();
    std::fs::remove_file(&missing).unwrap();
    let places = VerifyScope::scope_of_job(&fleet.control_with_own_ports(), &job).await.unwrap();
    // The first requests read the record and the manifest, the third a chunk in the first store.
    let lost = Faults::failing_at("BlobStore.get", 2, LostPart::Request);
    let control = fleet.control_with(with_faults(&fleet.ports, &lost));
    let found =
        verify(&control, job.image(), &places, VerifyOptions { read: true, remove: false }, &|_| {}).await.unwrap();
    assert!(lost.was_hit());
    assert_eq!(found.faults.len(), 2, "{found:#?}");
    assert!(is_of_chunk(&found.faults[0], &missing) && !found.faults[0].unseen, "{found:#?}");
    assert!(found.faults[1].unseen && found.faults[1].place == found.faults[0].place, "{found:#?}");
}

/// A damaged chunk may have been replaced before it is removed. It is read once more, and removed only if its ETag is
/// the listed one.
#[tokio::test(flavor = "multi_thread")]
async fn replaced_chunk_is_not_removed() {
    let fleet = InProcessFleet::new();
    let job = rolled_out(&fleet).await;
    let chunks = fleet.chunks("goldsource", "golden");
    let chunk = chunks.keys().next().unwrap().clone();
    let whole = std::fs::read(&chunk).unwrap();
    // Two requests read the record and the manifest, and one each chunk.
    for (call, nth) in [("BlobStore.get", 2 + chunks.len()), ("BlobStore.delete", 0)] {
        flip(&chunk, 100);
        let (file, content) = (chunk.clone(), whole.clone());
        let replaced = Faults::before(call, nth, async move {
            let new = file.with_extension("new");
            std::fs::write(&new, content).unwrap();
            std::fs::rename(&new, &file).unwrap();
        });
        let control = fleet.control_with(with_faults(&fleet.ports, &replaced));
        let how = VerifyOptions { read: true, remove: true };
        let found =
            verify(&control, job.image(), &VerifyScope::scope_of_source(&control.config), how, &|_| {}).await.unwrap();
        assert!(replaced.was_hit());
        assert_eq!((found.faults.len(), found.removed), (1, 0), "{call}: {found:#?}");
        assert!(std::fs::read(&chunk).unwrap() == whole, "{call}");
    }
}

/// A chunk that matches its name is kept, even if a manifest has another length or checksum for it. Other versions may
/// refer to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_only_a_manifest_calls_wrong_is_not_removed() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let control = fleet.control_with_own_ports();
    let (name, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
    let whole = load_version(&control.ports, &control.config, &name, &version).await.unwrap().manifests.remove(0);
    let chunks = fleet.chunks("goldsource", "golden");
    let mut other_checksum = whole.clone();
    other_checksum.chunks[0].runs[0].crc64 ^= 1;
    let mut other_length = whole.clone();
    let last = other_length.chunks.iter_mut().max_by_key(|chunk| chunk.length).unwrap();
    last.length -= 512;
    last.runs.last_mut().unwrap().length -= 512;
    for wrong in [other_checksum, other_length] {
        let image = replace_version(&fleet, &control, wrong).await;
        let how = VerifyOptions { read: true, remove: true };
        let found =
            verify(&control, Some(&image), &VerifyScope::scope_of_source(&control.config), how, &|_| {}).await.unwrap();
        assert_eq!((found.faults.len(), found.removed), (1, 0), "{found:#?}");
        assert_eq!(fleet.chunks("goldsource", "golden"), chunks);
    }
}

/// Replaces version 1 by one whose disk has this manifest.
async fn replace_version(fleet: &InProcessFleet, control: &ControlContext, manifest: Manifest) -> ImageRef {
    let (name, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
    let ArtifactRecord { artifact, provenance } =
        artifact_record(&control.ports, &control.config, &name, &version).await.unwrap();
    let other = LoadedVersion::of_os_disk((&name, &version), (artifact.os, artifact.generation), manifest);
    let store = control.config.source.store().container();
    let (disk, manifest) = other.disks().next().unwrap();
    let record = ArtifactRecord { artifact: other.artifact.clone(), provenance };
    let manifest = (store.manifest(&name, &version, &disk.disk.manifest), manifest.encode());
    for (blob, text) in [manifest, (store.artifact(&name, &version), record.encode())] {
        let file = fleet.cloud().join(blob.to_string());
        std::fs::write(file, text).unwrap();
    }
    other.image
}

/// Counts the bytes that copies read from the source store. In another region, each of them crosses the WAN.
#[derive(Default)]
struct FromSource(AtomicU64);

impl Interceptor for FromSource {
    async fn call<T: Send + 'static>(&self, Call { name, arguments, make }: Call<'_, T>) -> PortResult<T> {
        let answer = make.await;
        let source = arguments.iter().find_map(|&argument| (argument as &dyn Any).downcast_ref::<SourceRange>());
        if let ("BlobStore.put_pages_from", Some(source), Ok(_)) = (name, source, &answer)
            && source.blob.container.account.as_str() == "goldsource"
        {
            self.0.fetch_add(source.range.end - source.range.start, Ordering::SeqCst);
        }
        answer
    }
}

/// A job's seed has found a chunk in its store and relies on it. Then the chunk is found to be damaged. Copies read it
/// from the source store, over the WAN, whether or not the damaged chunk is removed.
#[tokio::test(flavor = "multi_thread")]
async fn removing_corrupt_chunk_does_not_fail_running_job() {
    let mut crossed = Vec::new();
    for remove in [false, true] {
        let config = process_fixture::SOURCE.to_owned() + "[dispatch]\nsweep = \"50ms\"\n";
        let fleet =
            InProcessFleet::with(&config, &process_fixture::targets(3, &["eastus"]), &process_fixture::golden());
        let first = rolled_out(&fleet).await;
        fleet.delete_all_images();
        std::fs::remove_dir_all(fleet.cloud().join("stage2eastus")).unwrap();
        std::fs::remove_dir_all(fleet.cloud().join("stage3eastus")).unwrap();
        flip(fleet.chunks("stage1eastus", "vhds").keys().next().unwrap(), 100);
        let (control, image) = (fleet.control_with_own_ports(), first.image().cloned());
        let places = VerifyScope::scope_of_job(&control, &first).await.unwrap();
        // The seed has ended before the first page of a copy is written.
        let meanwhile = Faults::before("BlobStore.take_fence", 0, async move {
            let found = block_in_place(|| {
                Handle::current().block_on(verify(
                    &control,
                    image.as_ref(),
                    &places,
                    VerifyOptions { read: true, remove },
                    &|_| {},
                ))
            });
            assert_eq!(found.unwrap().removed, usize::from(remove));
        });
        let counted = Arc::new(FromSource::default());
        let ports = with_faults(&intercepted(&fleet.ports, &counted), &meanwhile);
        let (second, _) = fleet.request_and_run(&ports, "1", 1).await;
        fleet.assert_all_done(&second).await;
        assert!(meanwhile.was_hit());
        crossed.push(counted.0.load(Ordering::SeqCst));
    }
    assert!(crossed[0] > 0 && crossed[0] == crossed[1], "{crossed:?}");
}

/// An image that was deleted, or created from something else, is reported first.
#[tokio::test(flavor = "multi_thread")]
async fn verify_checks_images() {
    let fleet = InProcessFleet::new();
    let job = rolled_out(&fleet).await;
    let mut images = fleet.images().into_iter();
    let (gone, (other, mut image), (foreign, mut untagged)) =
        (images.next().unwrap().0, images.next().unwrap(), images.next().unwrap());
    std::fs::remove_file(&gone).unwrap();
    image["tags"]["goldfleet-digest"] = format!("b3:{}", "0".repeat(64)).into();
    std::fs::write(&other, image.to_string()).unwrap();
    untagged["tags"] = serde_json::json!({});
    std::fs::write(&foreign, untagged.to_string()).unwrap();

    let verified = verified(&fleet, &job, false).await;
    let faults: Vec<_> = verified.faults.iter().map(|fault| fault.fault.as_str()).collect();
    assert_eq!(faults.len(), 3, "{verified:#?}");
    assert_eq!(faults[0], "is not there");
    assert!(faults[1].starts_with("is made of b3:0000"), "{verified:#?}");
    assert!(faults[2].starts_with("was not made by goldfleet"), "{verified:#?}");
    assert!(verified.faults.iter().all(|fault| fault.place.starts_with("image /subscriptions/")), "{verified:#?}");
}

/// Staged VHDs are needed until their images exist. A clean-up that removes them is not a fault.
#[tokio::test(flavor = "multi_thread")]
async fn staged_vhd_is_optional_after_image() {
    let fleet = InProcessFleet::new();
    let job = rolled_out(&fleet).await;
    std::fs::remove_file(fleet.cloud().join("stage1eastus/vhds/golden/1.vhd")).unwrap();
    let found = verified(&fleet, &job, false).await;
    assert_eq!((found.faults.as_slice(), found.vhds, found.vhds_gone), (&[][..], 3, 1));

    let control = fleet.control_with_own_ports();
    let mut places = VerifyScope::scope_of_job(&control, &job).await.unwrap();
    places.vhds.values_mut().for_each(|(_, needed)| *needed = VhdRequirement::Required);
    let found = verify(&control, job.image(), &places, VerifyOptions::default(), &|_| {}).await.unwrap();
    assert_eq!(found.faults.len(), 1, "{found:#?}");
    assert_eq!(found.faults[0].fault, "is not there");
}

/// A job that found everything in place can be verified too.
#[tokio::test(flavor = "multi_thread")]
async fn verify_checks_skipped_targets() {
    let fleet = InProcessFleet::new();
    rolled_out(&fleet).await;
    let (again, status) = fleet.request_and_run(&fleet.ports, "1", 1).await;
    assert_eq!(status.phases.of_kind("image").skipped, 4);
    let job = fleet.ports.table.job(&again).await.unwrap().unwrap().value;
    let found = verified(&fleet, &job, false).await;
    assert_eq!((found.faults.as_slice(), found.vhds, found.images), (&[][..], 4, 4));
}

/// An account that cannot be reached does not affect the results of others, and is not reported as damaged.
#[test]
fn unreadable_location_does_not_stop_verify() {
    let fixture = rolled_out_place();
    let account = fixture.path("cloud/stage1eastus");
    std::fs::remove_dir_all(&account).unwrap();
    std::fs::write(&account, "in the way").unwrap();
    let verify = || {
        let output = fixture.run(&["verify", "--output", "json"]);
        (output.status.code(), serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap())
    };
    let (code, found) = verify();
    assert_eq!(code, Some(3), "{found:#}");
    assert!(found["faults"].as_array().unwrap().iter().all(|fault| fault["unseen"] == true), "{found:#}");
    assert_eq!((&found["vhds"], &found["images"]), (&1.into(), &2.into()), "{found:#}");

    // Known damage takes precedence.
    std::fs::remove_file(fixture.path("cloud/stage1westeurope/vhds/golden/1.vhd")).unwrap();
    std::fs::remove_dir_all(fixture.path("cloud/subscriptions")).unwrap();
    assert_eq!(verify().0, Some(1));
}

/// Verification takes as long as reading everything, and can be interrupted at any time.
#[test]
fn interrupt_stops_verify_immediately() {
    let fixture = rolled_out_place();
    let images = "cloud/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/images/images";
    let image = fixture.path(images).join("golden-1-westeurope.json");
    std::fs::remove_file(&image).unwrap();
    // Opening a pipe waits for its other end, here forever.
    mknodat(CWD, &image, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut running = fixture.start("goldfleet", &["verify", "--read"]);
    let status = format!("/proc/{}/status", running.0.id());
    let begun = Instant::now();
    while !catches_interrupts(&std::fs::read_to_string(&status).unwrap()) {
        assert!(running.0.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(begun.elapsed() < Duration::from_secs(20), "it never gets to its work");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::INT);
    assert_eq!(running.0.wait().unwrap().code(), Some(130));
}

/// A directory in which one subscription has an image in two regions.
fn rolled_out_place() -> ProcessFixture {
    let targets = process_fixture::targets(1, &["westeurope", "eastus"]);
    let fixture = ProcessFixture::new(
        process_fixture::SOURCE,
        &targets,
        &GoldenSpec::spread(64 * MIB, Generation::V2, 4 * MIB, 4, 1),
    );
    fixture.succeed(&fixture.upload(&["--wait"]));
    fixture
}

/// Whether a process has a handler for SIGINT, by the mask in its status.
fn catches_interrupts(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (Signal::INT.as_raw() - 1)) != 0
}
