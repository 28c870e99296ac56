use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use goldfleet_tests::azure::arm::token::token;
use goldfleet_tests::azure::arm::{Clock, Fault, Limit, Limits, Matches};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;

use crate::arm::fixture::{AUDIENCE, ArmFixture, ONE, TENANT, TWO, body, image, image_of, reply, world};

const IMAGES: &str = "Microsoft.Compute/images";

#[tokio::test]
async fn buckets_drain_and_refill() {
    let time = Arc::new(Mutex::new(Timestamp::now()));
    let shared = Arc::clone(&time);
    let mut world = world().limits(Limits {
        reads: Limit { burst: 2, per_second: 1 },
        deletes: Limit { burst: 1, per_second: 0 },
        ..Limits::default()
    });
    world.clock = Clock::new(move || *shared.lock().unwrap());
    let fixture = ArmFixture::new(world).await;
    for left in ["1", "0"] {
        let reply = fixture.get(&image("golden")).await;
        assert_eq!((reply.status, reply.header("x-ms-ratelimit-remaining-subscription-reads")), (404, left));
    }
    let refusal = fixture.get(&image("golden")).await;
    refusal.refused(429, "SubscriptionRequestsThrottled", ONE);
    assert_eq!(refusal.header("retry-after"), "1");
    // Other verbs, subscriptions and principals have buckets of their own.
    let written = fixture.put(&image("golden"), &body()).await;
    assert_eq!((written.status, written.header("x-ms-ratelimit-remaining-subscription-writes")), (201, "199"));
    assert_eq!(fixture.get(&image_of(TWO, "golden")).await.status, 404);
    let other = token(TENANT, "44444444-4444-4444-4444-444444444444", AUDIENCE, Duration::from_secs(60));
    assert_eq!(reply(fixture.request(Method::GET, &image("golden")).bearer_auth(other)).await.status, 200);
    let removed = fixture.delete(&image("x")).await;
    assert_eq!((removed.status, removed.header("x-ms-ratelimit-remaining-subscription-deletes")), (204, "0"));
    assert_eq!(fixture.delete(&image("x")).await.header("retry-after"), "3600");

    // Polls are reads: an operation is not followed for nothing.
    let poll = written.header("location");
    assert_eq!(fixture.get(poll).await.status, 429);
    *time.lock().unwrap() += SignedDuration::from_millis(1500);
    assert_eq!(fixture.get(poll).await.status, 200);
    assert_eq!(fixture.get(poll).await.status, 429);
    *time.lock().unwrap() += SignedDuration::from_millis(500);
    assert_eq!(fixture.get(poll).await.status, 200);
}

#[tokio::test]
async fn default_limits_match_azure() {
    let time = Timestamp::now();
    let mut world = world();
    world.clock = Clock::new(move || time);
    let fixture = ArmFixture::new(world).await;
    for _ in 0..200 {
        assert_eq!(fixture.delete(&image("golden")).await.status, 204);
    }
    assert_eq!(fixture.delete(&image("golden")).await.status, 429);
    assert_eq!(fixture.manager.log().answers, [(204, 200), (429, 1)].into());
}

#[tokio::test]
async fn faults_return_configured_status() {
    let fixture = ArmFixture::new(world()).await;
    let faults = fixture.manager.faults();
    faults.next(2, Matches::of("PUT", IMAGES).containing("/IMAGES/golden?"), Fault::Status(503, None));
    faults.next(1, Matches::of("put", IMAGES), Fault::Status(429, Some(3)));
    faults.next(1, Matches::polls(), Fault::Status(500, None));
    assert_eq!(fixture.put(&image("other"), &body()).await.header("retry-after"), "3");
    for expected in [503, 503, 201] {
        assert_eq!(fixture.put(&image("golden"), &body()).await.status, expected);
    }
    assert_eq!((faults.left(), fixture.manager.log().accepted.len()), (1, 1));
    let begun = fixture.put(&image("golden"), &body()).await;
    fixture.get(begun.header("location")).await.refused(500, "InternalServerError", "");
    assert_eq!((faults.left(), fixture.get(begun.header("location")).await.status), (0, 202));
}

#[tokio::test]
async fn faults_drop_responses_and_connections() {
    for protocol in [&b"h2"[..], b"http/1.1"] {
        lost(ArmFixture::speaking(protocol, world()).await).await;
    }
}

async fn lost(fixture: ArmFixture) {
    let faults = fixture.manager.faults();
    let put = || fixture.request(Method::PUT, &image("golden")).bearer_auth(&fixture.token).body(body().to_string());
    faults.next(1, Matches::all(), Fault::ResetBeforeEffect);
    let error = put().send().await.unwrap_err();
    assert!(was_reset(&error), "{error:?}");
    assert!(fixture.manager.images().is_empty());
    faults.next(1, Matches::all(), Fault::ResetAfterEffect);
    let error = put().send().await.unwrap_err();
    assert!(was_reset(&error), "{error:?}");
    assert_eq!(fixture.manager.images().len(), 1);
    faults.next(1, Matches::all(), Fault::StatusAfterEffect(504));
    let patch = fixture.send(Method::PATCH, &image("golden"), Some(&serde_json::json!({ "tags": { "a": "b" } }))).await;
    patch.refused(504, "GatewayTimeout", "");
    assert_eq!(fixture.manager.images()[0]["tags"]["a"], "b");
    faults.next(1, Matches::all(), Fault::Delay(Duration::from_millis(80)));
    let begun = Instant::now();
    assert_eq!(fixture.get(&image("golden")).await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(80));
}

fn was_reset(error: &(dyn Error + 'static)) -> bool {
    let io = |error: &(dyn Error + 'static)| error.downcast_ref::<io::Error>().map(io::Error::kind);
    io(error) == Some(io::ErrorKind::ConnectionReset) || error.source().is_some_and(was_reset)
}

#[tokio::test]
async fn requests_are_counted() {
    let fixture = ArmFixture::new(world()).await;
    let begun = fixture.put(&image("golden"), &body()).await;
    fixture.finish(&begun).await;
    fixture.get(&image("golden")).await;
    fixture.get("/nonsense").await;
    let log = fixture.manager.log();
    assert_eq!((log.count("PUT", IMAGES), log.count("GET", IMAGES), log.count("GET", "unknown")), (1, 1, 1));
    assert_eq!(log.count("GET", "Microsoft.Compute/locations/capsOperations"), 2);
    let accepted = &log.accepted[0];
    assert_eq!(accepted.id, image("golden").split('?').next().unwrap());
    assert_eq!(accepted.body, body());
}

#[tokio::test]
async fn responses_have_request_and_correlation_ids() {
    let fixture = ArmFixture::new(world()).await;
    let request = fixture.request(Method::GET, &image("golden")).bearer_auth(&fixture.token);
    let kept = reply(request.header("x-ms-correlation-request-id", "one")).await;
    let (first, second) = (fixture.get(&image("golden")).await, fixture.get(&image("golden")).await);
    assert_eq!(kept.header("x-ms-correlation-request-id"), "one");
    assert_ne!(first.header("x-ms-request-id"), second.header("x-ms-request-id"));
    assert_eq!(first.header("x-ms-request-id"), first.header("x-ms-correlation-request-id"));
}

#[tokio::test]
async fn dropping_fake_stops_server() {
    let fixture = ArmFixture::new(world()).await;
    let url = fixture.manager.endpoint() + &image("golden");
    assert_eq!(fixture.get(&image("golden")).await.status, 404);
    let ArmFixture { manager, client, token } = fixture;
    drop(manager);
    for _ in 0..100 {
        if client.get(&url).bearer_auth(&token).send().await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it still answers");
}
