//! What happens to every request on its way: who asks, what the SDK's clients leave out, and another try for reads.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{AUTHORIZATION, HeaderName, Headers, WWW_AUTHENTICATE};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Method, Request, Url};
use azure_core::{Error, Result};
use rand::Rng as _;
use uuid::Uuid;

use super::error::retry_after;
use super::tokens::Tokens;

/// In a request's context: the tenant whose token it takes.
#[derive(Debug, Clone)]
pub(super) struct Tenant(pub(super) String);

/// In a request's context: headers that the service takes and the SDK's client has no option for.
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

/// Authorises requests with bearer tokens.
///
/// An account may belong to another tenant than the credential. The service then refuses the first request and names its
/// tenant; that is remembered for the account, and the request sent again with that tenant's token. The token's audience
/// never changes, so that nothing is given away to whoever names a tenant.
pub(super) struct Bearer {
    tokens: Arc<Tokens>,
    scope: String,
    tenants: RwLock<HashMap<String, String>>,
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Bearer {
    pub(super) fn new(tokens: Arc<Tokens>, scope: String) -> Self {
        Self { tokens, scope, tenants: RwLock::default() }
    }

    fn known_tenant(&self, place: &str) -> Option<String> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(place).cloned()
    }

    fn learn_tenant(&self, place: String, tenant: String) {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).insert(place, tenant);
    }

    async fn authorise(&self, request: &mut Request, tenant: Option<&str>) -> Result<()> {
        let token = self.tokens.get(tenant, &self.scope).await?;
        request.insert_header(AUTHORIZATION, format!("Bearer {}", token.token.secret()));
        Ok(())
    }
}

#[async_trait]
impl Policy for Bearer {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if request.url().scheme() != "https" {
            let message = "a token is sent over https only";
            return Err(Error::with_message(ErrorKind::Credential, message));
        }
        let place = place(request.url());
        let tenant = ctx.value::<Tenant>().map(|tenant| tenant.0.clone()).or_else(|| self.known_tenant(&place));
        self.authorise(request, tenant.as_deref()).await?;
        let response = next[0].send(ctx, request, &next[1..]).await?;
        if u16::from(response.status()) != 401 {
            return Ok(response);
        }
        self.tokens.forget(tenant.as_deref(), &self.scope).await;
        match challenged_tenant(response.headers()) {
            Some(named) if tenant.as_deref() != Some(&named) => {
                self.authorise(request, Some(&named)).await?;
                self.learn_tenant(place, named);
                request.body_mut().reset().await?;
                next[0].send(ctx, request, &next[1..]).await
            }
            _ => Ok(response),
        }
    }
}

/// What belongs to one tenant: a host and the first segment of the path, which is the account in an emulator.
fn place(url: &Url) -> String {
    let first = url.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default();
    format!("{}/{first}", url.authority())
}

/// The tenant that an answer of 401 asks a token of. Source: the Bearer challenge of Azure Storage and Resource Manager,
/// `authorization_uri=https://login.microsoftonline.com/TENANT/…`.
fn challenged_tenant(headers: &Headers) -> Option<String> {
    let challenge = headers.get_optional_str(&WWW_AUTHENTICATE)?;
    let (_, rest) = challenge.split_once("authorization_uri=")?;
    let uri = rest.trim_start_matches('"').split(['"', ' ', ',']).next()?;
    let uri = Url::parse(uri).ok()?;
    let tenant = uri.path_segments()?.next()?.parse::<Uuid>().ok()?;
    Some(tenant.to_string())
}

/// Sends reads again that failed for a reason that may pass. Writes are not: whether one landed is known above only.
#[derive(Debug)]
pub(super) struct RetryReads;

/// How often a read is sent.
const TRIES: u32 = 3;

/// The wait before the second try, without jitter; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait that a read is given here when a service asks for one; longer ones are for the caller to decide.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[async_trait]
impl Policy for RetryReads {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if !matches!(request.method(), Method::Get | Method::Head) || takes_from_a_queue(request) {
            return next[0].send(ctx, request, &next[1..]).await;
        }
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            let asked = match next[0].send(ctx, request, &next[1..]).await {
                Ok(response) if !is_transient(response.status().into()) => return Ok(response),
                Ok(response) => retry_after(response.headers()),
                Err(error) if is_transport(&error) => None,
                Err(error) => return Err(error),
            };
            let jittered = wait.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::time::sleep(asked.unwrap_or(jittered).min(LONGEST_WAIT)).await;
            wait *= 2;
        }
        next[0].send(ctx, request, &next[1..]).await
    }
}

/// Receiving is a GET that changes something: messages whose answer was lost stay hidden for their visibility timeout.
fn takes_from_a_queue(request: &Request) -> bool {
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
    use super::*;

    #[test]
    fn the_tenant_is_read_from_both_kinds_of_challenge() {
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
