//! Sources with a shared access signature, from the SDK by way of the proxy.

use goldfleet_tests::azure::proxy::{Effect, Rule};
use goldfleet_tests::azure::sas;

use crate::proxy::fixture::{ProxyFixture, pattern};

/// The URL of a source with the right to read it.
async fn signed(bench: &ProxyFixture, name: &str) -> String {
    if bench.stand_in.is_some() {
        return format!("{}?sv=2024-11-04&sig=good", bench.source(name));
    }
    let endpoint = format!("{}/srcacct", bench.proxy.endpoint());
    let token = bench.bearer().replace("Bearer ", "");
    let sas = sas::signed(&endpoint, "srcacct", &token, bench.http(), |builder| {
        builder.blob(bench.container(), name).read().build()
    });
    format!("{}?{}", bench.source(name), sas.await)
}

#[tokio::test]
async fn signed_sources_are_readable() {
    let bench = ProxyFixture::new().await;
    let bytes = pattern(4096, 1);
    bench.make(&bench.source("a"), bytes.clone()).await;
    let source = signed(&bench, "a").await;
    let (blob, pages) = (bench.blob("b"), bench.blob("p"));
    bench.make_pages(&pages, 4096).await;
    let without = |request: reqwest::RequestBuilder| {
        let (client, request) = request.build_split();
        let mut request = request.unwrap();
        request.headers_mut().remove("x-ms-copy-source-authorization");
        reqwest::RequestBuilder::from_parts(client, request)
    };
    let reply = bench.send(without(bench.put_from(&blob, &source))).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let reply = bench.send(without(bench.put_page_from(&pages, (0, 4096), &source, (0, 4096)))).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    // Between accounts: by the emulator, then by the proxy.
    for (name, status) in [("c", "success"), ("d", "pending")] {
        let reply = bench.send(without(bench.copy(&bench.blob(name), &source))).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-ms-copy-status")), (202, status), "{reply:?}");
        let reply = bench.head(&bench.blob(name)).await;
        if name == "d" || bench.stand_in.is_none() {
            assert_eq!((reply.header("x-ms-copy-status"), reply.header("x-ms-copy-source")), ("success", &*source));
        }
        bench.proxy.rules().add(Rule::new(Effect::pending(0)));
    }
    for name in ["b", "c", "d", "p"] {
        assert_eq!(bench.get(&bench.blob(name)).await.body, bytes);
    }
    assert_eq!(bench.proxy.counters().now().between("srcacct", "dstacct"), 4 * 4096);
    let tampered = source.replace("sig=", "sig=A");
    let reply = bench.send(without(bench.put_from(&blob, &tampered))).await;
    assert_eq!(reply.error(), (403, "CannotVerifyCopySource"));
}
