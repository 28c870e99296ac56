//! Slow but working connections: transfers over them complete, and no request is sent twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use goldfleet_disk::GoldenSpec;
use goldfleet_model::manifest::Generation;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_ports::timeout::TimeoutPolicy;
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::azure::proxy::{Effect, Operation, Rule};
use hyper::Method;

use crate::engine::fixture::{EngineFixture, MIB, MOVES};

/// A hundredth of the programs' timeouts.
fn short_timeouts() -> TimeoutPolicy {
    let TimeoutPolicy { idle: silence, min_upload_rate: line, min_source_rate: source, max_retry_after } =
        TimeoutPolicy::default();
    TimeoutPolicy { idle: silence / 100, min_upload_rate: line * 100, min_source_rate: source * 100, max_retry_after }
}

/// A region whose store and target have a slow connection: every request takes longer than the idle timeout. None is
/// sent twice, and the other region is not delayed.
#[test]
fn slow_region_completes_without_delaying_others() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    azure.run(async {
        let mut fixture = EngineFixture::set(&azure, 1).await;
        fixture.ports.blobs =
            Arc::new(azure.blobs_with_timeouts(TimeoutPolicy { min_source_rate: 512 << 10, ..short_timeouts() }));
        let data = fixture.manifest.data_bytes();
        azure.proxy.rules().add(
            Rule::new(Effect::Throttle(data / 4))
                .path("/stage1eastus/*")
                .when(|head| MOVES.iter().any(|(operation, _)| *operation == Operation::of(head))),
        );
        let (status, counts, _) = fixture.run().await;
        fixture.assert_whole("slow", &status).await;
        assert_eq!(MOVES.map(|(_, kind)| counts.of(kind)), fixture.least(), "{counts:#?}");
        let events = fixture.events().await;
        let begun = events.iter().map(|event| event.at).min().unwrap();
        let copied = |region: &str| {
            let copy = events.iter().find(|event| {
                let of = event.operation.as_ref();
                event.what == "succeed"
                    && of
                        .is_some_and(|id| id.step() == "copy" && id.group().as_str().starts_with(&format!("{region}-")))
            });
            Duration::try_from(copy.unwrap().at.duration_since(begun)).unwrap()
        };
        let (slow, other) = (copied("eastus"), copied("westeurope"));
        assert!(slow >= Duration::from_secs(4) && other < slow / 2, "{slow:?}, and the other {other:?}");
    });
}

/// An upload over a connection with the minimum rate, but not for all requests at the same time: some time out, fewer
/// are sent concurrently, and all chunks are uploaded.
#[test]
fn upload_adapts_to_slow_link() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    azure.run(async {
        let golden = GoldenSpec::spread(64 * MIB, Generation::V2, 8 * MIB, 16, 7);
        let fleet = azure.fleet(&golden);
        let mut ports = fleet.ports.clone();
        // The timeout of a chunk of 0.5 MB is 1.1 s. In that time, the connection transfers four chunks.
        ports.blobs = Arc::new(azure.blobs_with_timeouts(TimeoutPolicy { min_upload_rate: MIB, ..short_timeouts() }));
        azure.proxy.rules().add(Rule::new(Effect::Throttle(2 * MIB)).operation(Operation::PutBlob));
        let begun = Instant::now();
        let uploaded = fleet.upload(&ports, "1").await.unwrap();
        let (counts, took) = (azure.proxy.counters().now(), begun.elapsed());
        let (sent, bytes) = (counts.received["goldsource"], uploaded.counts.bytes_data);
        println!("{bytes} bytes in {took:?}, {sent} went over the line");
        assert!(sent > bytes, "nothing was given up: {counts:#?}");
        assert!(sent < 3 * bytes, "{sent} bytes were sent for {bytes}");
    });
}

/// A slow response completes as long as data arrives.
#[test]
fn slow_response_completes() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    azure.run(async {
        let fleet = azure.fleet(&GoldenSpec::spread(64 * MIB, Generation::V2, 4 * MIB, 1, 7));
        fleet.upload(&fleet.ports, "1").await.unwrap();
        let container = fleet.config.source.store().container();
        let listed = azure.blobs().list(&container, "chunks/", None).await.unwrap();
        let chunk = listed.blobs.iter().max_by_key(|blob| blob.length).unwrap();
        azure.proxy.rules().add(Rule::new(Effect::Throttle(chunk.length / 3)).method(Method::GET).path("*/chunks*"));
        let begun = Instant::now();
        let bytes =
            azure.blobs_with_timeouts(short_timeouts()).get(&container.blob(chunk.name.clone()), None).await.unwrap();
        assert_eq!(bytes.len() as u64, chunk.length);
        assert!(begun.elapsed() > 4 * short_timeouts().idle, "{:?}", begun.elapsed());
    });
}
