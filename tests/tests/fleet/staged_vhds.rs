//! The ownership and the progress of a staged VHD, when workers are killed, paused and replaced, and when VHDs are
//! deleted and created again.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use goldfleet_disk::GoldenSpec;
use goldfleet_kinds::context::{StepSettings, read_spec};
use goldfleet_kinds::copy::CopySpec;
use goldfleet_model::ids::JobId;
use goldfleet_model::image::VhdMetadata;
use goldfleet_model::manifest::Generation;
use goldfleet_model::operation::Operation;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::job_table::Change;
use goldfleet_ports::{Ports, Versioned};
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::fleet::{InProcessFleet, staged_vhd};
use goldfleet_tests::process_fixture;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::settings::WorkerSettings;
use tokio_util::sync::CancellationToken;

/// The time limit of a wait. A longer wait means that something is wrong.
const TOO_LONG: Duration = Duration::from_secs(30);

/// A fleet with one target, whose golden VHD has about eight chunks.
fn fleet() -> InProcessFleet {
    let config = format!("{}[dispatch]\nsweep = \"50ms\"\n", process_fixture::SOURCE);
    InProcessFleet::with(&config, &process_fixture::targets(1, &["westeurope"]), &process_fixture::golden())
}

/// The only copy of a job.
async fn copy(ports: &Ports, job: &JobId) -> Versioned<Operation> {
    let rows = ports.table.operations(job).await.unwrap();
    rows.into_iter().find(|row| row.value.kind.as_str() == "copy").unwrap()
}

fn vhd(ports: &Ports, copy: &Operation) -> BlobAddress {
    staged_vhd(ports, copy)
}

/// Runs a worker on these ports until an event, and kills it: it neither ends its steps nor releases its leases. Then
/// its leases expire.
async fn killed(
    fleet: &InProcessFleet,
    ports: &Ports,
    job: &JobId,
    settings: WorkerSettings,
    until: impl Future<Output = ()>,
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pump = Consumer::new(WorkerContext::new(ports.clone(), settings), CancellationToken::new());
    runtime.spawn(async move { pump.run().await });
    tokio::time::timeout(TOO_LONG, until).await.expect("the worker did not come so far");
    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(TOO_LONG)).await.unwrap();
    expire(fleet, job).await;
}

/// Makes the leases of a job expire now, and sends the messages of its running operations again.
async fn expire(fleet: &InProcessFleet, job: &JobId) {
    for row in fleet.ports.table.operations(job).await.unwrap() {
        let mut operation = row.value.clone();
        let Some(lease) = &mut operation.lease else { continue };
        lease.expires = fleet.ports.clock.now();
        fleet.ports.table.commit(&[Change::new(&row, operation)], &[]).await.unwrap();
        fleet.control_with_own_ports().jobs.enqueue_operation(&row.value).await.unwrap();
    }
}

/// Settings of a worker that never reaches its first heartbeat.
fn without_heartbeat(fleet: &InProcessFleet) -> WorkerSettings {
    let hour = Duration::from_secs(3600);
    let settings = fleet.settings();
    let steps = StepSettings { heartbeat: hour / 2, chunk_requests: 1, ..settings.steps };
    WorkerSettings { lease: hour, steps, ..settings }
}

/// A partial VHD was deleted, and started again by a worker that is killed before it records the new incarnation. The
/// VHD is assembled completely, because the progress in the row belongs to the first incarnation.
#[tokio::test(flavor = "multi_thread")]
async fn progress_belongs_to_one_blob_incarnation() {
    let fleet = fleet();
    let job = fleet.plan_job("1").await;
    // The fourth run is never answered, and the heartbeat records the chunks of the first three as in place.
    let faults = Faults::failing_at("BlobStore.put_pages_from", 3, LostPart::Caller);
    let mut settings = fleet.settings();
    settings.steps.chunk_requests = 1;
    let half = async {
        while copy(&fleet.ports, &job).await.value.progress.done.count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    killed(&fleet, &with_faults(&fleet.ports, &faults), &job, settings, half).await;
    let row = copy(&fleet.ports, &job).await.value;
    assert!(row.progress.done.count() < row.progress.done.len(), "{row:?}");
    assert!(fleet.ports.blobs.delete(&vhd(&fleet.ports, &row), None).await.unwrap(), "a VHD was begun");

    let faults = Faults::failing_at("BlobStore.create_page_blob", 0, LostPart::Caller);
    let ports = with_faults(&fleet.ports, &faults);
    killed(&fleet, &ports, &job, without_heartbeat(&fleet), faults.reached()).await;
    assert!(fleet.ports.blobs.properties(&vhd(&fleet.ports, &row)).await.unwrap().is_some(), "a VHD was begun again");

    fleet.run(&fleet.ports, 1, &job).await;
    fleet.assert_all_done(&job).await;
}

/// A VHD that an earlier release started has no incarnation. It is created again, because its progress is unknown.
#[tokio::test(flavor = "multi_thread")]
async fn vhd_without_incarnation_is_recreated() {
    let fleet = fleet();
    let job = fleet.plan_job("1").await;
    let row = copy(&fleet.ports, &job).await.value;
    let (vhd, blobs) = (vhd(&fleet.ports, &row), &fleet.ports.blobs);
    let metadata =
        [(VhdMetadata::DIGEST.to_owned(), read_spec::<CopySpec>(&row).unwrap().disk.manifest.to_string())].into();
    blobs.ensure_container(&vhd.container).await.unwrap();
    blobs.create_page_blob(&vhd, (24 << 20) + 512, &metadata).await.unwrap();
    fleet.run(&fleet.ports, 1, &job).await;
    fleet.assert_all_done(&job).await;
    let made = blobs.properties(&vhd).await.unwrap().unwrap();
    let progress = copy(&fleet.ports, &job).await.value.progress;
    assert_eq!(made.metadata.get(VhdMetadata::INCARNATION), progress.incarnation.map(|id| id.to_string()).as_ref());
    assert!(progress.incarnation.is_some(), "{made:?}");
}

/// A transient failure to read a store does not discard a VHD that was cloned from an earlier version.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_manifest_keeps_vhd() {
    for nth in 0..6 {
        let fleet = fleet();
        fleet.roll_out(&fleet.ports, "1", 1).await;
        fleet.rebuild_golden();
        let job = fleet.plan_job("2").await;
        let faults = Faults::failing_at("BlobStore.take_fence", 0, LostPart::Caller);
        killed(&fleet, &with_faults(&fleet.ports, &faults), &job, without_heartbeat(&fleet), faults.reached()).await;
        let vhd = vhd(&fleet.ports, &copy(&fleet.ports, &job).await.value);
        let begun = fleet.ports.blobs.properties(&vhd).await.unwrap().unwrap();
        assert!(begun.metadata.contains_key(VhdMetadata::BASE), "{begun:?}");

        let faults = Faults::failing_at("BlobStore.get", nth, LostPart::Request);
        fleet.run(&with_faults(&fleet.ports, &faults), 1, &job).await;
        fleet.assert_all_done(&job).await;
        assert_eq!(faults.calls().get("BlobStore.delete"), None, "at read {nth}: a VHD was removed");
    }
}

/// A worker sees a failed copy of an earlier version, and is then paused. It does not delete what its successor
/// created.
#[tokio::test(flavor = "multi_thread")]
async fn failed_copy_is_removed_only_if_unchanged() {
    let fleet = fleet();
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    let earlier = vhd(&fleet.ports, &copy(&fleet.ports, &first).await.value);
    fleet.rebuild_golden();
    let job = fleet.plan_job("2").await;
    let vhd = vhd(&fleet.ports, &copy(&fleet.ports, &job).await.value);

    let (blobs, at) = (Arc::clone(&fleet.ports.blobs), vhd.clone());
    let successor = async move {
        let mut metadata = blobs.properties(&at).await.unwrap().unwrap().metadata;
        metadata.insert("made_by".to_owned(), "successor".to_owned());
        assert!(blobs.delete(&at, None).await.unwrap());
        blobs.start_copy(&at, &earlier, &metadata).await.unwrap();
    };
    let faults = Faults::broken_copy("BlobStore.delete", 0, successor);
    fleet.run(&with_faults(&fleet.ports, &faults), 1, &job).await;
    fleet.assert_all_done(&job).await;
    assert!(faults.was_hit(), "the copy that failed was not removed");
    let left = fleet.ports.blobs.properties(&vhd).await.unwrap().unwrap();
    assert_eq!(left.metadata.get("made_by").map(String::as_str), Some("successor"), "{left:?}");
}

/// A worker that is paused until its lease expires, in the middle of a chunk, does not request the remaining runs.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_starts_without_lease() {
    let config = format!("{}[dispatch]\nsweep = \"50ms\"\n", process_fixture::SOURCE);
    // One chunk of sixteen runs, besides those of the partition tables.
    let extents = (0..16).map(|n| ((8 << 20) + n * (256 << 10), 4096)).collect();
    let golden = GoldenSpec { size: 24 << 20, generation: Generation::V2, extents, seed: 1 };
    let fleet = InProcessFleet::with(&config, &process_fixture::targets(1, &["westeurope"]), &golden);
    let job = fleet.plan_job("1").await;

    // By the worker's clock, its lease expires after four seconds. For all others it is valid for an hour, so there is
    // no other worker.
    let (drain, time) = (CancellationToken::new(), Duration::from_secs(4));
    let settings = without_heartbeat(&fleet);
    let settings = WorkerSettings { clock_skew: settings.lease - time, ..settings };
    let awake = drain.clone();
    // In any order of the chunks, this one is incomplete after eight runs.
    let paused = Faults::before("BlobStore.put_pages_from", 8, async move {
        tokio::time::sleep(time).await;
        awake.cancel();
    });
    let pump = Consumer::new(WorkerContext::new(with_faults(&fleet.ports, &paused), settings), drain);
    tokio::time::timeout(TOO_LONG, pump.run()).await.expect("the worker did not come so far");
    assert!(paused.was_hit());
    assert_eq!(paused.calls()["BlobStore.put_pages_from"], 9, "a run was begun after the lease's end");

    expire(&fleet, &job).await;
    fleet.run(&fleet.ports, 1, &job).await;
    fleet.assert_all_done(&job).await;
}
