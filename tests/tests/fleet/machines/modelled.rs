//! A clone on the modelled cloud, in virtual time: what it takes for disks of the size of the published migration
//! walk-through, a disk of 127 GiB and one of 1 TiB from France Central to Brazil South.
//!
//! The speed of the service's copies between regions is not documented. The model assumes that of the built-in rates,
//! which others measured between machines. `docs/performance.md` states the results.

use std::sync::Arc;
use std::time::Duration;

use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::machines::plan::plan;
use goldfleet_dispatcher::control::machines::request::request;
use goldfleet_dispatcher::control::service::{RunUntil, run};
use goldfleet_machines::request::{CloneRequest, Place};
use goldfleet_model::job::JobState;
use goldfleet_model::resource::{
    CreationData, DiskProperties, MachineDisk, MachineProperties, PowerState, Properties, ResourceBody, ResourceId,
    ResourceType,
};
use goldfleet_modelled::{LimitMode, Model};
use goldfleet_ports::clock::TokioClock;
use goldfleet_ports::disk_access::{Access, AccessRequest, MAX_ACCESS};
use goldfleet_ports::resources::{PutMode, PutRequest};
use goldfleet_rates::Rates;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::settings::WorkerSettings;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::scene::{id, place};

const GIB: u64 = 1 << 30;

/// The disks of the walk-through.
const DISKS: [u64; 2] = [127 * GIB, 1024 * GIB];

/// The time of the walk-through: stop, export, copy and creation by hand.
const WALK_THROUGH: Duration = Duration::from_secs(49 * 60);

fn from() -> Place {
    place(1, "francecentral", "prod")
}

fn to() -> Place {
    place(1, "brazilsouth", "clones")
}

struct Modelled {
    control: ControlContext,
    machine: ResourceId,
    /// It has the files of the configuration.
    _fleet: InProcessFleet,
}

impl Modelled {
    /// A machine that runs, with disks of these sizes.
    async fn new(sizes: &[u64]) -> Self {
        let fleet = InProcessFleet::new();
        let clock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let pace = LimitMode::Limited(Box::new(Rates::load(None).unwrap()));
        let ports = Model::new(pace, clock, &"francecentral".parse().unwrap(), 1).ports();
        let control = ControlContext::new(ports, Arc::clone(&fleet.config), "test");
        let scene = Self { control, machine: id(&from(), ResourceType::Machine, "web"), _fleet: fleet };
        let mut profile = json!({ "dataDisks": [] });
        for (n, size) in sizes.iter().enumerate() {
            let disk = id(&from(), ResourceType::Disk, &format!("web-{n}"));
            let properties = Properties::Disk(DiskProperties::new(CreationData::upload(*size)));
            scene.put(&disk, ResourceBody::new(from().region, properties)).await;
            let access = AccessRequest { id: disk.clone(), tenant: None, access: Access::Write, duration: MAX_ACCESS };
            scene.control.ports.disk_access.begin(&access).await.unwrap();
            scene.control.ports.disk_access.end(&disk, None).await.unwrap();
            let lun = u32::try_from(n).unwrap().checked_sub(1);
            let attached = json!(MachineDisk::attach(disk.to_string(), lun));
            match lun {
                None => profile["osDisk"] = attached,
                Some(_) => profile["dataDisks"].as_array_mut().unwrap().push(attached),
            }
        }
        let machine: MachineProperties = serde_json::from_value(json!({
            "hardwareProfile": { "vmSize": "Standard_D4s_v5" }, "storageProfile": profile,
        }))
        .unwrap();
        scene.put(&scene.machine, ResourceBody::new(from().region, Properties::Machine(Box::new(machine)))).await;
        scene
    }

    async fn put(&self, id: &ResourceId, body: ResourceBody) {
        let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::Create, body };
        self.control.ports.resources.put(&request).await.unwrap();
    }

    fn request(&self) -> CloneRequest {
        CloneRequest {
            source: self.machine.clone(),
            to: to(),
            subnet: Some(
                "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/net/providers/\
                 Microsoft.Network/virtualNetworks/main/subnets/apps"
                    .to_owned(),
            ),
            name: Some("copy".to_owned()),
            disk_name: None,
            zone: None,
            availability_set: None,
            size: None,
            disk_sku: None,
            disk_encryption_set: None,
            stop: true,
            live: false,
            max_downtime: Some(600),
            disks_only: false,
            as_image: false,
        }
    }

    async fn runs(&self) -> bool {
        let found = self.control.ports.resources.get(&self.machine, None).await.unwrap().unwrap();
        found.body.properties.machine().unwrap().power_state() == PowerState::Running
    }

    /// Clones the machine with two workers. Returns the time until the clone exists, and that for which the source was
    /// stopped.
    async fn clone(&self) -> (Duration, Duration) {
        let job = request(&self.control.jobs, &self.request(), None).await.unwrap().job.id;
        let stop = CancellationToken::new();
        let (serving, until) = (self.control.clone(), stop.clone());
        let mut tasks = vec![tokio::spawn(async move { run(&serving, RunUntil::Stopped, &until).await })];
        for n in 0..2 {
            let settings = WorkerSettings { name: format!("worker-{n}"), ..WorkerSettings::default() };
            let consumer = Consumer::new(WorkerContext::new(self.control.ports.clone(), settings), stop.clone());
            tasks.push(tokio::spawn(async move { consumer.run().await }));
        }
        let (begun, mut stopped) = (Instant::now(), Duration::ZERO);
        loop {
            let state = self.control.ports.table.job(&job).await.unwrap().unwrap().value.state;
            if state.is_terminal() {
                assert_eq!(state, JobState::Succeeded);
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(100_000), "the clone does not end");
            tokio::time::sleep(Duration::from_secs(1)).await;
            stopped += Duration::from_secs(u64::from(!self.runs().await));
        }
        stop.cancel();
        for task in tasks {
            task.await.unwrap();
        }
        (begun.elapsed(), stopped)
    }
}

/// If the service moves whole disks, and if it moves only the 30% of them that have data. The plan shows the bound that
/// the assumed link gives, and the price; the clone itself needs little more than that. The model stops and starts
/// machines at once.
#[tokio::test(start_paused = true)]
async fn the_machine_of_the_walk_through_is_cloned_in_the_time_of_its_copies() {
    for (share, seconds_at_most, dollars) in [(100, 950, 61.8), (30, 330, 18.5)] {
        let sizes = DISKS.map(|size| size / 100 * share / GIB * GIB);
        let scene = Modelled::new(&sizes).await;
        let planned = plan(&scene.control, &scene.request(), &"20261129-120000-0000".parse().unwrap()).await.unwrap();
        let estimate = planned.estimate.unwrap();
        let (took, stopped) = scene.clone().await;
        println!("{share}% of 1151 GiB: {estimate:?}, cloned in {took:?}, the source was stopped for {stopped:?}");
        assert_eq!(estimate.bytes_at_most, sizes.iter().sum::<u64>());
        let price = estimate.egress_at_most.to_string().trim_start_matches('$').parse::<f64>().unwrap();
        assert!((price - dollars).abs() < 1.0, "{price}");
        let bound = Duration::from_secs(estimate.seconds_at_most);
        assert!(took >= bound, "{took:?} is below the bound of the platform, {bound:?}");
        // A copy is polled after a tenth of its time, and the rows take some seconds.
        assert!(took <= bound.mul_f64(1.15) + Duration::from_secs(60), "{took:?}, with a bound of {bound:?}");
        assert!(took < Duration::from_secs(seconds_at_most) && took < WALK_THROUGH, "{took:?}");
        assert!(stopped < Duration::from_secs(60), "{stopped:?}");
    }
}
