//! Seeds that are killed while chunks with flipped bits are on their way or not yet proven, at a service that checks
//! nothing: the seed of another job does not rely on such a chunk.

use std::time::Duration;

use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::artifacts::load_version;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_kinds::context::read_spec;
use goldfleet_kinds::seed::SeedSpec;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::azure::proxy::{Effect, Operation, Rule};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use hyper::Method;
use tokio_util::sync::CancellationToken;

use crate::engine::flips::{NOTHING_CHECKED, assert_chunks, behave};

const CHUNKS: &str = "*/chunks*";

/// Longer than any worker here lives.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// When a seed is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before its chunks arrive.
    InFlight,
    /// Before it has read back the chunks that arrived.
    BeforeProof,
}

/// How many chunks the service has copied to the region's store.
fn chunks_copied(azure: &AzureFixture) -> usize {
    let writes = azure.proxy.counters().now().writes;
    writes.iter().filter(|write| write.path.contains("/chunks") && write.status == 201).count()
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Plans a job of an uploaded version, and kills the only worker. The chunks of its seed all arrive with a flipped bit.
async fn kill_seed(azure: &AzureFixture, fleet: &InProcessFleet, version: &str, moment: Moment) {
    let job = fleet.plan_job(version).await;
    behave(azure, NOTHING_CHECKED);
    azure.proxy.counters().reset();
    let rules = azure.proxy.rules();
    let flips = rules.add(Rule::new(Effect::FlipSourceBit).operation(Operation::PutBlobFromUrl));
    rules.add(Rule::new(Effect::Delay(HOUR)).method(Method::GET).path(CHUNKS));
    if moment == Moment::InFlight {
        let delay = Effect::Delay(Duration::from_millis(200));
        rules.add(Rule::new(delay).operation(Operation::PutBlobFromUrl));
    }
    let reached = || match moment {
        Moment::InFlight => rules.hits(flips) > 0,
        Moment::BeforeProof => chunks_copied(azure) > 0,
    };
    let consumer = Consumer::new(WorkerContext::new(fleet.ports.clone(), fleet.settings()), CancellationToken::new());
    tokio::select! {
        () = async { consumer.run().await; } => panic!("the worker ended"),
        () = until(reached) => {}
    }
    until(|| chunks_copied(azure) > 0).await;
    behave(azure, NOTHING_CHECKED);
    cancel(&fleet.control_with_own_ports().jobs, &job).await.unwrap();
}

/// The job of the killed seed is cancelled, so nobody repeats the seed. The seed of another version with the same
/// content ends with intact chunks.
#[test]
fn seeds_of_other_jobs_do_not_rely_on_unproven_chunks() {
    for (case, moment) in (2000..).zip([Moment::InFlight, Moment::BeforeProof]) {
        // Each has its own stores: the seed to be killed must not read back what an earlier one left.
        let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
        azure.run(async {
            behave(&azure, &[]);
            let fleet = azure.fleet(&GoldenSpec { seed: case, ..process_fixture::golden() });
            let (version, other) = (case.to_string(), format!("{case}-other"));
            kill_seed(&azure, &fleet, &version, moment).await;
            let (job, status) = fleet.roll_out(&fleet.ports, &other, 1).await;
            assert_eq!(status.state, ReportedState::Succeeded, "{moment:?}: {status:#?}");
            let loaded = load_version(
                &fleet.control_with_own_ports().ports,
                &fleet.control_with_own_ports().config,
                &"golden".parse().unwrap(),
                &other.parse().unwrap(),
            )
            .await
            .unwrap();
            let rows = fleet.ports.table.operations(&job).await.unwrap();
            let seed = rows.iter().find(|row| row.value.kind.as_str() == "seed").unwrap();
            let SeedSpec { store, .. } = read_spec(&seed.value).unwrap();
            assert_chunks(&azure, &store.container(), &loaded.manifests[0], &format!("{moment:?}")).await;
            let records = azure.blobs().list(&store.container(), "writers/", None).await.unwrap().blobs;
            let others = records.iter().filter(|record| record.name.contains(job.as_str())).count();
            assert_eq!(others, 0, "{moment:?}: {records:?}");
        });
    }
}
