//! What passes through, and what is counted.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, future::join_all};
use goldfleet_tests::azure::proxy::Counts;
use reqwest::{Body, Method};

use crate::proxy::fixture::{ProxyFixture, pattern};

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let fixture = ProxyFixture::new().await;
    if fixture.stand_in.is_none() {
        return;
    }
    let (mut send, receive) = futures::channel::mpsc::channel::<Result<Bytes, Infallible>>(1);
    let request = fixture.request(Method::PUT, &fixture.blob("echo")).body(Body::wrap_stream(receive));
    let exchange = async {
        send.send(Ok("first".into())).await.unwrap();
        let mut parts = request.send().await.unwrap().bytes_stream();
        assert_eq!(parts.next().await.unwrap().unwrap(), "first");
        send.send(Ok("second".into())).await.unwrap();
        assert_eq!(parts.next().await.unwrap().unwrap(), "second");
        drop(send);
        assert!(parts.next().await.is_none());
    };
    tokio::time::timeout(Duration::from_secs(10), exchange).await.expect("nothing may wait for the whole body");
}

#[tokio::test]
async fn path_and_query_are_forwarded_unchanged() {
    let fixture = ProxyFixture::new().await;
    let Some(stand_in) = &fixture.stand_in else { return };
    let target = "a%2Fb%20c+d?sv=2024-11-04&sig=a%2Bb%2fC%3D&se=2026-01-01T00%3A00%3A00Z&x";
    fixture.get(&fixture.blob(target)).await;
    let seen = stand_in.seen().pop().unwrap();
    assert_eq!(seen.uri.path_and_query().unwrap().as_str(), fixture.path("dstacct", target));
    assert_eq!(seen.headers["x-ms-version"], "2024-11-04");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_transfer_large_bodies() {
    let fixture = ProxyFixture::new().await;
    let one = async |n: usize| {
        let (blob, bytes) = (fixture.blob(&n.to_string()), pattern(300_000, n));
        for _ in 0..3 {
            fixture.make(&blob, bytes.clone()).await;
            assert_eq!(fixture.get(&blob).await.body, bytes);
            assert_eq!(fixture.head(&blob).await.header("content-length"), "300000");
        }
    };
    join_all((0..50).map(one)).await;
}

#[tokio::test]
async fn connections_are_reused_on_both_sides() {
    let fixture = ProxyFixture::new().await;
    for _ in 0..10 {
        fixture.make(&fixture.blob("a"), pattern(1000, 1)).await;
        assert_eq!(fixture.get(&fixture.blob("a")).await.status, 200);
    }
    assert_eq!(fixture.proxy.counters().now().connections, 0);
    if let Some(stand_in) = &fixture.stand_in {
        assert_eq!(stand_in.connections(), 1);
    }
}

#[tokio::test]
async fn large_bodies_are_forwarded() {
    let fixture = ProxyFixture::new().await;
    let (source, blob, bytes) = (fixture.source("a"), fixture.blob("b"), pattern(96 << 20, 1));
    fixture.make(&source, bytes.clone()).await;
    assert_eq!(fixture.send(fixture.put_from(&blob, &source)).await.status, 201);
    assert!(fixture.get(&blob).await.body == bytes);
}

#[tokio::test]
async fn requests_and_bytes_are_counted() {
    let fixture = ProxyFixture::new().await;
    let (source, blob, pages) = (fixture.source("a"), fixture.blob("b"), fixture.blob("p"));
    fixture.make(&source, pattern(1024, 1)).await;
    fixture.make_pages(&pages, 512).await;
    assert_eq!(fixture.send(fixture.put_from(&blob, &source)).await.status, 201);
    assert_eq!(fixture.send(fixture.put_page_from(&pages, (0, 512), &source, (512, 512))).await.status, 201);
    assert_eq!(fixture.send(fixture.put_page(&pages, 0, pattern(512, 1))).await.status, 201);
    assert_eq!(fixture.get(&blob).await.status, 200);
    let counts = fixture.proxy.counters().reset();
    let kinds = ["PUT", "PUT from-url", "PUT comp=page from-url", "PUT comp=page", "GET", "HEAD"];
    assert_eq!(kinds.map(|kind| counts.of(kind)), [2, 1, 1, 1, 1, 0]);
    assert_eq!(counts.received, [("srcacct".to_owned(), 1024), ("dstacct".to_owned(), 512)].into());
    assert_eq!(counts.sent, [("dstacct".to_owned(), 1024)].into());
    assert_eq!(counts.between("srcacct", "dstacct"), 1024 + 512);
    assert_eq!(fixture.proxy.counters().now(), Counts::default());
}

#[tokio::test]
async fn dropped_proxy_refuses_connections() {
    let ProxyFixture { proxy, .. } = ProxyFixture::new().await;
    let address = proxy.endpoint().replace("https://", "");
    drop(proxy);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
