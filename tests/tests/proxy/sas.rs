//! Sources with a shared access signature, from the SDK by way of the proxy.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::http::{Transport, Url};
use azure_core::time::{Duration, OffsetDateTime};
use azure_storage_blob::models::KeyInfo;
use azure_storage_blob::{BlobServiceClient, BlobServiceClientOptions};
use azure_storage_sas::SasBuilder;
use goldfleet_tests::azure::proxy::{Effect, Rule};

use crate::bench::{Bench, pattern};

#[derive(Debug)]
struct Forged(String);

#[async_trait]
impl TokenCredential for Forged {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new(self.0.clone(), OffsetDateTime::now_utc() + Duration::hours(1)))
    }
}

/// The URL of a source with the right to read it.
async fn signed(bench: &Bench, name: &str) -> String {
    if bench.stand_in.is_some() {
        return format!("{}?sv=2024-11-04&sig=good", bench.source(name));
    }
    let mut options = BlobServiceClientOptions::default();
    options.client_options.transport = Some(Transport::new(Arc::new(bench.http())));
    let credential = Arc::new(Forged(bench.bearer().replace("Bearer ", "")));
    let endpoint = Url::parse(&format!("{}/srcacct", bench.proxy.endpoint())).unwrap();
    let service = BlobServiceClient::new(endpoint, Some(credential), Some(options)).unwrap();
    // The emulator derives the key from the times as they are asked for, fractions too; the signature has none.
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let hours = KeyInfo {
        start: Some(now - Duration::minutes(5)),
        expiry: Some(now + Duration::hours(1)),
        ..KeyInfo::default()
    };
    let key = service.get_user_delegation_key(hours.try_into().unwrap(), None).await.unwrap().into_model().unwrap();
    let sas = SasBuilder::new("srcacct", &key, now + Duration::minutes(30)).unwrap();
    format!("{}?{}", bench.source(name), sas.blob(bench.container(), name).read().build())
}

#[tokio::test]
async fn sources_may_have_a_signature() {
    let bench = Bench::new().await;
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
