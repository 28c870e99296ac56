//! The fleet's coordination on Azure: `cargo bench -p goldfleet-tests --bench azure`.
//!
//! Against the storage emulator, on this machine: how many operations a second the fleet does, beside a bare loop of
//! the same queue and table requests in the same run; how many requests an operation costs, by kind; and how much
//! memory a worker takes that holds 256 operations in flight. Times are the emulator's, so that only their ratio says
//! anything.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use futures::stream::{self, StreamExt as _};
use goldfleet_azure::Connection;
use goldfleet_config::Config;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::fan_out::fan_out;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::upload::{UploadRequest, upload};
use goldfleet_model::ids::JobId;
use goldfleet_model::manifest::OsType;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Lease, Operation, OperationId, OperationState};
use goldfleet_model::state::OperationEvent;
use goldfleet_ports::clock::after;
use goldfleet_ports::job_table::Change;
use goldfleet_ports::queue::MAX_RECEIVE;
use goldfleet_ports::{Ports, Versioned};
use goldfleet_sources::DiskFile;
use goldfleet_tests::azure::arm::{Limits, LongRunning};
use goldfleet_tests::azure::azurite::Azurite;
use goldfleet_tests::azure::fixture::{AzureFixture, Backend};
use goldfleet_tests::bench::size;
use goldfleet_tests::process_fixture;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::settings::WorkerSettings;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const REGIONS: [&str; 3] = ["westeurope", "eastus", "japaneast"];
/// Subscriptions with a target in each region.
fn subscriptions() -> u32 {
    size(100, 3)
}

const IN_FLIGHT: usize = 32;
const LEASE: Duration = Duration::from_secs(60);

/// Counts requests by what they are.
#[derive(Debug)]
struct Counting {
    client: reqwest::Client,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
}

#[async_trait]
impl HttpClient for Counting {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let path = request.url().path();
        let what = if path.contains("/messages/") {
            format!("queue: {} a message", request.method())
        } else if path.ends_with("/messages") {
            format!("queue: {} messages", request.method())
        } else if path.ends_with("$batch") {
            "table: transaction".to_owned()
        } else if path.ends_with("()") {
            "table: range scan".to_owned()
        } else {
            format!("table: {} a row", request.method())
        };
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
        self.client.execute_request(request).await
    }
}

struct Scene {
    folder: TempDir,
    azurite: Azurite,
    config: Arc<Config>,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let azurite = Azurite::start(&["goldsource"]);
        let text = format!(
            "[source]\nsubscription = \"00000000-0000-0000-0000-000000000000\"\nregion = \"westeurope\"\n\
             account = \"goldsource\"\ncontainer = \"golden\"\n[coordination]\nbackend = \"azure\"\nprefix = \"bench\"\n\
             queue_endpoint = {:?}\ntable_endpoint = {:?}\ncredential = \"emulator\"\nca_certificate = {:?}\n",
            azurite.queues(),
            azurite.tables(),
            azurite.certificates().root
        );
        std::fs::write(folder.path().join("goldfleet.toml"), text).unwrap();
        std::fs::write(folder.path().join("targets.toml"), process_fixture::targets(subscriptions(), &REGIONS))
            .unwrap();
        let golden =
            goldfleet_disk::GoldenSpec::spread(24 << 20, goldfleet_model::manifest::Generation::V2, 64 << 10, 1, 1);
        golden.write(&folder.path().join("golden.vhd")).unwrap();
        let config = Config::load(Some(&folder.path().join("goldfleet.toml")), std::iter::empty()).unwrap();
        Self { folder, azurite, config: Arc::new(config), counts: Arc::default() }
    }

    fn ports(&self) -> Ports {
        let client = self.azurite.certificates().client();
        let counting = Counting { client, counts: Arc::clone(&self.counts) };
        let connection = Connection::with_client(Arc::new(counting), &self.config.identity().unwrap());
        goldfleet_connect::open_with_connection(&self.config, Some(&connection)).unwrap()
    }

    /// Uploads, plans and announces a job. What follows is workers' work.
    async fn job(&self, ports: &Ports) -> JobId {
        ports.queue.ensure().await.unwrap();
        ports.table.ensure().await.unwrap();
        let control = ControlContext::new(ports.clone(), Arc::clone(&self.config), "bench".to_owned());
        let asked = UploadRequest {
            source: DiskFile::shared(self.folder.path().join("golden.vhd")),
            image: "golden".parse().unwrap(),
            version: "1".parse().unwrap(),
            os: OsType::Linux,
            check: goldfleet_dispatcher::control::check::ImageChecks::default(),
            limit: None,
        };
        upload(&control, &asked, &|_| {}, &CancellationToken::new()).await.unwrap();
        let job = request_job(&control, &asked.image, &asked.version, &[], false).await.unwrap().job.id;
        fan_out(&control, &job).await.unwrap();
        // Done without a dispatcher: its message would keep the worker from ever being idle.
        for message in ports.queue.receive(QueueName::Dispatch, 1, LEASE).await.unwrap() {
            ports.queue.delete(QueueName::Dispatch, &message.receipt).await.unwrap();
        }
        job
    }
}

/// Runs one worker until all is done. Returns operations a second.
async fn fleet(scene: &Scene, ports: &Ports, job: &JobId) -> f64 {
    scene.counts.lock().unwrap().clear();
    let settings = WorkerSettings {
        concurrency: IN_FLIGHT,
        exit_when_idle: true,
        poll: Duration::from_millis(200),
        ..WorkerSettings::default()
    };
    let begun = Instant::now();
    Consumer::new(WorkerContext::new(ports.clone(), settings), CancellationToken::new()).run().await;
    let seconds = begun.elapsed().as_secs_f64();
    let operations = ports.table.operations(job).await.unwrap();
    assert!(operations.iter().all(|row| row.value.state == OperationState::Succeeded));
    rate(operations.len(), seconds)
}

fn rate(count: usize, seconds: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of operations")]
    let count = count as f64;
    count / seconds
}

/// The same requests without a fleet around them: look, claim, end, pass on, delete.
async fn bare(ports: &Ports) -> f64 {
    let job: JobId = "bare".parse().unwrap();
    let rows = ports.table.operations(&newest(ports).await).await.unwrap();
    let fresh: Vec<Operation> = rows.into_iter().map(|row| again(&job, row)).collect();
    ports.table.insert_operations(&fresh).await.unwrap();
    let ready: Vec<&Operation> = fresh.iter().filter(|operation| operation.kind.as_str() != "image").collect();
    stream::iter(&ready)
        .for_each_concurrent(IN_FLIGHT, async |operation| {
            let message = Message::operation(&job, &operation.id).encode();
            ports.queue.send(QueueName::Copy, &message, Duration::ZERO).await.unwrap();
        })
        .await;
    let begun = Instant::now();
    let done = std::sync::atomic::AtomicUsize::new(0);
    while done.load(std::sync::atomic::Ordering::Relaxed) < fresh.len() {
        let mut messages = Vec::new();
        for queue in [QueueName::Image, QueueName::Copy] {
            let received = ports.queue.receive(queue, MAX_RECEIVE, LEASE).await.unwrap();
            messages.extend(received.into_iter().map(|message| (queue, message)));
        }
        stream::iter(messages)
            .for_each_concurrent(IN_FLIGHT, async |(queue, message)| {
                let id = Message::decode(&message.body).unwrap().operation.unwrap();
                let group = ports.table.group(&job, &id).await.unwrap();
                let mut row = group.into_iter().find(|row| row.value.id == id).unwrap();
                let now = ports.clock.now();
                let lease = Lease {
                    token: Uuid::new_v4(),
                    holder: "bare".to_owned(),
                    process: None,
                    expires: after(now, LEASE),
                };
                for event in [OperationEvent::Claim(lease), OperationEvent::Succeed] {
                    let line = row.value.apply(event, now, "bare").unwrap();
                    let change = Change::new(&row, row.value.clone());
                    row.etag = ports.table.commit(&[change], &[line]).await.unwrap().remove(0);
                }
                if id.step() == "copy" {
                    let image = OperationId::new(id.group().clone(), "image");
                    let next = Message::operation(&job, &image).encode();
                    ports.queue.send(QueueName::Image, &next, Duration::ZERO).await.unwrap();
                }
                ports.queue.delete(queue, &message.receipt).await.unwrap();
                done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            })
            .await;
    }
    rate(fresh.len(), begun.elapsed().as_secs_f64())
}

async fn newest(ports: &Ports) -> JobId {
    ports.table.jobs().await.unwrap().remove(0).value.id
}

fn again(job: &JobId, row: Versioned<Operation>) -> Operation {
    Operation { job: job.clone(), state: OperationState::Ready, lease: None, ..row.value }
}

async fn coordination() {
    let scene = Scene::new();
    let ports = scene.ports();
    let job = scene.job(&ports).await;
    let fleet_rate = fleet(&scene, &ports, &job).await;
    let counts = scene.counts.lock().unwrap().clone();
    let bare_rate = bare(&ports).await;
    let copies = subscriptions() as usize * REGIONS.len();
    println!("operations: {copies} copies, {copies} images, {} seeds", REGIONS.len() - 1);
    println!(
        "fleet {fleet_rate:.0} operations/s, bare loop of the same requests {bare_rate:.0}/s: {:.2} (bound 0.60)",
        fleet_rate / bare_rate
    );
    let operations = copies * 2 + REGIONS.len() - 1;
    let total: usize = counts.values().sum();
    println!("requests of the worker, {:.2} an operation:", rate(total, 1.0) / rate(operations, 1.0));
    for (what, count) in counts {
        println!("  {what}: {count}, {:.2} an operation", rate(count, 1.0) / rate(operations, 1.0));
    }
}

/// A worker that holds 256 images in the making, and its highest memory.
fn memory() {
    let azure = AzureFixture::start(size(64, 1), &["westeurope", "eastus", "japaneast", "uksouth"]);
    azure.manager.world().write(|world| {
        world.limits = Limits::none();
        world.long_running = LongRunning {
            duration: Duration::from_secs(size(25, 1)),
            retry_after: Some(size(5, 1)),
            ..LongRunning::default()
        };
    });
    let fixture = azure.process_fixture(Backend::Azure, Backend::Azure, 256 << 10);
    fixture.succeed(&["setup"]);
    fixture.succeed(&fixture.upload(&[]));
    let _dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    let worker = fixture.start("goldfleet-worker", &["--concurrency", "256"]);
    let mut most = 0;
    fixture.wait_until("an end", |status| {
        let running = ["seed", "copy", "image"].map(|phase| status["phases"][phase]["running"].as_u64().unwrap_or(0));
        most = most.max(running.iter().sum::<u64>());
        status["state"] != "running" && status["state"] != "requested"
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.0.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    println!("a worker with {most} operations in flight took at most {peak} of memory (bound 96 MiB = 98304 kB)");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(coordination());
    memory();
}
