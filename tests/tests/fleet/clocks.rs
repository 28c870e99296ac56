//! Clocks that are hours ahead, and are set right again.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::service::{RunUntil, run};
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::ids::JobId;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::{Lease, Operation, OperationState};
use goldfleet_model::state::OperationEvent;
use goldfleet_ports::clock::{Clock, SystemClock, after};
use goldfleet_ports::job_table::Change;
use goldfleet_ports::{Ports, Versioned};
use goldfleet_tests::fleet::InProcessFleet;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::damaged_rows::execute;
use crate::killed_seeds::later;

const HOURS: Duration = Duration::from_secs(5 * 60 * 60);

/// A clock that is ahead by a number of seconds that can change.
#[derive(Default)]
struct Ahead(AtomicU64);

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        after(SystemClock.now(), Duration::from_secs(self.0.load(Ordering::Relaxed)))
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

/// Changes every ready operation of a job.
async fn change_ready(fleet: &InProcessFleet, job: &JobId, change: impl Fn(&mut Operation)) -> usize {
    let rows = fleet.ports.table.operations(job).await.unwrap();
    let ready: Vec<Versioned<Operation>> =
        rows.into_iter().filter(|row| row.value.state == OperationState::Ready).collect();
    for row in &ready {
        let mut operation = row.value.clone();
        change(&mut operation);
        fleet.ports.table.commit(&[Change::new(row, operation)], &[]).await.unwrap();
    }
    ready.len()
}

/// A worker whose clock is hours ahead claimed operations, hid their messages, and died. The work goes on at once.
#[tokio::test(flavor = "multi_thread")]
async fn work_of_a_lost_worker_whose_clock_was_ahead_goes_on() {
    let fleet = InProcessFleet::new();
    let job = fleet.plan_job("1").await;
    let now = after(SystemClock.now(), HOURS);
    let count = change_ready(&fleet, &job, |operation| {
        let lease =
            Lease { token: Uuid::new_v4(), holder: "lost".to_owned(), process: None, expires: after(now, HOURS) };
        operation.apply(OperationEvent::Claim(lease), now, "lost").unwrap();
    });
    assert!(count.await > 0);
    execute(&fleet, &format!("UPDATE messages SET visible = visible + {}", HOURS.as_millis()));
    let status = fleet.run(&fleet.ports, 1, &job).await;
    assert_eq!(status.state, ReportedState::Succeeded);
}

/// A worker whose clock was hours ahead put operations off. They are not put off for hours.
#[tokio::test(flavor = "multi_thread")]
async fn waits_that_a_clock_ahead_began_are_not_awaited() {
    let fleet = InProcessFleet::new();
    let job = fleet.plan_job("1").await;
    let until = after(SystemClock.now(), HOURS);
    assert!(change_ready(&fleet, &job, |operation| operation.not_before = Some(until)).await > 0);
    assert_eq!(fleet.run(&fleet.ports, 1, &job).await.state, ReportedState::Succeeded);
}

/// The clock of a dispatcher is set back by hours while it runs. It goes on to sweep.
#[tokio::test(flavor = "multi_thread")]
async fn dispatcher_sweeps_after_its_clock_was_set_back() {
    let fleet = InProcessFleet::new();
    let clock = Arc::new(Ahead::default());
    clock.0.store(HOURS.as_secs(), Ordering::Relaxed);
    let control = fleet.control_with(Ports { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..fleet.ports.clone() });
    let stop = CancellationToken::new();
    let until = stop.clone();
    let serving = tokio::spawn(async move { run(&control, RunUntil::Stopped, &until).await });
    // The first sweep of an empty table.
    tokio::time::sleep(Duration::from_millis(200)).await;
    clock.0.store(0, Ordering::Relaxed);
    let job = fleet.plan_job("1").await;
    // Without messages, only a sweep finds the operations.
    execute(&fleet, "DELETE FROM messages");
    let begun = tokio::time::Instant::now();
    while fleet.ports.queue.depth(QueueName::Seed).await.unwrap() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no sweep of job {job}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    serving.await.unwrap();
}

/// A job that was requested while a clock was ahead is not the newest for hours.
#[tokio::test(flavor = "multi_thread")]
async fn newest_job_is_the_one_requested_last() {
    let fleet = InProcessFleet::new();
    let ahead = fleet.control_with(later(&fleet.ports, HOURS));
    fleet.upload(&fleet.ports, "1").await.unwrap();
    fleet.upload(&fleet.ports, "2").await.unwrap();
    let request = async |control: &_, version: &str| {
        let (image, version) = ("golden".parse().unwrap(), version.parse().unwrap());
        let requested = request_job(control, &image, &version, &[], false).await;
        requested.unwrap().job.id
    };
    request(&ahead, "1").await;
    let control = fleet.control_with_own_ports();
    let last = request(&control, "2").await;
    assert_eq!(control.jobs.job_or_newest(None).await.unwrap().value.id, last);
}
