//! A proxy, what is behind it, and a client.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use goldfleet_tests::azure::proxy::{Proxy, client};
use reqwest::{Method, RequestBuilder, StatusCode};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use uuid::Uuid;

use crate::proxy::emulator_stub::EmulatorStub;

/// A proxy, what is behind it, and a client.
pub(crate) struct ProxyFixture {
    pub(crate) proxy: Proxy,
    /// What is behind the proxy, unless that is the emulator.
    pub(crate) stand_in: Option<EmulatorStub>,
    http: reqwest::Client,
    container: String,
    token: String,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct ProxyReply {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Bytes,
}

impl ProxyReply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code of an error.
    pub(crate) fn error(&self) -> (u16, &str) {
        (self.status.as_u16(), self.header("x-ms-error-code"))
    }
}

impl ProxyFixture {
    pub(crate) async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let tls = rustls::ServerConfig::builder().with_no_client_auth();
        let tls = Arc::new(tls.with_single_cert(vec![own.cert.der().clone()], key).unwrap());
        let own = reqwest::Certificate::from_der(own.cert.der()).unwrap();
        let (stand_in, upstream, root) = match std::env::var("GOLDFLEET_EMULATOR") {
            Ok(emulator) => {
                let root = std::fs::read(std::env::var("GOLDFLEET_EMULATOR_ROOT").unwrap()).unwrap();
                (None, emulator, reqwest::Certificate::from_pem(&root).unwrap())
            }
            Err(_) => {
                let stand_in = EmulatorStub::start().await;
                let endpoint = stand_in.endpoint.clone();
                (Some(stand_in), endpoint, own.clone())
            }
        };
        let proxy = Proxy::start(&upstream, tls, client(root).unwrap()).await.unwrap();
        let fixture = Self {
            proxy,
            stand_in,
            http: client(own).unwrap(),
            container: format!("c{}", Uuid::new_v4().simple()),
            token: token(),
        };
        for account in ["srcacct", "dstacct"] {
            let container = format!("{}/{account}/{}?restype=container", fixture.proxy.endpoint(), fixture.container);
            assert_eq!(fixture.send(fixture.request(Method::PUT, &container)).await.status, 201);
        }
        fixture.proxy.counters().reset();
        fixture
    }

    /// The container, which all accounts have.
    pub(crate) fn container(&self) -> &str {
        &self.container
    }

    /// The path of a blob.
    pub(crate) fn path(&self, account: &str, name: &str) -> String {
        format!("/{account}/{}/{name}", self.container)
    }

    /// The URL of a blob of the account `srcacct`.
    pub(crate) fn source(&self, name: &str) -> String {
        format!("{}{}", self.proxy.endpoint(), self.path("srcacct", name))
    }

    /// The URL of a blob of the account `dstacct`.
    pub(crate) fn blob(&self, name: &str) -> String {
        format!("{}{}", self.proxy.endpoint(), self.path("dstacct", name))
    }

    /// A client that trusts the proxy.
    pub(crate) fn http(&self) -> reqwest::Client {
        self.http.clone()
    }

    /// What proves who asks.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub(crate) fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url).header("authorization", self.bearer()).header("x-ms-version", "2024-11-04")
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> ProxyReply {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<ProxyReply> {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(ProxyReply { status, headers, body: response.bytes().await? })
    }

    pub(crate) async fn get(&self, url: &str) -> ProxyReply {
        self.send(self.request(Method::GET, url)).await
    }

    pub(crate) async fn head(&self, url: &str) -> ProxyReply {
        self.send(self.request(Method::HEAD, url)).await
    }

    /// Put Blob.
    pub(crate) fn put(&self, url: &str, bytes: impl Into<Bytes>) -> RequestBuilder {
        self.request(Method::PUT, url).header("x-ms-blob-type", "BlockBlob").body(bytes.into())
    }

    /// Put Blob From URL, from a source of this fixture.
    pub(crate) fn put_from(&self, url: &str, source: &str) -> RequestBuilder {
        let request = self.request(Method::PUT, url).header("x-ms-blob-type", "BlockBlob").header("content-length", 0);
        request.header("x-ms-copy-source", source).header("x-ms-copy-source-authorization", self.bearer())
    }

    /// Copy Blob, from a source of this fixture.
    pub(crate) fn copy(&self, url: &str, source: &str) -> RequestBuilder {
        let request = self.request(Method::PUT, url).header("content-length", 0).header("x-ms-copy-source", source);
        request.header("x-ms-copy-source-authorization", self.bearer())
    }

    /// Makes a block blob.
    pub(crate) async fn make(&self, url: &str, bytes: impl Into<Bytes>) {
        let reply = self.send(self.put(url, bytes).header("content-type", "application/x-vhd")).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }

    /// Makes a page blob of zeros. Returns its ETag.
    pub(crate) async fn make_pages(&self, url: &str, length: u64) -> String {
        let request = self.request(Method::PUT, url).header("x-ms-blob-type", "PageBlob").header("content-length", 0);
        let reply = self.send(request.header("x-ms-blob-content-length", length)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.header("etag").to_owned()
    }

    /// Put Page.
    pub(crate) fn put_page(&self, url: &str, at: u64, bytes: Bytes) -> RequestBuilder {
        let request = self.request(Method::PUT, &format!("{url}?comp=page")).header("x-ms-page-write", "update");
        request.header("x-ms-range", format!("bytes={at}-{}", at + bytes.len() as u64 - 1)).body(bytes)
    }

    /// Put Page From URL; both ranges begin at a place and have a length.
    pub(crate) fn put_page_from(&self, url: &str, to: (u64, u64), source: &str, from: (u64, u64)) -> RequestBuilder {
        let range = |(at, length): (u64, u64)| format!("bytes={at}-{}", at + length - 1);
        let request = self.request(Method::PUT, &format!("{url}?comp=page")).header("x-ms-page-write", "update");
        let request = request.header("x-ms-range", range(to)).header("x-ms-source-range", range(from));
        let request = request.header("x-ms-copy-source", source).header("content-length", 0);
        request.header("x-ms-copy-source-authorization", self.bearer())
    }
}

/// Bytes that are not all the same, and none of them zero.
pub(crate) fn pattern(length: usize, seed: usize) -> Bytes {
    (0..length).map(|n| u8::try_from((n * 31 + n / 512 * 7 + seed) % 255).unwrap() + 1).collect()
}

/// Whether all bytes are zero.
pub(crate) fn zero(bytes: &[u8]) -> bool {
    bytes == vec![0; bytes.len()]
}

/// A token such as the emulator takes.
fn token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = format!(
        r#"{{"nbf":{0},"iat":{0},"exp":{1},"iss":"https://sts.windows.net/t/",
            "aud":"https://storage.azure.com","oid":"o","tid":"t"}}"#,
        now - 60,
        now + 3600
    );
    let parts = [r#"{"alg":"none","typ":"JWT"}"#, &claims, "signature"];
    parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".")
}
