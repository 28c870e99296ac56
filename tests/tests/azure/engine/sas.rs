//! SAS that expire or are refused while chunks are moved: they are replaced in time, and no operation fails.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use goldfleet_azure::SasTimes;
use goldfleet_kinds::transfer::CHUNK_UNREADABLE;
use goldfleet_kinds::transfer::failover::STORE_FAILS;
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::azure::proxy::{Effect, Rule};
use hyper::http::request::Parts;
use jiff::Timestamp;

use crate::engine::fixture::{EngineFixture, IN_FLIGHT, KEYS, MOVES, answer};

/// The account from which a service reads for this request, and the SAS for it.
fn source(head: &Parts) -> Option<(String, String)> {
    let url = reqwest::Url::parse(head.headers.get("x-ms-copy-source")?.to_str().ok()?).ok()?;
    Some((url.path_segments()?.next()?.to_owned(), url.query()?.to_owned()))
}

fn seconds(seconds: u64) -> azure_core::time::Duration {
    Duration::from_secs(seconds).try_into().unwrap()
}

/// The minimum age of a SAS before it is replaced. SAS times have whole seconds, so a younger one would be replaced by
/// an identical one.
const AGE: Duration = Duration::from_secs(1);

/// Refuses all SAS that were seen so far, once none of them is younger than [`AGE`].
#[derive(Clone, Default)]
struct Revoked(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    seen: BTreeSet<(String, String)>,
    newest: Option<Instant>,
    revoked: BTreeSet<(String, String)>,
    /// The accounts whose SAS were refused.
    refused: BTreeSet<String>,
}

impl Revoked {
    fn refuses(&self, head: &Parts) -> bool {
        let Some(signed) = source(head) else { return false };
        let known = &mut *self.0.lock().unwrap();
        if known.seen.insert(signed.clone()) {
            known.newest = Some(Instant::now());
        }
        let all_old = known.newest.is_some_and(|newest| newest.elapsed() > AGE);
        if known.revoked.is_empty() && known.seen.len() == 2 && all_old {
            known.revoked = known.seen.clone();
        }
        let refuses = known.revoked.contains(&signed);
        if refuses {
            known.refused.insert(signed.0);
        }
        refuses
    }

    fn accounts(&self) -> u64 {
        self.0.lock().unwrap().refused.len() as u64
    }
}

/// All SAS become invalid during a transfer, for example because keys were revoked or a clock was changed. The requests
/// in flight are sent again with one new SAS for each account. Nothing else happens.
#[test]
fn revoked_sas_is_replaced_once() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    for (version, code) in [(1, "CannotVerifyCopySource"), (2, "AuthenticationFailed")] {
        azure.proxy.rules().clear();
        azure.run(async {
            let mut fixture = EngineFixture::set(&azure, version).await;
            let times = SasTimes { min_renewal_age: AGE.try_into().unwrap(), ..SasTimes::default() };
            fixture.ports.blobs = Arc::new(azure.blobs_with(times));
            let revoked = Revoked::default();
            let refused = revoked.clone();
            let rule = Rule::new(answer(403, code, None)).when(move |head| refused.refuses(head));
            let rule = azure.proxy.rules().add(rule);
            // All bytes share a bandwidth with which they take 6 s.
            let bytes = 3 * fixture.manifest.data_bytes();
            azure.proxy.rules().add(Rule::new(Effect::Throttle(bytes / 6)).when(|head| source(head).is_some()));
            let (status, counts, log) = fixture.run().await;
            fixture.assert_whole(code, &status).await;
            let refused = azure.proxy.rules().hits(rule);
            assert!((1..=2 * IN_FLIGHT).contains(&refused), "{code}: {refused} requests were refused");
            assert_eq!(counts.of(KEYS), 2 + revoked.accounts(), "{code}: one new key for each account: {counts:#?}");
            // No request for a chunk failed finally, so no attempt failed, and there was no failover.
            let events = fixture.events().await;
            assert!(events.iter().all(|event| event.what != "retry"), "{code}: {events:#?}");
            assert!(!log.contains(CHUNK_UNREADABLE) && !log.contains(STORE_FAILS), "{code}: {log}");
            // Up to three chunks come from another store, as a test of whether it is faster. With the shared bandwidth,
            // all are slow.
            let (data, crossed) = (fixture.manifest.data_bytes(), counts.between("goldsource", "stage1eastus"));
            assert!(crossed - data < data / 4, "{code}: {} bytes of {data} came around", crossed - data);
            let sent: u64 = MOVES.iter().map(|(_, kind)| counts.of(kind)).sum();
            assert_eq!(sent, fixture.least().iter().sum::<u64>() + refused, "{code}: a request was sent without need");
        });
    }
}

/// In a rollout that takes longer than the validity of a SAS, every request has a SAS that is still valid for a while.
#[test]
fn sas_is_renewed_before_expiry_during_transfer() {
    const EARLY: i64 = 5;
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    azure.run(async {
        let mut fixture = EngineFixture::set(&azure, 1).await;
        let times = SasTimes { lifetime: seconds(7), renew_before: seconds(5), ..SasTimes::default() };
        fixture.ports.blobs = Arc::new(azure.blobs_with(times));
        let seen = Arc::<Mutex<HashMap<(String, String), Vec<i64>>>>::default();
        let noted = Arc::clone(&seen);
        // All bytes share a bandwidth with which they take 8 s.
        let bytes = 3 * fixture.manifest.data_bytes();
        azure.proxy.rules().add(Rule::new(Effect::Throttle(bytes / 8)).when(move |head| {
            let Some(signed) = source(head) else { return false };
            let end = signed.1.split('&').find_map(|pair| pair.strip_prefix("se=")).unwrap().replace("%3A", ":");
            let left = end.parse::<Timestamp>().unwrap().as_second() - Timestamp::now().as_second();
            noted.lock().unwrap().entry(signed).or_default().push(left);
            true
        }));
        let (status, counts, _) = fixture.run().await;
        fixture.assert_whole("renewed", &status).await;
        let seen = seen.lock().unwrap();
        assert!(seen.len() > 2, "two accounts, and a new SAS after two seconds: {seen:#?}");
        let least = seen.values().flatten().min().unwrap();
        assert!(*least >= EARLY - 1, "one that holds for {least} s only is on the wire: {seen:#?}");
        assert_eq!(counts.of(KEYS), seen.len() as u64, "each is made once");
        assert_eq!(MOVES.map(|(_, kind)| counts.of(kind)), fixture.least(), "none is refused: {counts:#?}");
    });
}
