//! Pipeline policies of every request: authorization, additional headers, and retries of reads.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::AccessToken;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{AUTHORIZATION, HeaderName, Headers, WWW_AUTHENTICATE};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Method, Request, Url};
use azure_core::{Error, Result};
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::tenants::Tenants;
use goldfleet_ports::backoff::Backoff;
use goldfleet_ports::timeout::{MAX_WAIT_IN_PLACE, fits_in_place};
use uuid::Uuid;

use super::error::retry_after;
use super::tokens::TokenCache;

/// A value in a request's context: the tenant whose token the request needs.
#[derive(Debug, Clone)]
pub(super) struct Tenant(pub(super) String);

/// A value in a request's context: the tenant of an auxiliary token, or none for the tenant of the credential. Source:
/// Azure, authenticate-multi-tenant.
#[derive(Debug, Clone)]
pub(super) struct Auxiliary(pub(super) Option<String>);

const AUXILIARY: HeaderName = HeaderName::from_static("x-ms-authorization-auxiliary");

/// A value in a request's context: headers that the service supports and the SDK's client has no option for.
#[derive(Debug, Clone, Default)]
pub(super) struct ExtraHeaders(pub(super) Vec<(&'static str, String)>);

/// Adds [`ExtraHeaders`].
#[derive(Debug)]
pub(super) struct AddHeaders;

#[async_trait]
impl Policy for AddHeaders {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if let Some(ExtraHeaders(headers)) = ctx.value::<ExtraHeaders>() {
            for (name, value) in headers {
                request.insert_header(HeaderName::from_static(name), value.clone());
            }
        }
        next[0].send(ctx, request, &next[1..]).await
    }
}

/// Authorizes requests with bearer tokens.
///
/// An account may belong to another tenant than the credential. The service then refuses the first request and names
/// its tenant. The policy remembers the tenant of the account and sends the request again with a token of that tenant.
/// The audience of the token never changes, so a server that names a tenant gains nothing.
///
/// The service may reject a token before it expires: it was revoked, its key changed, or this machine's clock is slow.
/// The request is then sent once more with a new token.
pub(super) struct BearerAuth {
    tokens: Arc<TokenCache>,
    scope: String,
    /// The tenants of subscriptions, as the configuration names them.
    configured: Arc<Tenants>,
    tenants: RwLock<HashMap<String, String>>,
}

impl std::fmt::Debug for BearerAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl BearerAuth {
    pub(super) fn new(tokens: Arc<TokenCache>, scope: String, configured: Arc<Tenants>) -> Self {
        Self { tokens, scope, configured, tenants: RwLock::default() }
    }

    /// The tenant whose token a request needs. None for the tenant of the credential.
    fn tenant_of(&self, ctx: &Context, url: &Url, place: &str) -> Option<String> {
        let requested = || ctx.value::<Tenant>().map(|tenant| tenant.0.clone());
        let configured = || self.configured.of(&subscription_of(url)?).map(ToString::to_string);
        requested().or_else(configured).or_else(|| self.known_tenant(place))
    }

    fn known_tenant(&self, place: &str) -> Option<String> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(place).cloned()
    }

    fn learn_tenant(&self, place: String, tenant: String) {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).insert(place, tenant);
    }

    async fn authorise(&self, request: &mut Request, tenant: Option<&str>) -> Result<AccessToken> {
        let token = self.tokens.get(tenant, &self.scope).await?;
        request.insert_header(AUTHORIZATION, format!("Bearer {}", token.token.secret()));
        Ok(token)
    }
}

#[async_trait]
impl Policy for BearerAuth {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if request.url().scheme() != "https" {
            let message = "a token is sent over https only";
            return Err(Error::with_message(ErrorKind::Credential, message));
        }
        if let Some(Auxiliary(tenant)) = ctx.value::<Auxiliary>() {
            let token = self.tokens.get(tenant.as_deref(), &self.scope).await?;
            request.insert_header(AUXILIARY, format!("Bearer {}", token.token.secret()));
        }
        let place = tenant_scope(request.url());
        let tenant = self.tenant_of(ctx, request.url(), &place);
        let token = self.authorise(request, tenant.as_deref()).await?;
        let response = next[0].send(ctx, request, &next[1..]).await?;
        if u16::from(response.status()) != 401 {
            return Ok(response);
        }
        match challenged_tenant(response.headers()) {
            Some(named) if tenant.as_deref() != Some(&named) => {
                self.authorise(request, Some(&named)).await?;
                self.learn_tenant(place, named);
            }
            _ if self.tokens.mark_rejected(tenant.as_deref(), &self.scope, &token).await => {
                self.authorise(request, tenant.as_deref()).await?;
            }
            _ => return Ok(response),
        }
        request.body_mut().reset().await?;
        next[0].send(ctx, request, &next[1..]).await
    }
}

/// The part of a URL that belongs to one tenant: an account, which is a host or in an emulator the first segment of the
/// path, or a subscription at Resource Manager, which is the second segment.
fn tenant_scope(url: &Url) -> String {
    let mut segments = url.path_segments().into_iter().flatten();
    let first = segments.next().unwrap_or_default();
    let subscription = segments.next().filter(|_| first.eq_ignore_ascii_case("subscriptions")).unwrap_or_default();
    format!("{}/{first}/{subscription}", url.authority()).to_ascii_lowercase()
}

/// The subscription of a URL of Resource Manager.
fn subscription_of(url: &Url) -> Option<SubscriptionId> {
    let mut segments = url.path_segments()?;
    segments.next().filter(|first| first.eq_ignore_ascii_case("subscriptions"))?;
    segments.next()?.parse().ok()
}

/// The tenant that a 401 response names. Source: the Bearer challenge of Azure Storage and Resource Manager,
/// `authorization_uri=https://login.microsoftonline.com/TENANT/…`.
fn challenged_tenant(headers: &Headers) -> Option<String> {
    let challenge = headers.get_optional_str(&WWW_AUTHENTICATE)?;
    let (_, rest) = challenge.split_once("authorization_uri=")?;
    let uri = rest.trim_start_matches('"').split(['"', ' ', ',']).next()?;
    let uri = Url::parse(uri).ok()?;
    let tenant = uri.path_segments()?.next()?.parse::<Uuid>().ok()?;
    Some(tenant.to_string())
}

/// Repeats reads that failed with a transient error. Writes are not repeated here: only the callers can find out
/// whether a write was committed.
#[derive(Debug)]
pub(super) struct RetryReads;

/// The maximum number of times that a read is sent.
const MAX_TRIES: usize = 3;

/// The waits between tries, before jitter.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), MAX_WAIT_IN_PLACE);

#[async_trait]
impl Policy for RetryReads {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if !matches!(request.method(), Method::Get | Method::Head) || is_queue_receive(request) {
            return next[0].send(ctx, request, &next[1..]).await;
        }
        for wait in BACKOFF.jittered_waits(MAX_TRIES) {
            let asked = match next[0].send(ctx, request, &next[1..]).await {
                Ok(response) if !is_transient(response.status().into()) => return Ok(response),
                Ok(response) => {
                    let asked = retry_after(response.headers());
                    if !fits_in_place(asked) {
                        // The caller does other work until then.
                        return Ok(response);
                    }
                    asked
                }
                Err(error) if is_transport(&error) => None,
                Err(error) => return Err(error),
            };
            // The SDK's pipeline is used with the service itself only, where time is the machine's.
            tokio::time::sleep(asked.unwrap_or(wait)).await;
        }
        next[0].send(ctx, request, &next[1..]).await
    }
}

/// Receiving messages is a GET with a side effect: messages whose response was lost stay hidden for their visibility
/// timeout.
fn is_queue_receive(request: &Request) -> bool {
    request.url().query_pairs().any(|(name, _)| name == "visibilitytimeout")
}

fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

fn is_transport(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Connection | ErrorKind::Io)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use azure_core::Bytes;
    use azure_core::http::{AsyncRawResponse, HttpClient, StatusCode};
    use goldfleet_azure_settings::{Credential, Identity};

    use super::*;
    use crate::connection::{Connection, STORAGE_SCOPE};

    /// A service that returns these statuses in order.
    #[derive(Debug)]
    struct StubService(Mutex<Vec<StatusCode>>);

    #[async_trait]
    impl HttpClient for StubService {
        async fn execute_request(&self, _: &Request) -> Result<AsyncRawResponse> {
            let status = self.0.lock().unwrap().remove(0);
            Ok(AsyncRawResponse::from_bytes(status, Headers::new(), Bytes::new()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rejected_token_is_replaced_once() {
        use StatusCode::{Ok as Fine, Unauthorized};
        let service =
            Arc::new(StubService(Mutex::new(vec![Unauthorized, Fine, Unauthorized, Fine, Unauthorized, Unauthorized])));
        let identity = Identity { credential: Credential::Emulator, ..Identity::default() };
        let client: Arc<dyn HttpClient> = Arc::clone(&service) as _;
        let pipeline = Connection::with_client(client, &identity).pipeline(STORAGE_SCOPE);
        let ask = async || {
            let mut request = Request::new("https://127.0.0.1/account".parse().unwrap(), Method::Put);
            let answer = pipeline.send(&Context::new(), &mut request, None).await;
            (
                answer.map_or_else(|error| error.http_status().unwrap(), |answer| answer.status()),
                service.0.lock().unwrap().len(),
            )
        };
        assert_eq!(ask().await, (Unauthorized, 5), "the token was fetched just now");
        assert_eq!(ask().await, (Fine, 4));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(ask().await, (Fine, 2), "sent again with another token");
        assert_eq!(ask().await, (Unauthorized, 1), "which is a fresh one");
    }

    /// Is busy at each request, and asks for this wait in seconds.
    #[derive(Debug)]
    struct BusyService(u64, std::sync::atomic::AtomicUsize);

    #[async_trait]
    impl HttpClient for BusyService {
        async fn execute_request(&self, _: &Request) -> Result<AsyncRawResponse> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut headers = Headers::new();
            headers.insert("retry-after", self.0.to_string());
            Ok(AsyncRawResponse::from_bytes(StatusCode::TooManyRequests, headers, Bytes::new()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn read_waits_in_place_for_short_time_only() {
        for (wait, sent, seconds) in [(5, 3, 10), (6, 1, 0), (600, 1, 0)] {
            let service = Arc::new(BusyService(wait, Default::default()));
            let client: Arc<dyn HttpClient> = Arc::clone(&service) as _;
            let identity = Identity { credential: Credential::Emulator, ..Identity::default() };
            let pipeline = Connection::with_client(client, &identity).pipeline(STORAGE_SCOPE);
            let mut request = Request::new("https://127.0.0.1/account".parse().unwrap(), Method::Get);
            let begun = tokio::time::Instant::now();
            let _ = pipeline.send(&Context::new(), &mut request, None).await;
            let requests = service.1.load(std::sync::atomic::Ordering::Relaxed);
            assert_eq!((requests, begun.elapsed().as_secs()), (sent, seconds), "asked to wait {wait} s");
        }
    }

    #[test]
    fn subscriptions_and_accounts_have_separate_tenants() {
        let place = |url: &str| tenant_scope(&Url::parse(url).unwrap());
        let manager = "https://management.azure.com";
        let one = place(&format!("{manager}/subscriptions/A1/resourceGroups/x"));
        assert_eq!(one, place(&format!("{manager}/Subscriptions/a1")));
        assert_ne!(one, place(&format!("{manager}/subscriptions/a2")));
        assert_ne!(place("https://127.0.0.1:10000/gold1/c/b"), place("https://127.0.0.1:10000/gold2/c/b"));
        assert_eq!(place("https://gold1.blob.core.windows.net/c/a"), place("https://gold1.blob.core.windows.net/c/b"));
    }

    #[test]
    fn tenant_is_read_from_both_challenge_forms() {
        let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        for challenge in [
            format!(
                "Bearer authorization_uri=https://login.microsoftonline.com/{tenant}/oauth2/authorize resource_id=https://storage.azure.com"
            ),
            format!("Bearer authorization_uri=\"https://login.windows.net/{tenant}\", error=\"invalid_token\""),
        ] {
            let mut headers = Headers::new();
            headers.insert(WWW_AUTHENTICATE, challenge);
            assert_eq!(challenged_tenant(&headers).as_deref(), Some(tenant));
        }
        let mut headers = Headers::new();
        headers.insert(WWW_AUTHENTICATE, "Bearer authorization_uri=https://login.windows.net/common");
        assert_eq!(challenged_tenant(&headers), None, "only a tenant's id is believed");
    }
}
