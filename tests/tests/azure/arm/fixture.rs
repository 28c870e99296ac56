//! A running double with a client that trusts it.

use std::sync::Arc;
use std::time::Duration;

use goldfleet_tests::azure::arm::token::token;
use goldfleet_tests::azure::arm::{Account, FakeResourceManager, TenantState};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

pub(crate) const TENANT: &str = "11111111-1111-1111-1111-111111111111";
pub(crate) const ONE: &str = "00000000-0000-0000-0000-000000000001";
pub(crate) const TWO: &str = "00000000-0000-0000-0000-000000000002";
pub(crate) const WORKER: &str = "22222222-2222-2222-2222-222222222222";
pub(crate) const AUDIENCE: &str = "https://management.azure.com";
pub(crate) const BLOB: &str = "https://stage1.blob.core.windows.net/vhds/golden.vhd";

/// Two subscriptions of a tenant, with a group and an account each.
pub(crate) fn world() -> TenantState {
    TenantState::new()
        .subscription(TENANT, ONE)
        .group(ONE, "images", "westeurope")
        .account(Account::new(ONE, "images", "stage1", "westeurope"))
        .subscription(TENANT, TWO)
        .group(TWO, "images", "eastus")
        .account(Account::new(TWO, "images", "stage2", "eastus"))
}

pub(crate) struct ArmFixture {
    pub(crate) manager: FakeResourceManager,
    pub(crate) client: Client,
    pub(crate) token: String,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str, message: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{self:?}");
        assert!(self.message().contains(message), "{self:?}");
        for header in ["x-ms-request-id", "x-ms-correlation-request-id"] {
            assert!(!self.header(header).is_empty(), "{header} of {self:?}");
        }
    }
}

impl ArmFixture {
    pub(crate) async fn new(world: TenantState) -> Self {
        Self::speaking(b"h2", world).await
    }

    /// A fixture whose server speaks this protocol.
    pub(crate) async fn speaking(protocol: &[u8], world: TenantState) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let root = reqwest::Certificate::from_der(made.cert.der()).unwrap();
        let client = Client::builder().tls_certs_only([root]).build().unwrap();
        let manager = FakeResourceManager::start(Arc::new(tls), world).await.unwrap();
        Self { manager, client, token: token(TENANT, WORKER, AUDIENCE, Duration::from_secs(600)) }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("https:") { path.to_owned() } else { self.manager.endpoint() + path };
        self.client.request(method, url)
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let mut request = self.request(method, path).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        reply(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None).await
    }

    /// Follows an operation by its status to its end.
    pub(crate) async fn finish(&self, begun: &Reply) -> Value {
        loop {
            let status = self.get(begun.header("azure-asyncoperation")).await;
            assert_eq!(status.status, 200, "{status:?}");
            if status.body["status"] != "InProgress" {
                return status.body;
            }
        }
    }
}

pub(crate) async fn reply(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    Reply { status, headers, body }
}

pub(crate) fn image(name: &str) -> String {
    image_of(ONE, name)
}

pub(crate) fn image_of(subscription: &str, name: &str) -> String {
    format!(
        "/subscriptions/{subscription}/resourceGroups/images/providers/Microsoft.Compute/images/{name}\
         ?api-version=2025-04-01"
    )
}

/// The body of an image of the first subscription's blob.
pub(crate) fn body() -> Value {
    json!({
        "location": "westeurope",
        "tags": { "goldfleet-image": "golden" },
        "properties": {
            "hyperVGeneration": "V2",
            "storageProfile": { "osDisk": { "osType": "Linux", "osState": "Generalized", "blobUri": BLOB } },
        },
    })
}

/// The same with one member changed; with a null it is taken away.
pub(crate) fn body_with(pointer: &str, value: Value) -> Value {
    let mut body = body();
    let (object, member) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(object).unwrap()[member] = value;
    body
}
