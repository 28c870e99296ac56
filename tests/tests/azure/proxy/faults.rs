//! Faults by rule.

use std::time::{Duration, Instant};

use goldfleet_model::checksum::crc64;
use goldfleet_tests::azure::proxy::{Effect, Operation, Rule, crc64_header};
use reqwest::Method;

use crate::proxy::fixture::{ProxyFixture, ProxyReply, pattern};

/// Whether an attempt ended without an answer, by a reset and not by an orderly end.
fn reset(reply: reqwest::Result<ProxyReply>) -> bool {
    let error = reply.unwrap_err();
    let causes: Vec<_> =
        std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source()).collect();
    causes.iter().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionReset)
    })
}

#[tokio::test]
async fn lost_request_has_no_effect_lost_response_has() {
    let fixture = ProxyFixture::new().await;
    let (rules, blob) = (fixture.proxy.rules(), fixture.blob("a"));
    let rule = rules.add(Rule::new(Effect::LoseRequest).method(Method::PUT).times(1));
    let bytes = pattern(4 << 20, 1);
    assert!(fixture.try_send(fixture.put(&blob, bytes.clone())).await.is_err());
    assert_eq!(rules.hits(rule), 1);
    assert_eq!(fixture.get(&blob).await.status, 404);
    rules.add(Rule::new(Effect::LoseAnswer).operation(Operation::PutBlob).times(1));
    assert!(reset(fixture.try_send(fixture.put(&blob, bytes.clone())).await));
    assert_eq!(fixture.get(&blob).await.body, bytes);
    rules.add(Rule::new(Effect::LoseRequest).method(Method::GET).times(1));
    assert!(reset(fixture.try_send(fixture.request(Method::GET, &blob)).await));
    assert_eq!(fixture.send(fixture.put(&blob, bytes)).await.status, 201);
}

#[tokio::test]
async fn errors_match_azure_format() {
    let fixture = ProxyFixture::new().await;
    let (rules, blob) = (fixture.proxy.rules(), fixture.blob("a"));
    rules.add(Rule::new(Effect::BUSY).times(1));
    rules.add(Rule::new(Effect::TIMED_OUT).times(1));
    rules.add(Rule::new(Effect::throttled(Duration::from_secs(3))).times(1));
    let put = || fixture.put(&blob, pattern(4 << 20, 1));
    assert_eq!(fixture.send(put()).await.error(), (503, "ServerBusy"));
    assert_eq!(fixture.send(put()).await.error(), (500, "OperationTimedOut"));
    assert_eq!(fixture.get(&blob).await.header("retry-after"), "3");
    assert_eq!(fixture.get(&blob).await.status, 404);
}

#[tokio::test]
async fn rules_match_requests() {
    let fixture = ProxyFixture::new().await;
    let rules = fixture.proxy.rules();
    let (one, two) = (fixture.blob("one"), fixture.blob("two"));
    let pages = rules.add(Rule::new(Effect::BUSY).path("*/two").comp("page"));
    let plain = rules.add(Rule::new(Effect::BUSY).path("/dstacct/*/one").comp("").skip(1).times(2));
    let asked = rules.add(Rule::new(Effect::BUSY).when(|head| head.headers.contains_key("x-ms-lease-id")));
    assert_eq!(fixture.send(fixture.put_page(&two, 0, pattern(512, 1))).await.status, 503);
    assert_eq!(fixture.send(fixture.put_page(&one, 0, pattern(512, 1))).await.status, 404);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(fixture.get(&one).await.status.as_u16());
    }
    assert_eq!(statuses, [404, 503, 503, 404]);
    assert_eq!(fixture.send(fixture.request(Method::GET, &one).header("x-ms-lease-id", "l")).await.status, 503);
    assert_eq!([pages, plain, asked].map(|rule| rules.hits(rule)), [1, 2, 1]);
    rules.remove(pages);
    assert_eq!(fixture.send(fixture.put_page(&two, 0, pattern(512, 1))).await.status, 404);
}

#[tokio::test]
async fn random_rules_repeat_for_same_seed() {
    let fixture = ProxyFixture::new().await;
    let rules = fixture.proxy.rules();
    rules.add(Rule::new(Effect::BUSY).probability(0.4));
    let mut rounds = Vec::new();
    for seed in [7, 7, 8] {
        rules.seed(seed);
        let mut statuses = Vec::new();
        for _ in 0..50 {
            statuses.push(fixture.get(&fixture.blob("a")).await.status.as_u16());
        }
        rounds.push(statuses);
    }
    assert_eq!(rounds[0], rounds[1]);
    assert_ne!(rounds[0], rounds[2]);
    let busy = rounds[0].iter().filter(|&&status| status == 503).count();
    assert!((8..35).contains(&busy), "{busy}");
}

#[tokio::test]
async fn delay_rule_delays_request() {
    let fixture = ProxyFixture::new().await;
    let blob = fixture.blob("a");
    fixture.proxy.rules().add(Rule::new(Effect::Delay(Duration::from_millis(200))).times(1));
    let begun = Instant::now();
    assert_eq!(fixture.get(&blob).await.status, 404);
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn bandwidth_rule_is_shared_by_requests() {
    let fixture = ProxyFixture::new().await;
    let (source, blob) = (fixture.source("a"), fixture.blob("b"));
    let bytes = pattern(64 << 10, 1);
    fixture.make(&source, bytes.clone()).await;
    fixture.make(&blob, bytes.clone()).await;
    // Each takes a tenth of a second, and all of them together as many.
    fixture.proxy.rules().add(Rule::new(Effect::Throttle(640 << 10)));
    let begun = Instant::now();
    let (one, other, put, copied) = tokio::join!(
        fixture.get(&source),
        fixture.get(&blob),
        fixture.send(fixture.put(&fixture.blob("c"), bytes.clone())),
        fixture.send(fixture.put_from(&fixture.blob("d"), &source)),
    );
    let took = begun.elapsed();
    assert!(one.body == bytes && other.body == bytes);
    assert_eq!([put.status.as_u16(), copied.status.as_u16()], [201, 201]);
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert_eq!(fixture.get(&fixture.blob("d")).await.body, bytes);
}

#[tokio::test]
async fn flipped_bit_is_detected_by_checksum_or_written() {
    let fixture = ProxyFixture::new().await;
    let (source, bytes) = (fixture.source("a"), pattern(4096, 1));
    let (blob, pages) = (fixture.blob("b"), fixture.blob("p"));
    fixture.make(&source, bytes.clone()).await;
    fixture.make_pages(&pages, 4096).await;
    fixture.proxy.rules().add(Rule::new(Effect::FlipSourceBit));
    let put = fixture.put_page_from(&pages, (0, 4096), &source, (0, 4096));
    let put = put.header("x-ms-source-content-crc64", crc64_header(crc64(&bytes)));
    assert_eq!(fixture.send(put).await.error(), (400, "Crc64Mismatch"));
    let reply = fixture.send(fixture.put_from(&blob, &source)).await;
    let read = fixture.get(&blob).await.body;
    assert_eq!(reply.header("x-ms-content-crc64"), crc64_header(crc64(&read)));
    let flipped: u32 = bytes.iter().zip(&read).map(|(one, other)| (one ^ other).count_ones()).sum();
    assert_eq!((read.len(), flipped), (4096, 1));
    assert_eq!(fixture.get(&source).await.body, bytes);
}

#[tokio::test]
async fn request_completes_after_client_disconnects() {
    let fixture = ProxyFixture::new().await;
    let (source, blob) = (fixture.source("a"), fixture.blob("b"));
    fixture.make(&source, "bytes").await;
    let delay = Duration::from_millis(300);
    fixture.proxy.rules().add(Rule::new(Effect::Delay(delay)).operation(Operation::PutBlobFromUrl));
    let put = fixture.put_from(&blob, &source).timeout(delay / 3);
    assert!(fixture.try_send(put).await.is_err());
    assert_eq!(fixture.get(&blob).await.status, 404);
    tokio::time::sleep(delay * 2).await;
    assert_eq!(fixture.get(&blob).await.body, "bytes");
}
