//! Work goes on after the loss of a worker, without waiting for the reconciler.

use std::time::Duration;

use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::fan_out::fan_out;
use goldfleet_dispatcher::control::reconcile::reconcile_job_by_id;
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::job::JobState;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::OperationState;
use goldfleet_ports::job_table::Change;
use goldfleet_tests::faults::{Faults, with_faults};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::settings::WorkerSettings;
use tokio_util::sync::CancellationToken;

/// A fleet whose reconciler does nothing for an hour.
fn fleet() -> InProcessFleet {
    let config = process_fixture::SOURCE.to_owned() + "[dispatch]\nsweep = \"1h\"\n";
    InProcessFleet::with(&config, &process_fixture::targets(1, &["westeurope"]), &process_fixture::golden())
}

/// A worker is lost after it has committed that a copy succeeded and its image is ready, and before it has sent the
/// image's message. The copy's message is delivered again, and whoever receives it sends the image's.
#[tokio::test(flavor = "multi_thread")]
async fn redelivered_message_of_ended_operation_releases_the_next() {
    let fleet = fleet();
    let job = fleet.plan_job("1").await;
    let table = &fleet.ports.table;
    let mut rows = table.operations(&job).await.unwrap();
    rows.sort_by_key(|row| row.value.position);
    let changes: Vec<Change> = rows
        .iter()
        .map(|row| {
            let mut operation = row.value.clone();
            operation.state = if operation.position == 0 { OperationState::Succeeded } else { OperationState::Ready };
            Change::new(row, operation)
        })
        .collect();
    table.commit(&changes, &[]).await.unwrap();
    let stop = CancellationToken::new();
    let consumer = Consumer::new(WorkerContext::new(fleet.ports.clone(), fleet.settings()), stop.clone());
    let worker = tokio::spawn(async move { consumer.run().await });
    let image = &rows[1].value.id;
    let has_begun = async {
        while table.operation(&job, image).await.unwrap().unwrap().value.attempts == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), has_begun).await.expect("nobody took the image up");
    stop.cancel();
    worker.await.unwrap();
}

/// A job that was cancelled before it was planned is planned by a retry.
#[tokio::test(flavor = "multi_thread")]
async fn job_cancelled_before_planning_can_be_retried() {
    let fleet = InProcessFleet::new();
    let job = fleet.request_after_upload("1").await;
    let control = fleet.control_with_own_ports();
    cancel(&control.jobs, &job).await.unwrap();
    reconcile_job_by_id(&control, &job).await.unwrap();
    fan_out(&control, &job).await.unwrap();
    assert_eq!(control.jobs.job(&job).await.unwrap().value.state, JobState::Cancelled);

    let only_copies = RetryFilter { phase: Some("copy".parse().unwrap()), ..RetryFilter::default() };
    let refusal = retry(&control, &job, &only_copies).await.unwrap_err().to_string();
    assert!(refusal.contains("retry it as a whole"), "{refusal}");
    assert_eq!(retry(&control, &job, &RetryFilter::default()).await.unwrap(), 0);
    assert_eq!(fleet.run(&fleet.ports, 1, &job).await.state, ReportedState::Succeeded);
    fleet.assert_all_done(&job).await;
}

/// An operation has two messages, and another worker claims it between this worker's read and its claim. The message
/// does not stay hidden for its visibility timeout, for which a worker that ends with the queues would wait.
#[tokio::test(flavor = "multi_thread")]
async fn message_of_an_operation_that_another_worker_claimed_is_soon_discarded() {
    let fleet = fleet();
    let job = fleet.plan_job("1").await;
    let rows = fleet.ports.table.operations(&job).await.unwrap();
    let copy = rows.into_iter().find(|row| row.value.position == 0).unwrap();
    let other = WorkerContext::new(fleet.ports.clone(), fleet.settings());
    let (ports, id) = (fleet.ports.clone(), copy.value.id.clone());
    fleet.control_with_own_ports().jobs.enqueue_operation(&copy.value).await.unwrap();
    let claimed_by_other = async move {
        let stop = CancellationToken::new();
        let consumer = Consumer::new(other, stop.clone());
        let worker = tokio::spawn(async move { consumer.run().await });
        let table = &ports.table;
        while table.operation(&copy.value.job, &id).await.unwrap().unwrap().value.state != OperationState::Succeeded {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        worker.await.unwrap();
    };
    let late = Faults::before("JobTable.commit", 0, claimed_by_other);
    let settings = WorkerSettings { concurrency: 1, visibility: Duration::from_secs(3600), ..fleet.settings() };
    let context = WorkerContext::new(with_faults(&fleet.ports, &late), settings);
    let consumer = Consumer::new(context, CancellationToken::new());
    let discarded = async {
        while !late.was_hit() || fleet.ports.queue.depth(QueueName::Copy).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = async { consumer.run().await } => panic!("the worker ended"),
        discarded = tokio::time::timeout(Duration::from_secs(30), discarded) => discarded.expect("it stays hidden"),
    }
}
