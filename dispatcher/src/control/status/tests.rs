//! The rate of a job and its remaining time after pauses, retries and approvals.

use super::*;
use goldfleet_model::operation::{Failure, Lease};
use goldfleet_model::state::{JobEvent, OperationEvent};
use goldfleet_ports::ETag;
use goldfleet_ports::clock::after;
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Bytes of each copy.
const TOTAL: u64 = 60_000;

/// A running job, its copies, and the current time.
struct Scene {
    job: Job,
    rows: Vec<Versioned<Operation>>,
    now: Timestamp,
}

impl Scene {
    fn listing(&self) -> Listing<Versioned<Operation>> {
        Listing { rows: self.rows.clone(), unreadable: Vec::new() }
    }

    fn new(copies: u32) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let image = json!({ "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) });
        let mut job: Job = serde_json::from_value(json!({
            "id": "20261121-041502-7f3a", "image": image, "selection": [], "state": "requested", "created": now, "updated": now, "operations": copies,
            "payload": { "os": "linux", "generation": "v2", "size": TOTAL, "data_bytes": TOTAL },
        }))
        .unwrap();
        job.apply(JobEvent::Planned, now, "test").unwrap();
        let row = |n: u32| {
            let subscription = format!("00000000-0000-0000-0000-{n:012}");
            let target = json!({ "subscription": subscription, "region": "westeurope", "resource_group": "images",
                "account": "stage", "container": "vhds" });
            let value = serde_json::from_value(json!({
                "job": job.id, "id": format!("group{n}.copy"), "plan": 0, "image": image, "kind": "copy", "position": 0,
                "place": { "region": "westeurope", "label": format!("{subscription}/westeurope"), "target": target },
                "spec": { "v": 1, "data": { "from": [] } }, "state": "ready", "attempts": 0, "failures": 0,
                "progress": { "bytes_total": TOTAL, "bytes_done": 0, "bytes_moved": 0 }, "created": now, "updated": now,
            }));
            Versioned { value: value.unwrap(), etag: ETag(String::new()) }
        };
        let rows = (0..copies).map(row).collect();
        Self { job, rows, now }
    }

    fn wait(&mut self, seconds: u64) {
        self.now = after(self.now, Duration::from_secs(seconds));
    }

    fn apply(&mut self, n: usize, event: OperationEvent) {
        self.rows[n].value.apply(event, self.now, "test").unwrap();
    }

    fn claim(&mut self, n: usize) {
        let expires = after(self.now, Duration::from_secs(MINUTE));
        self.apply(
            n,
            OperationEvent::Claim(Lease { token: Uuid::nil(), holder: "worker".to_owned(), process: None, expires }),
        );
    }

    /// A heartbeat of a copy that has `done` bytes in place.
    fn beat(&mut self, n: usize, done: u64) {
        let operation = &mut self.rows[n].value;
        operation.progress.bytes_done = done;
        operation.extend_work_period(self.now);
        if let Some(lease) = &mut operation.lease {
            lease.expires = after(self.now, Duration::from_secs(MINUTE));
        }
    }

    /// Runs a copy to its end at 100 bytes per second.
    fn copy(&mut self, n: usize) {
        self.claim(n);
        self.wait(TOTAL / 100);
        self.beat(n, TOTAL);
        self.apply(n, OperationEvent::Succeed);
    }

    fn told(&self) -> (f64, Option<f64>) {
        let status = count_rows(&Registry::default(), &self.job, None, &self.listing(), self.now);
        (status.bytes_per_second.round(), status.seconds_left.map(f64::round))
    }
}

fn failure(at: Timestamp) -> Failure {
    Failure { code: "test".to_owned(), message: "a test".to_owned(), request_id: None, at }
}

#[test]
fn no_rate_before_first_bytes() {
    let mut scene = Scene::new(2);
    assert_eq!(scene.told(), (0.0, None));
    scene.wait(HOUR);
    scene.claim(0);
    assert_eq!(scene.told(), (0.0, None), "claimed, and not one heartbeat yet");
    scene.wait(10);
    scene.beat(0, 1000);
    // The remaining bytes of both copies.
    assert_eq!(scene.told(), (100.0, Some(1190.0)));
}

/// Start-up and latency decide what happens in less than a second.
#[test]
fn no_rate_of_less_than_a_second() {
    let mut scene = Scene::new(1);
    scene.claim(0);
    scene.now = after(scene.now, Duration::from_millis(900));
    scene.beat(0, TOTAL / 2);
    assert_eq!(scene.told(), (0.0, None));
    let status = |scene: &Scene| count_rows(&Registry::default(), &scene.job, None, &scene.listing(), scene.now);
    assert_eq!(status(&scene).rate_words(), None);
    scene.beat(0, TOTAL);
    scene.apply(0, OperationEvent::Succeed);
    assert_eq!((status(&scene).state, status(&scene).rate_words()), (ReportedState::Succeeded, None));
}

/// After an interrupt, the bytes of the last minutes must not look like work in progress.
#[test]
fn no_estimate_without_an_active_worker() {
    let mut scene = Scene::new(1);
    scene.claim(0);
    scene.wait(10);
    scene.beat(0, 20_000);
    assert_eq!(scene.told(), (2000.0, Some(20.0)));
    scene.apply(0, OperationEvent::Drain);
    assert_eq!(scene.told(), (2000.0, None), "a moment ago there was a worker");
    scene.wait(20);
    assert_eq!(scene.told(), (0.0, None), "the job is idle");
}

#[test]
fn concurrent_copies_add_to_rate() {
    let mut scene = Scene::new(2);
    scene.claim(0);
    scene.claim(1);
    scene.wait(10);
    scene.beat(0, 1000);
    scene.beat(1, 3000);
    assert_eq!(scene.told(), (400.0, Some(290.0)));
}

#[test]
fn rate_ignores_idle_period() {
    let mut scene = Scene::new(3);
    scene.copy(0);
    scene.claim(1);
    scene.wait(10);
    scene.beat(1, 1000);
    scene.apply(1, OperationEvent::Drain);
    scene.wait(10 * HOUR);
    assert_eq!(scene.told(), (0.0, None), "nothing has come for hours");
    scene.claim(1);
    assert_eq!(scene.told(), (0.0, None));
    scene.wait(10);
    scene.beat(1, 2000);
    assert_eq!(scene.told(), (100.0, Some(1180.0)));
}

#[test]
fn expired_lease_does_not_count_as_work() {
    let mut scene = Scene::new(1);
    scene.claim(0);
    scene.wait(10);
    scene.beat(0, 1000);
    scene.wait(10 * HOUR);
    scene.apply(0, OperationEvent::Expire(failure(scene.now)));
    assert_eq!(scene.told(), (0.0, None));
    // The reconciler sends the message of the operation again.
    scene.wait(100);
    scene.rows[0].value.updated = scene.now;
    scene.claim(0);
    assert_eq!(scene.told(), (0.0, None));
    scene.wait(10);
    scene.beat(0, 3000);
    assert_eq!(scene.told(), (200.0, Some(285.0)));
}

#[test]
fn rate_counts_retry_separately() {
    let mut scene = Scene::new(2);
    scene.copy(0);
    scene.wait(10 * MINUTE);
    scene.claim(1);
    scene.wait(10);
    scene.beat(1, 30_000);
    scene.apply(1, OperationEvent::Fail(failure(scene.now)));
    scene.job.apply(JobEvent::Fail, scene.now, "test").unwrap();
    // After the end, the rate covers all bytes, from the first claim to the end of the job.
    assert_eq!(scene.told(), ((90_000.0_f64 / 1210.0).round(), None));
    // The time since the end is shorter than the window.
    scene.wait(4 * MINUTE);
    scene.job.apply(JobEvent::Retry, scene.now, "test").unwrap();
    scene.apply(1, OperationEvent::RetryRequested);
    scene.claim(1);
    scene.wait(10);
    scene.beat(1, 33_000);
    assert_eq!(scene.told(), (300.0, Some(90.0)));
}

/// The VHD of a retried copy may no longer exist. The copy then starts from nothing, and only its current bytes count.
#[test]
fn restarted_copy_counts_current_bytes() {
    let mut scene = Scene::new(1);
    scene.rows[0].value.progress.bytes_done = 50_000;
    scene.claim(0);
    scene.wait(10);
    scene.beat(0, 4000);
    assert_eq!(scene.told(), (400.0, Some(140.0)));
}

#[test]
fn waiting_for_chunks_counts_as_work() {
    let mut scene = Scene::new(1);
    scene.claim(0);
    for done in [500, 1000, 1500] {
        scene.wait(5);
        scene.beat(0, done);
        scene.apply(0, OperationEvent::Defer(scene.now));
        scene.wait(5);
        scene.claim(0);
    }
    assert_eq!(scene.told(), (50.0, Some(1170.0)));
}

#[test]
fn rate_of_late_ring_excludes_wait() {
    let mut scene = Scene::new(3);
    scene.copy(0);
    scene.wait(10 * HOUR);
    scene.claim(1);
    scene.claim(2);
    scene.wait(100);
    scene.beat(1, 30_000);
    scene.beat(2, 30_000);
    assert_eq!(scene.told(), (600.0, Some(100.0)));
}

/// Of work that started before the window, only the part in the window counts.
#[test]
fn rate_uses_recent_window() {
    let mut scene = Scene::new(3);
    scene.claim(0);
    scene.wait(500);
    scene.beat(0, 5000);
    scene.apply(0, OperationEvent::Drain);
    scene.claim(1);
    scene.wait(100);
    scene.beat(1, 9000);
    // 200 seconds at 10 bytes per second, 100 seconds at 90 bytes per second.
    assert_eq!(scene.told().0, (11_000.0_f64 / 300.0).round());
}

#[test]
fn failed_operations_have_no_bytes_left() {
    let mut scene = Scene::new(2);
    scene.claim(0);
    scene.claim(1);
    scene.wait(10);
    scene.beat(0, 1000);
    scene.apply(1, OperationEvent::Fail(failure(scene.now)));
    assert_eq!(scene.told(), (100.0, Some(590.0)));
}

#[test]
fn cancelling_job_has_no_time_left() {
    let mut scene = Scene::new(1);
    scene.claim(0);
    scene.wait(10);
    scene.beat(0, 1000);
    scene.job.apply(JobEvent::Cancel, scene.now, "test").unwrap();
    scene.apply(0, OperationEvent::Cancel);
    assert_eq!(scene.told(), (100.0, None));
}

#[test]
fn a_job_without_an_active_worker_is_reported_as_such() {
    let mut scene = Scene::new(2);
    let idle =
        |scene: &Scene| count_rows(&Registry::default(), &scene.job, None, &scene.listing(), scene.now).idle_seconds;
    scene.claim(0);
    scene.wait(10);
    scene.beat(0, 1000);
    scene.apply(0, OperationEvent::Drain);
    assert_eq!(idle(&scene), None, "a moment ago there was one");
    scene.wait(28);
    assert_eq!(idle(&scene), Some(28.0));
    let status = count_rows(&Registry::default(), &scene.job, None, &scene.listing(), scene.now);
    assert_eq!(status.seconds_left, None);
    let (words, resume) = status.idle_words().unwrap();
    assert!(words.starts_with("no worker has been active for 28 s;"), "{words}");
    assert_eq!(resume, "goldfleet dispatch --image ubuntu --version 1 --wait");
    scene.claim(1);
    assert_eq!(idle(&scene), None);
    // The worker was killed. Its lease of one minute expires. It was last seen when it claimed the operation.
    scene.wait(MINUTE);
    assert_eq!(idle(&scene), Some(60.0));
    scene.job.apply(JobEvent::Cancel, scene.now, "test").unwrap();
    assert_eq!(idle(&scene), None, "nothing is to be resumed");
}

#[test]
fn rings_are_counted_and_a_stopped_one_says_why() {
    let mut scene = Scene::new(3);
    for (n, ring) in [0, 1, 2].into_iter().enumerate() {
        let target = scene.rows[n].value.place.target.as_mut().unwrap();
        target.ring = ring;
        scene.rows[n].value.state = if ring == 0 { OperationState::Ready } else { OperationState::Waiting };
    }
    let rings = |scene: &Scene| count_rows(&Registry::default(), &scene.job, None, &scene.listing(), scene.now).rings;
    let states = |scene: &Scene| rings(scene).iter().map(|ring| ring.state).collect::<Vec<_>>();
    assert_eq!(states(&scene), [OperationState::Running, OperationState::Waiting, OperationState::Waiting]);
    scene.claim(0);
    scene.apply(0, OperationEvent::Fail(failure(scene.now)));
    let stopped =
        Failure { code: "ring-stopped".to_owned(), message: "ring 0 did not succeed".to_owned(), ..failure(scene.now) };
    scene.apply(1, OperationEvent::Block(stopped.clone()));
    scene.apply(2, OperationEvent::Block(stopped));
    assert_eq!(states(&scene), [OperationState::Failed, OperationState::Cancelled, OperationState::Cancelled]);
    assert_eq!(rings(&scene)[0].failed, 1);
    assert_eq!(rings(&scene)[2].reason.as_deref(), Some("ring 0 did not succeed"));
}

/// The status is the same before and after the reconciler writes the end of the last operation to the job's row.
#[test]
fn a_job_ends_when_its_last_operation_does() {
    let mut scene = Scene::new(2);
    let status = |scene: &Scene| count_rows(&Registry::default(), &scene.job, None, &scene.listing(), scene.now);
    scene.copy(0);
    assert_eq!(status(&scene).finished, None);
    scene.copy(1);
    let last = scene.now;
    let at_end = status(&scene);
    assert_eq!((at_end.state, at_end.finished), (ReportedState::Succeeded, Some(last)));
    assert_eq!((at_end.seconds, at_end.bytes_per_second), (1200.0, 100.0));
    scene.wait(HOUR);
    assert_eq!(status(&scene), at_end, "an hour later, and not swept yet");
    scene.job.finished = Some(scene.job.end_time(scene.rows.iter().map(|row| row.value.updated).max()));
    scene.job.apply(JobEvent::Succeed, scene.now, "test").unwrap();
    scene.wait(HOUR);
    assert_eq!(status(&scene), Status { detail: JobState::Succeeded, ..at_end });
}

/// A complete upload and the phases below it show one quantity: bytes of the image without zeros.
#[test]
fn a_complete_upload_shows_the_bytes_of_the_image() {
    let scene = Scene::new(0);
    let (id, image) = (scene.job.id.clone(), scene.job.image().unwrap());
    let mut upload = Upload::new(id, image.name.clone(), image.version.clone(), scene.now);
    (upload.bytes_total, upload.bytes_read, upload.bytes_data) = (2 * TOTAL, 2 * TOTAL, TOTAL);
    upload.state = goldfleet_model::upload::UploadState::Complete;
    let status = count_rows(&Registry::default(), &scene.job, Some(&upload), &scene.listing(), scene.now);
    assert_eq!(status.upload.unwrap().bytes_data, status.data_bytes);
}
