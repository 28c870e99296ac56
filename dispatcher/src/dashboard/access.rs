//! Who may see the page, and who may act: the address it listens at, the name it is asked by, and a token.
//!
//! At a loopback address everybody on this machine may look, and only who has the token may act. At any other address
//! everything needs the token: to look, as a password that browsers ask for; to act, always in a header of its own that
//! no other site's page can send.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::ApiError;

/// The least letters of a token.
const TOKEN_LENGTH: usize = 16;

/// What a wrong token costs.
const PENALTY: Duration = Duration::from_millis(300);

/// What every answer says besides: nothing but the page's own files is loaded, and no other page may embed it.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Others can reach the address.
    #[error(
        "{0} can be reached from elsewhere, so everything needs a token: give --token-file FILE, or listen at 127.0.0.1"
    )]
    NeedsToken(SocketAddr),
    /// The file with the token can't be read.
    #[error("the token file {} can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the file holds is no token.
    #[error(
        "the token file {} must hold one line of at least {TOKEN_LENGTH} letters and digits: \
         'openssl rand -hex 32' makes one", .0.display()
    )]
    Weak(PathBuf),
}

/// Who may see the page, and who may act.
#[derive(Clone)]
pub struct AccessGuard {
    address: SocketAddr,
    /// The names besides its address that the server is asked by.
    names: Arc<[String]>,
    /// The token's hash: comparing hashes takes the same time wherever they differ.
    token: Option<blake3::Hash>,
}

impl AccessGuard {
    /// The guard of a server at this address.
    ///
    /// # Errors
    /// [`AccessError`] where others can reach the address and there is no token, or the token can't be used.
    pub fn new(address: SocketAddr, names: &[String], token_file: Option<&Path>) -> Result<Self, AccessError> {
        let token = token_file.map(read_token).transpose()?;
        if token.is_none() && !address.ip().is_loopback() {
            return Err(AccessError::NeedsToken(address));
        }
        let names = names.iter().map(|name| name.to_lowercase()).chain(["localhost".to_owned()]).collect();
        Ok(Self { address, names, token })
    }

    /// Whether acting is possible at all.
    #[must_use]
    pub fn allows_acting(&self) -> bool {
        self.token.is_some()
    }

    fn is_token(&self, given: &str) -> bool {
        self.token.is_some_and(|token| blake3::hash(given.as_bytes()) == token)
    }

    /// Whether the server is asked by a name of its own. A page of another site that has its name resolve to this
    /// machine is found out here: a browser says that site's name.
    fn is_our_name(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
        let name = host_name(host).to_lowercase();
        match name.parse::<IpAddr>() {
            Ok(ip) if self.address.ip().is_loopback() => ip.is_loopback(),
            // Behind an address there is no name to rebind.
            Ok(_) => true,
            Err(_) => self.names.contains(&name),
        }
    }

    /// Whether a request that acts comes from the page itself, or from no page at all.
    fn is_our_page(headers: &HeaderMap) -> bool {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(origin) = text(header::ORIGIN) else { return true };
        let asked = origin.split_once("://").map_or(origin, |(_, rest)| rest);
        text(header::HOST) == Some(asked)
    }

    async fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        if !self.is_our_name(headers) {
            let hint = "use the address itself, or start the dashboard with --host NAME";
            return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "this server is not known by that name", hint));
        }
        let looks = matches!(*method, Method::GET | Method::HEAD);
        let given = if looks { bearer(headers).or_else(|| password(headers)) } else { bearer(headers) };
        if looks && self.address.ip().is_loopback() {
            return Ok(());
        }
        if !looks && !self.allows_acting() {
            let hint = "start it with --token-file FILE to retry and cancel from here, or use the command line";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "this dashboard only shows", hint));
        }
        if !looks && !Self::is_our_page(headers) {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "another site's page may not do that", ""));
        }
        if given.is_some_and(|given| self.is_token(&given)) {
            return Ok(());
        }
        tokio::time::sleep(PENALTY).await;
        let hint = "the token is in the file that the dashboard was started with";
        let refusal = ApiError::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong", hint);
        // A browser asks for the password only where it is to look: to act, the page asks.
        Err(if looks { refusal.with_challenge() } else { refusal })
    }
}

/// The name in a Host header, without port and brackets.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (given, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    authorization(headers, "bearer").map(str::to_owned)
}

/// The password that a browser sends, whatever the user's name.
fn password(headers: &HeaderMap) -> Option<String> {
    let pair = String::from_utf8(STANDARD.decode(authorization(headers, "basic")?).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

fn read_token(path: &Path) -> Result<blake3::Hash, AccessError> {
    let text = fs::read_to_string(path).map_err(|source| AccessError::Unreadable { path: path.to_owned(), source })?;
    let token = text.trim();
    if token.len() < TOKEN_LENGTH || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AccessError::Weak(path.to_owned()));
    }
    Ok(blake3::hash(token.as_bytes()))
}

/// Lets through what the guard lets through, and adds the headers that keep a browser from doing more than it should.
pub async fn enforce_access(State(guard): State<AccessGuard>, request: Request, next: Next) -> Response {
    let mut response = match guard.check(request.method(), request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
