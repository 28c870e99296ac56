//! Sources with a shared access signature, from the SDK by way of the proxy.

use goldfleet_tests::azure::proxy::{Effect, Rule};
use goldfleet_tests::azure::sas;

use crate::proxy::fixture::{ProxyFixture, pattern};

/// The URL of a source with the right to read it.
async fn signed(fixture: &ProxyFixture, name: &str) -> String {
    if fixture.stand_in.is_some() {
        return format!("{}?sv=2024-11-04&sig=good", fixture.source(name));
    }
    let endpoint = format!("{}/srcacct", fixture.proxy.endpoint());
    let token = fixture.bearer().replace("Bearer ", "");
    let sas = sas::signed(&endpoint, "srcacct", &token, fixture.http(), |builder| {
        builder.blob(fixture.container(), name).read().build()
    });
    format!("{}?{}", fixture.source(name), sas.await)
}

#[tokio::test]
async fn signed_sources_are_readable() {
    let fixture = ProxyFixture::new().await;
    let bytes = pattern(4096, 1);
    fixture.make(&fixture.source("a"), bytes.clone()).await;
    let source = signed(&fixture, "a").await;
    let (blob, pages) = (fixture.blob("b"), fixture.blob("p"));
    fixture.make_pages(&pages, 4096).await;
    let without = |request: reqwest::RequestBuilder| {
        let (client, request) = request.build_split();
        let mut request = request.unwrap();
        request.headers_mut().remove("x-ms-copy-source-authorization");
        reqwest::RequestBuilder::from_parts(client, request)
    };
    let reply = fixture.send(without(fixture.put_from(&blob, &source))).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let reply = fixture.send(without(fixture.put_page_from(&pages, (0, 4096), &source, (0, 4096)))).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    // Between accounts: by the emulator, then by the proxy.
    for (name, status) in [("c", "success"), ("d", "pending")] {
        let reply = fixture.send(without(fixture.copy(&fixture.blob(name), &source))).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-ms-copy-status")), (202, status), "{reply:?}");
        let reply = fixture.head(&fixture.blob(name)).await;
        if name == "d" || fixture.stand_in.is_none() {
            assert_eq!((reply.header("x-ms-copy-status"), reply.header("x-ms-copy-source")), ("success", &*source));
        }
        fixture.proxy.rules().add(Rule::new(Effect::pending(0)));
    }
    for name in ["b", "c", "d", "p"] {
        assert_eq!(fixture.get(&fixture.blob(name)).await.body, bytes);
    }
    assert_eq!(fixture.proxy.counters().now().between("srcacct", "dstacct"), 4 * 4096);
    let tampered = source.replace("sig=", "sig=A");
    let reply = fixture.send(without(fixture.put_from(&blob, &tampered))).await;
    assert_eq!(reply.error(), (403, "CannotVerifyCopySource"));
}
