//! Faults of single requests, and of stores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::checksum::crc64;
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_ports::timeout::TimeoutPolicy;
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::azure::proxy::{Effect, Operation, Rule};

use crate::engine::fixture::{EngineFixture, IN_FLIGHT, KEYS, MOVES, answer, reads_of};

/// Bursts of failing requests, for both ways of moving chunks, cost a few more requests and have no other effect.
#[test]
fn failed_requests_are_retried() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let cases = [
        ("nothing", None, 0),
        ("busy", Some(answer(503, "ServerBusy", Some(1))), 6),
        ("busy, and says not how long", Some(Effect::BUSY), 12),
        ("a failure inside", Some(answer(500, "InternalError", None)), 6),
        ("reset before the effect", Some(Effect::LoseRequest), 6),
        ("reset after the effect", Some(Effect::LoseAnswer), 6),
        ("a slow link", Some(Effect::Delay(Duration::from_millis(400))), 12),
        ("no answer in time", Some(Effect::Delay(Duration::from_secs(4))), 3),
        ("a SAS is refused that was just made", Some(answer(403, "CannotVerifyCopySource", None)), 3),
        ("the source is busy", Some(answer(503, "CannotVerifyCopySource", Some(1))), 3),
        ("the source fails", Some(answer(500, "CannotVerifyCopySource", None)), 3),
        ("a bit flips on the way", Some(Effect::FlipSourceBit), 3),
    ];
    for (version, (name, effect, times)) in (1..).zip(cases) {
        azure.proxy.rules().clear();
        let counts = azure.run(async {
            let mut fixture = EngineFixture::set(&azure, version).await;
            let impatient = name == "no answer in time";
            if impatient {
                let timeouts = TimeoutPolicy {
                    idle: Duration::from_secs(2),
                    min_source_rate: u64::MAX,
                    ..TimeoutPolicy::default()
                };
                fixture.ports.blobs = Arc::new(azure.blobs_with_timeouts(timeouts));
            }
            let rules: Vec<_> = effect
                .iter()
                .flat_map(|effect| {
                    MOVES.map(|(operation, _)| Rule::new(effect.clone()).operation(operation).times(times))
                })
                .map(|rule| azure.proxy.rules().add(rule))
                .collect();
            let (status, counts, _) = fixture.run().await;
            fixture.assert_whole(name, &status).await;
            assert!(rules.iter().all(|rule| azure.proxy.rules().hits(*rule) == times), "{name}: {counts:#?}");
            for ((_, kind), least) in MOVES.into_iter().zip(fixture.least()) {
                let sent = counts.of(kind);
                // A chunk with several runs is written again from its first run. If a busy machine makes a worker lose
                // its lease, the requests in flight are sent again. With short timeouts, the number of requests that a
                // busy machine gives up is unknown.
                let most = if impatient { u64::MAX } else { least + 3 * times + IN_FLIGHT };
                assert!((least..=most).contains(&sent), "{name}: {sent} of {kind}, and {least} at least");
            }
            counts
        });
        // One for the source account and one for the region's store. After a new SAS is refused, no other SAS is
        // requested.
        assert_eq!(counts.of(KEYS), 2, "{name}: {counts:#?}");
    }
}

/// If a store lacks a chunk, or cannot be read at all, the chunks come from the next nearest store, and the log says
/// which chunk or store failed.
#[test]
fn chunks_fail_over_to_next_store() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let cases = [
        ("gone", answer(404, "CannotVerifyCopySource", None), Some(1)),
        ("flipped", Effect::FlipSourceBit, Some(1)),
        ("denied", answer(403, "CannotVerifyCopySource", None), None),
        ("failing", answer(503, "CannotVerifyCopySource", None), None),
    ];
    for (version, (name, effect, times)) in (1..).zip(cases) {
        azure.proxy.rules().clear();
        azure.run(async {
            let fixture = EngineFixture::set(&azure, version).await;
            let rule = Rule::new(effect).operation(Operation::PutPageFromUrl).when(reads_of("stage1eastus"));
            azure.proxy.rules().add(times.map_or(rule.clone(), |times| rule.times(times)));
            let (status, counts, log) = fixture.run().await;
            fixture.assert_whole(name, &status).await;
            let data = fixture.manifest.data_bytes();
            // One of eight chunks, or all of them. None if a busy machine made the worker lose its lease before
            // failover, because the fault is over when the copy is retried.
            let around = counts.between("goldsource", "stage1eastus") - data;
            let expected = if times.is_some() { 0..=data / 2 } else { data * 9 / 10..=data * 3 / 2 };
            assert!(expected.contains(&around), "{name}: {around} bytes of {data} came around the region's store");
            let lines = |said: &str| {
                let of_store = |line: &&str| line.contains(said) && line.contains("stage1eastus/vhds");
                log.lines().filter(of_store).collect::<Vec<_>>()
            };
            let chunks = lines("a chunk cannot be read from this store");
            assert!(
                chunks.iter().all(|line| fixture.manifest.chunks.iter().any(|c| line.contains(&c.hash.to_string())))
            );
            // If one chunk after the other fails, the log names the store instead of each chunk.
            let stores = lines("a store fails repeatedly");
            assert!(!chunks.is_empty() || times.is_none() && !stores.is_empty(), "{name}: {log}");
        });
    }
}

/// A store is too slow. Overdue chunks are requested from another store too. The abandoned requests take effect late,
/// with a flipped bit that the service does not notice. They change nothing, because they are fenced by then.
#[test]
fn late_writes_are_fenced() {
    const LATE: Duration = Duration::from_secs(20);
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    azure.run(async {
        let fixture = EngineFixture::set(&azure, 1).await;
        let rules = [Effect::Delay(LATE), Effect::FlipSourceBit, Effect::IgnoreSourceMd5].map(|effect| {
            let rule = Rule::new(effect).operation(Operation::PutPageFromUrl).when(reads_of("stage1eastus"));
            azure.proxy.rules().add(rule)
        });
        let rule = rules[0];
        let begun = Instant::now();
        let (status, _, log) = fixture.run().await;
        let took = begun.elapsed();
        fixture.assert_whole("before", &status).await;
        assert!(took < LATE, "{took:?}: it was waited for");
        assert!(log.contains("is overdue"), "{log}");
        let (given_up, before) = (azure.proxy.rules().hits(rule), azure.proxy.counters().now().writes.len() as u64);
        assert!(given_up > 0);
        // The abandoned requests take effect later.
        while (azure.proxy.counters().now().writes.len() as u64) < before + given_up {
            assert!(begun.elapsed() < 3 * LATE, "of {given_up} requests not all land");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("done in {took:?}; {given_up} requests landed after that, after {:?}", begun.elapsed());
        fixture.assert_whole("after", &status).await;
    });
}

/// If no store has an undamaged copy of a chunk, the failure names the store and the chunk.
#[test]
fn chunk_missing_everywhere_is_named() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let source: Container = Container { account: "goldsource".parse().unwrap(), container: "golden".parse().unwrap() };
    for (version, code) in [(1, "source-not-found"), (2, "source-corrupt")] {
        azure.run(async {
            let fixture = EngineFixture::set(&azure, version).await;
            let (blobs, chunk): (_, BlobAddress) = (azure.blobs(), source.blob(fixture.chunk(3)));
            let mut bytes = blobs.get(&chunk, None).await.unwrap().to_vec();
            blobs.delete(&chunk, None).await.unwrap();
            if code == "source-corrupt" {
                bytes[100] ^= 1;
                let checksum = crc64(&bytes);
                blobs.put_blob(&chunk, bytes.into(), checksum.into()).await.unwrap();
            }
            let (status, _, _) = fixture.run().await;
            assert_eq!(status.state, ReportedState::Failed, "{status:#?}");
            let failures: Vec<_> = status.failures.iter().filter(|failure| failure.code == code).collect();
            assert_eq!(failures.len(), 3, "the seed and both copies: {status:#?}");
            for failure in failures {
                assert!(failure.reason.contains(&chunk.to_string()), "{failure:#?}");
            }
            assert!(azure.manager.images().is_empty());
        });
    }
}
