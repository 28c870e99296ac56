//! Fan-out: which existing images and open jobs count, and what remains when a job is cancelled during planning.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::fan_out::fan_out;
use goldfleet_dispatcher::control::reconcile::reconcile_job_by_id;
use goldfleet_dispatcher::control::request::{RequestResult, request_job};
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::service::{RunUntil, run};
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_model::ids::JobId;
use goldfleet_model::image::VhdNames;
use goldfleet_model::job::JobState;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::OperationState;
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{Clock, SystemClock};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{
    ChangeStatus, MachineAction, Pending, PutRequest, Resource, ResourcePage, ResourceQuery, ResourceService,
};
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture::{SOURCE, golden, targets};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

const WEST: &str = "region=westeurope";
const EAST: &str = "region=eastus";

/// A fleet with this name template for managed images, and these targets.
fn fleet(name: &str, targets: &str) -> InProcessFleet {
    let toml = format!("{SOURCE}\n[images]\nname = \"{name}\"\n[dispatch]\nsweep = \"50ms\"\n");
    InProcessFleet::with(&toml, targets, &golden())
}

/// Uploads the golden VHD as a version of this image.
async fn sent(fleet: &InProcessFleet, image: &str, version: &str) {
    fleet.upload_as(&fleet.ports, image, version, &|_| {}).await.unwrap();
}

/// Requests a version at the selected targets. At all targets if the selection is empty.
async fn asked(fleet: &InProcessFleet, image: &str, version: &str, selection: &[&str]) -> RequestResult {
    let selection: Vec<_> = selection.iter().map(|text| text.parse().unwrap()).collect();
    let control = fleet.control_with_own_ports();
    request_job(&control, &image.parse().unwrap(), &version.parse().unwrap(), &selection, false).await.unwrap()
}

/// Requests a version, and runs the job to its end.
async fn done(fleet: &InProcessFleet, image: &str, version: &str, selection: &[&str]) -> Status {
    let job = asked(fleet, image, version, selection).await.job.id;
    fleet.run(&fleet.ports, 1, &job).await
}

fn failed_with(status: &Status) -> Vec<&str> {
    status.failures.iter().map(|failure| failure.code.as_str()).collect()
}

/// A name without the region gives two targets of a resource group the same image. The second target is rejected, and
/// the image of the first is not changed, whether or not the content is the same.
#[tokio::test(flavor = "multi_thread")]
async fn image_in_other_region_does_not_count() {
    let fleet = fleet("{image}-{version}", &targets(1, &["westeurope", "eastus"]));
    sent(&fleet, "golden", "1").await;
    assert_eq!(done(&fleet, "golden", "1", &[WEST]).await.state, ReportedState::Succeeded);
    let first = fleet.images();

    let same = done(&fleet, "golden", "1", &[EAST]).await;
    assert_eq!((same.state, failed_with(&same)), (ReportedState::Failed, vec!["image-region-change"]), "{same:#?}");
    assert_eq!(fleet.images(), first);

    assert!(fleet.delete_version("1").await);
    fleet.change_golden();
    sent(&fleet, "golden", "1").await;
    let other = done(&fleet, "golden", "1", &[EAST]).await;
    assert_eq!((other.state, failed_with(&other)), (ReportedState::Failed, vec!["image-region-change"]), "{other:#?}");
    assert_eq!(fleet.images(), first);

    // The same version, uploaded again with other content, replaces the previous one.
    let again = done(&fleet, "golden", "1", &[WEST]).await;
    assert_eq!(again.state, ReportedState::Succeeded, "{again:#?}");
    let digest = |image: &serde_json::Value| image["tags"]["goldfleet-digest"].clone();
    assert_eq!(fleet.images().values().map(digest).collect::<Vec<_>>(), [again.digest.as_deref().unwrap()]);
}

/// Two golden images have the same name of managed images, by Resource Manager's comparison. The second is rejected,
/// and the image of the first is kept.
#[tokio::test(flavor = "multi_thread")]
async fn image_of_other_golden_image_is_not_changed() {
    let fleet = fleet("{image}-{version}-{region}", &targets(1, &["westeurope"]));
    sent(&fleet, "golden", "1-2").await;
    assert_eq!(done(&fleet, "golden", "1-2", &[]).await.state, ReportedState::Succeeded);
    let first = fleet.images();
    fleet.change_golden();
    for (image, version) in [("golden-1", "2"), ("Golden", "1-2")] {
        sent(&fleet, image, version).await;
        let status = done(&fleet, image, version, &[]).await;
        assert_eq!((status.state, failed_with(&status)), (ReportedState::Failed, vec!["image-foreign"]), "{status:#?}");
        assert_eq!(fleet.images(), first);
    }
}

type Before = dyn Fn(&ResourceId) -> BoxFuture<'static, PortResult<()>> + Send + Sync;

/// A resource service that runs code before it answers.
struct Watched {
    resources: Arc<dyn ResourceService>,
    before: Box<Before>,
}

#[async_trait]
impl ResourceService for Watched {
    fn vhd_names(&self) -> VhdNames {
        self.resources.vhd_names()
    }

    fn blob_url(&self, blob: &BlobAddress) -> String {
        self.resources.blob_url(blob)
    }

    async fn get(&self, id: &ResourceId, tenant: Option<&str>) -> PortResult<Option<Resource>> {
        (self.before)(id).await?;
        self.resources.get(id, tenant).await
    }

    async fn list(&self, query: &ResourceQuery, marker: Option<&str>) -> PortResult<ResourcePage> {
        self.resources.list(query, marker).await
    }

    async fn put(&self, request: &PutRequest) -> PortResult<ChangeStatus> {
        self.resources.put(request).await
    }

    async fn delete(&self, id: &ResourceId, tenant: Option<&str>) -> PortResult<ChangeStatus> {
        self.resources.delete(id, tenant).await
    }

    async fn act(&self, id: &ResourceId, action: MachineAction, tenant: Option<&str>) -> PortResult<ChangeStatus> {
        self.resources.act(id, action, tenant).await
    }

    async fn poll(&self, pending: &Pending) -> PortResult<ChangeStatus> {
        self.resources.poll(pending).await
    }
}

fn watched(
    ports: &Ports,
    before: impl Fn(&ResourceId) -> BoxFuture<'static, PortResult<()>> + Send + Sync + 'static,
) -> Ports {
    let resources = Arc::new(Watched { resources: Arc::clone(&ports.resources), before: Box::new(before) });
    Ports { resources, ..ports.clone() }
}

/// A service that asks for a long wait at one target does not stop the planning of other jobs.
#[tokio::test(flavor = "multi_thread")]
async fn busy_target_delays_only_its_job() {
    let fleet = fleet("{image}-{version}-{region}", &targets(1, &["westeurope", "eastus"]));
    sent(&fleet, "golden", "1").await;
    let ports = watched(&fleet.ports, |id| {
        let busy = PortError::new(ErrorKind::Throttled, "busy").with_retry_after(Duration::from_secs(600));
        let answer = if id.to_string().ends_with("eastus") { Err(busy) } else { Ok(()) };
        Box::pin(std::future::ready(answer))
    });
    let delayed = asked(&fleet, "golden", "1", &[EAST]).await.job.id;
    let other = asked(&fleet, "golden", "1", &[WEST]).await.job.id;
    let run = tokio::time::timeout(Duration::from_secs(30), fleet.run(&ports, 1, &other));
    assert_eq!(run.await.unwrap().state, ReportedState::Succeeded);
    let job = fleet.ports.table.job(&delayed).await.unwrap().unwrap().value;
    assert_eq!(job.state, JobState::Requested, "{job:#?}");
}

/// A clock on which seconds pass quickly.
struct Quick;

#[async_trait]
impl Clock for Quick {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration / 100).await;
    }
}

/// A dispatcher that waits for a service ends a few seconds after it was asked to stop.
#[tokio::test(flavor = "multi_thread")]
async fn dispatcher_stops_while_a_service_does_not_answer() {
    let fleet = fleet("{image}-{version}-{region}", &targets(1, &["westeurope"]));
    sent(&fleet, "golden", "1").await;
    let called = Arc::new(tokio::sync::Notify::new());
    let notify = Arc::clone(&called);
    let ports = watched(&fleet.ports, move |_| {
        notify.notify_one();
        Box::pin(std::future::pending())
    });
    let control = fleet.control_with(Ports { clock: Arc::new(Quick), ..ports });
    asked(&fleet, "golden", "1", &[WEST]).await;
    let stop = CancellationToken::new();
    let asked_to_stop = stop.clone();
    let serving = tokio::spawn(async move { run(&control, RunUntil::Stopped, &asked_to_stop).await });
    called.notified().await;
    stop.cancel();
    // 5 s on its clock.
    tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap();
}

/// A target that must not be read fails with its reason, and the others get their image.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_target_fails_alone() {
    let fleet = fleet("{image}-{version}-{region}", &targets(3, &["westeurope"]));
    sent(&fleet, "golden", "1").await;
    let ports = watched(&fleet.ports, |id| {
        let hidden = id.subscription.to_string().ends_with('2');
        let refusal = PortError::new(ErrorKind::NotFound, format!("{id}: there is no resource group images"));
        let answer = if hidden { Err(refusal.with_code("resource-group-not-found")) } else { Ok(()) };
        Box::pin(std::future::ready(answer))
    });
    let job = asked(&fleet, "golden", "1", &[]).await.job.id;
    let status = fleet.run(&ports, 1, &job).await;
    assert_eq!(failed_with(&status), ["resource-group-not-found"], "{status:#?}");
    assert!(status.failures[0].target.starts_with("00000000-0000-0000-0000-000000000002/"), "{status:#?}");
    assert_eq!(
        (status.phases.of_kind("image").succeeded, status.phases.of_kind("image").failed),
        (2, 1),
        "{status:#?}"
    );
}

/// A repeated request returns the open job, but only if that job covers everything that is requested now.
#[tokio::test(flavor = "multi_thread")]
async fn added_target_gets_new_job() {
    let fleet = fleet("{image}-{version}-{region}", &targets(1, &["westeurope"]));
    sent(&fleet, "golden", "1").await;
    let control = fleet.control_with_own_ports();
    let first = asked(&fleet, "golden", "1", &[]).await.job.id;
    fan_out(&control, &first).await.unwrap();
    let again = asked(&fleet, "golden", "1", &[]).await;
    assert_eq!((again.job.id, again.new), (first.clone(), false));

    std::fs::write(&fleet.config.targets.file, targets(1, &["westeurope", "eastus"])).unwrap();
    let second = asked(&fleet, "golden", "1", &[]).await;
    assert!(second.new && second.job.id != first);
    let again = asked(&fleet, "golden", "1", &[]).await;
    assert_eq!((&again.job.id, again.new), (&second.job.id, false), "the job that will do it all");

    let status = fleet.run(&fleet.ports, 1, &second.job.id).await;
    assert_eq!(fleet.status(&first).await.state, ReportedState::Succeeded);
    assert_eq!((status.state, status.phases.of_kind("image").succeeded), (ReportedState::Succeeded, 1), "{status:#?}");
    assert_eq!((status.phases.of_kind("image").skipped, fleet.images().len()), (1, 2), "{status:#?}");
}

/// A job that is cancelled during planning starts nothing, whether or not rows were written before.
#[tokio::test(flavor = "multi_thread")]
async fn job_cancelled_during_planning_starts_nothing() {
    let nothing_begins = async |control: &ControlContext, job: &JobId| {
        let rows = control.ports.table.operations(job).await.unwrap();
        assert!(rows.iter().all(|row| row.value.state == OperationState::Cancelled), "{rows:#?}");
        assert_eq!(control.jobs.job(job).await.unwrap().value.state, JobState::Cancelled);
        for queue in [QueueName::Seed, QueueName::Copy, QueueName::Image] {
            assert_eq!(control.ports.queue.depth(queue).await.unwrap(), 0, "{queue}");
        }
        rows.len()
    };
    let fleet = fleet("{image}-{version}-{region}", &targets(1, &["westeurope", "eastus"]));
    sent(&fleet, "golden", "1").await;
    let operator = fleet.control_with_own_ports();

    // The cancellation happens while the plan is made.
    let job = asked(&fleet, "golden", "1", &[]).await.job.id;
    let (control, id, once) = (operator.clone(), job.clone(), AtomicBool::new(true));
    let ports = watched(&fleet.ports, move |_| {
        let (control, id, now) = (control.clone(), id.clone(), once.swap(false, Ordering::SeqCst));
        Box::pin(async move { if now { cancelled(&control, &id).await } else { Ok(()) } })
    });
    fan_out(&fleet.control_with(ports), &job).await.unwrap();
    assert_eq!(nothing_begins(&operator, &job).await, 0);

    // The cancellation happens after a dispatcher has written rows and failed.
    let job = asked(&fleet, "golden", "1", &[]).await.job.id;
    let faults = Faults::failing_at("JobTable.insert_operations", 0, LostPart::Answer);
    fan_out(&fleet.control_with(with_faults(&fleet.ports, &faults)), &job).await.unwrap_err();
    cancelled(&operator, &job).await.unwrap();
    fan_out(&operator, &job).await.unwrap();
    assert!(nothing_begins(&operator, &job).await > 0);
}

/// A job can no longer be planned, but an earlier attempt has already sent messages. The operations that they started
/// are stopped. Some targets may be missing in the job, so it must be requested again instead of retried.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_job_leaves_no_work() {
    let fleet = fleet("{image}-{version}-{region}", &targets(1, &["westeurope", "eastus"]));
    sent(&fleet, "golden", "1").await;
    let job = asked(&fleet, "golden", "1", &[]).await.job.id;
    fan_out(&interrupted_before_plan(&fleet), &job).await.unwrap_err();
    let file = std::fs::read_to_string(&fleet.config.targets.file).unwrap();
    let none = file.replace("[[target]]", "[[target]]\nenabled = false");
    std::fs::write(&fleet.config.targets.file, none).unwrap();
    let control = fleet.control_with(fleet.ports.clone());
    fan_out(&control, &job).await.unwrap();

    let rows = control.ports.table.operations(&job).await.unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.value.state == OperationState::Cancelled), "{rows:#?}");
    assert_eq!(control.jobs.job(&job).await.unwrap().value.state, JobState::Failed);
    let refusal = retry(&control, &job, &RetryFilter::default()).await.unwrap_err().to_string();
    assert!(refusal.contains("was never planned: no enabled target"), "{refusal}");

    std::fs::write(&fleet.config.targets.file, file).unwrap();
    let again = done(&fleet, "golden", "1", &[]).await;
    assert_eq!((again.state, again.phases.of_kind("image").succeeded), (ReportedState::Succeeded, 2), "{again:#?}");
}

/// A dispatcher that is interrupted before the job's row has the plan has sent no message, so nothing starts. The next
/// attempt replaces its rows, and the job has only one plan.
#[tokio::test(flavor = "multi_thread")]
async fn interrupted_planning_starts_nothing_and_is_replaced() {
    let fleet = fleet("{image}-{version}-{region}", &targets(1, &["westeurope", "eastus"]));
    sent(&fleet, "golden", "1").await;
    let job = asked(&fleet, "golden", "1", &[]).await.job.id;
    fan_out(&interrupted_before_plan(&fleet), &job).await.unwrap_err();
    let control = fleet.control_with(fleet.ports.clone());
    let plans = async || {
        let rows = control.ports.table.operations(&job).await.unwrap();
        rows.into_iter().map(|row| row.value.plan).collect::<Vec<_>>()
    };
    assert!(plans().await.iter().all(|plan| *plan == 1) && !plans().await.is_empty());
    for queue in [QueueName::Seed, QueueName::Copy, QueueName::Image] {
        assert_eq!(control.ports.queue.depth(queue).await.unwrap(), 0, "{queue}");
    }
    // One target fewer: the second plan has fewer rows than the first.
    let file = std::fs::read_to_string(&fleet.config.targets.file).unwrap();
    std::fs::write(&fleet.config.targets.file, file.replacen("[[target]]", "[[target]]\nenabled = false", 1)).unwrap();
    fan_out(&control, &job).await.unwrap();
    let row = control.jobs.job(&job).await.unwrap().value;
    assert_eq!((row.state, row.plan, row.announced), (JobState::Running, 2, true));
    assert_eq!(row.operations, Some(plans().await.len() as u64));
    assert!(plans().await.iter().all(|plan| *plan == 2), "{:?}", plans().await);
    // The first dispatcher continues: it cannot write into the newer plan.
    let stale = control.ports.table.operations(&job).await.unwrap().remove(0).value;
    let stale = goldfleet_model::operation::Operation { plan: 1, ..stale };
    assert!(control.ports.table.insert_operations(&[stale]).await.is_err());
    let status = fleet.run(&fleet.ports, 1, &job).await;
    assert_eq!((status.state, status.phases.of_kind("image").succeeded), (ReportedState::Succeeded, 1), "{status:#?}");
}

/// A dispatcher stops after the job's row has the plan, before the row says that all messages are sent: the next one
/// sends them.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_planned_job_are_sent_after_an_interruption() {
    let fleet = fleet("{image}-{version}-{region}", &targets(1, &["westeurope", "eastus"]));
    sent(&fleet, "golden", "1").await;
    let job = asked(&fleet, "golden", "1", &[]).await.job.id;
    // The third commit records that the messages were sent.
    let faults = Faults::failing_at("JobTable.commit_job", 2, LostPart::Request);
    fan_out(&fleet.control_with(with_faults(&fleet.ports, &faults)), &job).await.unwrap_err();
    let control = fleet.control_with(fleet.ports.clone());
    let row = control.jobs.job(&job).await.unwrap().value;
    assert_eq!((row.state, row.announced), (JobState::Running, false));
    fan_out(&control, &job).await.unwrap();
    assert!(control.jobs.job(&job).await.unwrap().value.announced);
    fleet.run(&fleet.ports, 1, &job).await;
    assert_eq!(fleet.status(&job).await.state, ReportedState::Succeeded);
}

/// A control context whose planning attempt is interrupted directly before the job's row gets the plan.
fn interrupted_before_plan(fleet: &InProcessFleet) -> ControlContext {
    // The first commit takes the number of the attempt.
    let faults = Faults::failing_at("JobTable.commit_job", 1, LostPart::Request);
    fleet.control_with(with_faults(&fleet.ports, &faults))
}

/// Cancels a job like 'goldfleet cancel'. Without operations, the job ends at once.
async fn cancelled(control: &ControlContext, id: &JobId) -> PortResult<()> {
    cancel(&control.jobs, id).await.unwrap();
    reconcile_job_by_id(control, id).await.unwrap();
    Ok(())
}
