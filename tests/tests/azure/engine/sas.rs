//! SAS that end, or are refused, while chunks move: the next is there in time, and no operation learns of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use goldfleet_azure::SasTimes;
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::azure::proxy::{Effect, Rule};
use hyper::http::request::Parts;
use jiff::Timestamp;

use crate::engine::fixture::{EngineFixture, IN_FLIGHT, KEYS, MOVES, answer};

/// The account that a service is to read from, and the SAS it does so with.
fn source(head: &Parts) -> Option<(String, String)> {
    let url = reqwest::Url::parse(head.headers.get("x-ms-copy-source")?.to_str().ok()?).ok()?;
    Some((url.path_segments()?.next()?.to_owned(), url.query()?.to_owned()))
}

fn seconds(seconds: u64) -> azure_core::time::Duration {
    Duration::from_secs(seconds).try_into().unwrap()
}

/// How old a SAS must be to be made anew. It knows whole seconds only, so that a younger one would be the same again.
const AGE: Duration = Duration::from_secs(1);

/// Refuses, once no SAS is younger than [`AGE`], all that were seen until then.
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

/// In the middle of it all, what was signed so far is not let in any more: keys were revoked, or a clock was set. What was
/// in flight is sent again, with a new SAS for each account, and that is all.
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
            // All bytes share a line, which takes 6 s to carry them.
            let bytes = 3 * fixture.manifest.data_bytes();
            azure.proxy.rules().add(Rule::new(Effect::Throttle(bytes / 6)).when(|head| source(head).is_some()));
            let (status, counts, log) = fixture.run().await;
            fixture.assert_whole(code, &status).await;
            let refused = azure.proxy.rules().hits(rule);
            assert!((1..=2 * IN_FLIGHT).contains(&refused), "{code}: {refused} requests were refused");
            assert_eq!(counts.of(KEYS), 2 + revoked.accounts(), "{code}: one new key for each account: {counts:#?}");
            // No try of any chunk failed, so no attempt did, and no store was left.
            let events = fixture.events().await;
            assert!(events.iter().all(|event| event.what != "retry"), "{code}: {events:#?}");
            assert!(!log.contains("can't be had here") && !log.contains("can't be read"), "{code}: {log}");
            // Around the store come up to three chunks, to see whether another is faster: on the line all are slow.
            let (data, crossed) = (fixture.manifest.data_bytes(), counts.between("goldsource", "stage1eastus"));
            assert!(crossed - data < data / 4, "{code}: {} bytes of {data} came around", crossed - data);
            let sent: u64 = MOVES.iter().map(|(_, kind)| counts.of(kind)).sum();
            assert_eq!(sent, fixture.least().iter().sum::<u64>() + refused, "{code}: a request was sent without need");
        });
    }
}

/// A rollout that takes longer than a SAS holds: on the wire there is always one that holds for a while.
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
        // All bytes share a line, which takes 8 s to carry them.
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
