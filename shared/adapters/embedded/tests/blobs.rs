//! The directory cloud: the conformance suites of its ports, and its additional guarantees.
//!
//! Tests across processes start this program again with a role in the environment. [`other_process_role`] is then the
//! only test and runs the role.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use goldfleet_embedded::blob_store::DirectoryBlobs;
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::blob_store::{BlobStore, Fence, PAGE};
use goldfleet_ports::clock::{SystemClock, TokioClock};
use goldfleet_ports::conformance;
use goldfleet_ports::error::ErrorKind;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const ROLE: &str = "GOLDFLEET_TEST_ROLE";
const ROOT: &str = "GOLDFLEET_TEST_ROOT";

/// The length of the blobs that the other process writes.
const LENGTH: usize = 4 * 1024 * 1024;

fn container() -> Container {
    Container { account: "stage0001".parse().unwrap(), container: "golden".parse().unwrap() }
}

fn blobs_at(root: &Path) -> DirectoryBlobs {
    DirectoryBlobs::new(root.to_owned(), Arc::new(SystemClock))
}

fn crc(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// Creates a directory cloud with the container.
async fn cloud() -> (TempDir, DirectoryBlobs) {
    let root = TempDir::new().unwrap();
    let blobs = blobs_at(root.path());
    blobs.ensure_container(&container()).await.unwrap();
    (root, blobs)
}

/// A link to a folder or file elsewhere is not followed: nothing is read, written or deleted there.
#[tokio::test(flavor = "multi_thread")]
async fn symbolic_links_do_not_lead_out() {
    let (root, blobs) = cloud().await;
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("file");
    fs::write(&file, "mine").unwrap();
    let home = root.path().join("stage0001/golden");
    std::os::unix::fs::symlink(elsewhere.path(), home.join("folder")).unwrap();
    std::os::unix::fs::symlink(&file, home.join("link")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), root.path().join("stage0002")).unwrap();
    let other = Container { account: "stage0002".parse().unwrap(), container: "golden".parse().unwrap() };
    assert_eq!(blobs.ensure_container(&other).await.unwrap_err().code, "account-unusable");
    for name in ["folder/file", "folder/new", "link"] {
        let blob = container().blob(name);
        let body = Bytes::from_static(b"not mine");
        let checksums = goldfleet_ports::blob_store::Checksums { crc64: crc(&body), md5: None };
        for error in [
            blobs.put_blob(&blob, body, checksums).await.unwrap_err(),
            blobs.get(&blob, None).await.unwrap_err(),
            blobs.delete(&blob, None).await.unwrap_err(),
        ] {
            assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Denied, "account-unusable"), "{name}: {error}");
        }
    }
    assert!(blobs.list(&container(), "", None).await.unwrap().blobs.is_empty());
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_conform() {
    let root = TempDir::new().unwrap();
    conformance::blob_store::all(&blobs_at(root.path()).with_list_page(2), &container()).await;
}

#[tokio::test]
async fn file_at_account_path_fails_all_calls() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("stage0001"), "").unwrap();
    let (blobs, blob) = (blobs_at(root.path()), container().blob("a/b"));
    let errors = [
        blobs.ensure_container(&container()).await.unwrap_err(),
        blobs.put_blob(&blob, Bytes::new(), crc(b"").into()).await.unwrap_err(),
        blobs.get(&blob, None).await.unwrap_err(),
        blobs.properties(&blob).await.unwrap_err(),
        blobs.list(&container(), "", None).await.unwrap_err(),
        blobs.create_page_blob(&blob, PAGE, &BTreeMap::new()).await.unwrap_err(),
        blobs.take_fence(&blob).await.unwrap_err(),
        blobs.delete(&blob, None).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Denied, "account-unusable"), "{error}");
        let text = error.to_string().replace(&root.path().display().to_string(), "<root>");
        assert_eq!(text, "<root>/stage0001: expected a directory, found a file");
    }
}

#[tokio::test]
async fn names_cannot_escape_container() {
    let (_root, blobs) = cloud().await;
    let long = "x/".repeat(600);
    for name in ["", "..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/", ".hidden", "a/.hidden", "a\0b", &long] {
        let blob = container().blob(name);
        let put = blobs.put_blob(&blob, Bytes::new(), crc(b"").into()).await.unwrap_err();
        let get = blobs.get(&blob, None).await.unwrap_err();
        assert_eq!((put.kind, get.kind), (ErrorKind::Invalid, ErrorKind::Invalid), "{name:?}");
    }
    let segment = container().blob("x".repeat(300));
    let error = blobs.put_blob(&segment, Bytes::new(), crc(b"").into()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn blobs_and_folders_do_not_collide() {
    let (_root, blobs) = cloud().await;
    let put = async |name: &str| blobs.put_blob(&container().blob(name), Bytes::new(), crc(b"").into()).await;
    put("folder/blob").await.unwrap();
    for name in ["folder", "folder/blob/below"] {
        let error = put(name).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Invalid, "name-taken"), "{name}: {error}");
        assert_eq!(blobs.properties(&container().blob(name)).await.unwrap(), None, "{name}");
    }
}

#[tokio::test]
async fn delete_leaves_no_files() {
    let (root, blobs) = cloud().await;
    let blob = container().blob("ubuntu__1.vhd");
    blobs.create_page_blob(&blob, PAGE, &BTreeMap::new()).await.unwrap();
    let account = root.path().join("stage0001");
    assert!(account.join(".goldfleet/golden/ubuntu__1.vhd.json").is_file());
    assert!(blobs.delete(&blob, None).await.unwrap());
    assert_eq!(fs::read_dir(account.join("golden")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(account.join(".goldfleet/tmp")).unwrap().count(), 0);
    assert!(!account.join(".goldfleet/golden").exists());
}

#[tokio::test]
async fn interrupted_create_is_resumed() {
    let (root, blobs) = cloud().await;
    let blob = container().blob("1.vhd");
    let begun = Fence::at(Timestamp::now());
    // The state after a kill between the sidecar and the blob, and after kills during the write of the sidecar.
    for left in ["{\"sequence\": \"0000000000000009\", \"metadata\": {\"job\": \"killed\"}}", "{\"sequ", ""] {
        let folder = root.path().join("stage0001/.goldfleet/golden");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("1.vhd.json"), left).unwrap();
        assert_eq!(blobs.properties(&blob).await.unwrap(), None);
        let metadata = BTreeMap::from([("job".to_owned(), "next".to_owned())]);
        blobs.create_page_blob(&blob, PAGE, &metadata).await.unwrap();
        assert_eq!(blobs.properties(&blob).await.unwrap().unwrap().metadata, metadata);
        assert!(blobs.take_fence(&blob).await.unwrap() > begun, "a fence is taken from what was left");
        assert!(blobs.delete(&blob, None).await.unwrap());
    }
}

#[tokio::test]
async fn manually_placed_file_is_block_blob() {
    let (root, blobs) = cloud().await;
    fs::write(root.path().join("stage0001/golden/mine.vhd"), "bytes").unwrap();
    let blob = container().blob("mine.vhd");
    assert!(blobs.properties(&blob).await.unwrap().unwrap().metadata.is_empty());
    assert_eq!(blobs.get(&blob, None).await.unwrap(), "bytes");
    assert_eq!(blobs.take_fence(&blob).await.unwrap_err().code, "not-a-page-blob");
}

#[tokio::test]
async fn page_blob_is_sparse() {
    let (root, blobs) = cloud().await;
    let (blob, body) = (container().blob("1.vhd"), Bytes::from(vec![1; LENGTH]));
    blobs.create_page_blob(&blob, 1 << 40, &BTreeMap::new()).await.unwrap();
    let fence = blobs.take_fence(&blob).await.unwrap();
    blobs.put_pages(&blob, fence, 1 << 39, body.clone(), crc(&body)).await.unwrap();
    let occupied = || fs::metadata(root.path().join("stage0001/golden/1.vhd")).unwrap().blocks() * 512;
    assert!(occupied() < 2 * LENGTH as u64, "{} bytes", occupied());
    blobs.clear_pages(&blob, fence, 0..1 << 40).await.unwrap();
    assert!(occupied() < LENGTH as u64, "{} bytes", occupied());
}

#[tokio::test]
async fn touch_uses_injected_clock_and_is_monotonic() {
    let root = TempDir::new().unwrap();
    let now = "2040-01-01T00:00:00Z".parse().unwrap();
    let blobs = DirectoryBlobs::new(root.path().to_owned(), Arc::new(TokioClock::starting_at(now)));
    blobs.ensure_container(&container()).await.unwrap();
    let blob = container().blob("a");
    blobs.put_blob(&blob, Bytes::new(), crc(b"").into()).await.unwrap();
    let mut before = blobs.properties(&blob).await.unwrap().unwrap();
    for _ in 0..3 {
        blobs.touch(&blob, &before.etag).await.unwrap();
        let after = blobs.properties(&blob).await.unwrap().unwrap();
        assert!(after.modified > before.modified && after.modified >= now, "{} to {}", before.modified, after.modified);
        before = after;
    }
}

/// Kills a process that writes blobs in a loop at several moments. Every blob that exists is complete.
#[tokio::test(flavor = "multi_thread")]
async fn killed_process_leaves_no_partial_blob() {
    let (root, blobs) = cloud().await;
    for round in 0..8 {
        let mut writer = start("put-blobs", root.path());
        thread::sleep(Duration::from_millis(60 + 17 * round));
        writer.0.kill().unwrap();
        writer.0.wait().unwrap();
    }
    let mut marker = None;
    let mut seen = 0;
    loop {
        let page = blobs.list(&container(), "", marker.as_deref()).await.unwrap();
        for listed in page.blobs {
            let bytes = blobs.get(&container().blob(&listed.name), None).await.unwrap();
            assert!(bytes.len() == LENGTH && bytes.iter().all(|byte| *byte == 1), "half a blob: {}", listed.name);
            seen += 1;
        }
        marker = page.next;
        if marker.is_none() {
            break;
        }
    }
    assert!(seen > 0, "the processes were killed before they wrote anything");
}

/// A process that writes pages under an old fence, and is stopped and continued several times, never writes after a
/// newer fence was taken.
#[tokio::test(flavor = "multi_thread")]
async fn fence_rejects_resumed_process() {
    let (root, blobs) = cloud().await;
    let (blob, body) = (pages_blob(), page(2));
    for round in 0..40 {
        blobs.create_page_blob(&blob, PAGE, &BTreeMap::new()).await.unwrap();
        let writer = start("put-pages", root.path());
        wait_for_pages(&root.path().join("stage0001/golden/1.vhd"));
        thread::sleep(Duration::from_micros(37 * round));
        signal(&writer, Signal::STOP);
        let taking = tokio::spawn(take_fence(blobs.clone(), blob.clone()));
        tokio::time::sleep(Duration::from_millis(20)).await;
        if !taking.is_finished() {
            // The writer was stopped during a write. The fence cannot be taken until it continues.
            signal(&writer, Signal::CONT);
        }
        let fence = taking.await.unwrap();
        blobs.put_pages(&blob, fence, 0, body.clone(), crc(&body)).await.unwrap();
        signal(&writer, Signal::CONT);
        assert!(ended_fenced(writer), "round {round}: the writer was not told that it is fenced off");
        assert!(blobs.get(&blob, None).await.unwrap() == body, "round {round}: the old fence wrote after the new one");
        assert!(blobs.delete(&blob, None).await.unwrap());
    }
}

fn page(byte: u8) -> Bytes {
    Bytes::from(vec![byte; usize::try_from(PAGE).unwrap()])
}

fn pages_blob() -> BlobAddress {
    container().blob("1.vhd")
}

/// Takes a fence while a writer is active, which may need several tries.
async fn take_fence(blobs: DirectoryBlobs, blob: BlobAddress) -> Fence {
    loop {
        match blobs.take_fence(&blob).await {
            Err(error) if error.kind == ErrorKind::Unavailable => {}
            taken => return taken.unwrap(),
        }
    }
}

/// Another process. Dropping it kills the process.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(role: &str, root: &Path) -> Process {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "other_process_role", "--ignored"])
        .env(ROLE, role)
        .env(ROOT, root)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

fn signal(process: &Process, signal: Signal) {
    kill_process(Pid::from_child(&process.0), signal).unwrap();
}

fn wait_for_pages(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::metadata(path).unwrap().blocks() == 0 {
        assert!(Instant::now() < deadline, "the other process writes nothing");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the process ended with success, which `put_pages` does when its fence is outdated.
fn ended_fenced(mut process: Process) -> bool {
    process.0.wait().unwrap().success()
}

#[tokio::test]
#[ignore = "a role that other tests start in a process of its own"]
async fn other_process_role() {
    let (Ok(role), Ok(root)) = (std::env::var(ROLE), std::env::var(ROOT)) else { return };
    let blobs = blobs_at(Path::new(&root));
    match role.as_str() {
        "put-blobs" => put_blobs(&blobs).await,
        "put-pages" => put_pages(&blobs).await,
        other => panic!("no role {other}"),
    }
}

/// Creates blobs in a loop and deletes nine of ten, so that the disk does not fill up.
async fn put_blobs(blobs: &DirectoryBlobs) {
    let (body, run) = (Bytes::from(vec![1; LENGTH]), std::process::id());
    for n in 0.. {
        let blob = container().blob(format!("{run}/{n}"));
        blobs.put_blob(&blob, body.clone(), crc(&body).into()).await.unwrap();
        if n % 10 != 0 {
            blobs.delete(&blob, None).await.unwrap();
        }
    }
}

/// Writes a page under the first fence until the fence is outdated. The write is short, so that the process spends much
/// of its time between the check of the fence and the write.
async fn put_pages(blobs: &DirectoryBlobs) {
    let (blob, body) = (pages_blob(), page(1));
    let fence = blobs.take_fence(&blob).await.unwrap();
    loop {
        match blobs.put_pages(&blob, fence, 0, body.clone(), crc(&body)).await {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::Fenced => return,
            Err(error) => panic!("{error}"),
        }
    }
}
