//! Access control of the dashboard: the address that it listens on, the host names that requests may use, and a token.
//!
//! On a loopback address, everybody on this machine may read, and only requests with the token may change jobs. On any
//! other address, every request needs the token: for reading, as a password that browsers ask for; for changes, always
//! in a separate header that pages of other sites cannot send.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
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

/// The minimum length of a token in characters.
const TOKEN_LENGTH: usize = 16;

/// The permission of users other than the owner and the group. A group may read the file: containers get secrets so.
const READABLE_BY_OTHERS: u32 = 0o004;

/// The delay of the response to a wrong token.
const PENALTY: Duration = Duration::from_millis(300);

/// Headers of every response. Only the dashboard's own files may be loaded, and no other page may embed it.
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

/// Why the guard cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The address can be reached from other machines, and there is no token.
    #[error(
        "{0} can be reached from elsewhere, so everything needs a token: give --token-file FILE, or listen at 127.0.0.1"
    )]
    NeedsToken(SocketAddr),
    /// The token file cannot be read.
    #[error("the token file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Other users of this machine can read the file.
    #[error("everybody on this machine can read the token file {}: chmod 600 it", .0.display())]
    Exposed(PathBuf),
    /// The content of the file is not a valid token.
    #[error(
        "the token file {} must hold one line of at least {TOKEN_LENGTH} letters and digits: \
         'openssl rand -hex 32' makes one", .0.display()
    )]
    Weak(PathBuf),
}

/// Decides who may read the page, and who may change jobs.
#[derive(Clone)]
pub struct AccessGuard {
    address: SocketAddr,
    /// The host names that requests may use in addition to the address.
    names: Arc<[String]>,
    /// The hash of the token. Comparing hashes does not reveal at which position two tokens differ.
    token: Option<blake3::Hash>,
    /// Held during the delay of a response to a wrong token, so that many requests at once cannot guess faster.
    penalty: Arc<tokio::sync::Mutex<()>>,
}

impl AccessGuard {
    /// The guard of a server at this address.
    ///
    /// # Errors
    /// [`AccessError`] if other machines can reach the address and there is no token, or if the token is not valid.
    pub fn new(address: SocketAddr, names: &[String], token_file: Option<&Path>) -> Result<Self, AccessError> {
        let token = token_file.map(read_token).transpose()?;
        if token.is_none() && !address.ip().is_loopback() {
            return Err(AccessError::NeedsToken(address));
        }
        let names = names.iter().map(|name| name.to_lowercase()).chain(["localhost".to_owned()]).collect();
        Ok(Self { address, names, token, penalty: Arc::default() })
    }

    /// Whether the dashboard allows changes at all.
    #[must_use]
    pub fn allows_acting(&self) -> bool {
        self.token.is_some()
    }

    fn is_token(&self, given: &str) -> bool {
        self.token.is_some_and(|token| blake3::hash(given.as_bytes()) == token)
    }

    /// Whether the request uses a host name of this server. This detects DNS rebinding: if a page of another site
    /// resolves its name to this machine, the browser sends that site's name.
    fn is_our_name(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
        let name = host_name(host).to_lowercase();
        match name.parse::<IpAddr>() {
            Ok(ip) if self.address.ip().is_loopback() => ip.is_loopback(),
            // A request by address cannot be DNS rebinding.
            Ok(_) => true,
            Err(_) => self.names.contains(&name),
        }
    }

    /// Whether a request that changes something comes from the dashboard's own page, or not from a page.
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
        let was_given = given.is_some();
        if given.is_some_and(|given| self.is_token(&given)) {
            return Ok(());
        }
        if was_given {
            let _one_at_a_time = self.penalty.lock().await;
            tracing::warn!("a request with a wrong token was refused");
            tokio::time::sleep(PENALTY).await;
        }
        let hint = "the token is in the file that the dashboard was started with";
        let refusal = ApiError::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong", hint);
        // Browsers ask for the password only for reading. For changes, the page asks for the token.
        Err(if looks { refusal.with_challenge() } else { refusal })
    }
}

/// The host name in a Host header, without port and brackets.
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

/// The password that a browser sends. The user name is ignored.
fn password(headers: &HeaderMap) -> Option<String> {
    let pair = String::from_utf8(STANDARD.decode(authorization(headers, "basic")?).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

fn read_token(path: &Path) -> Result<blake3::Hash, AccessError> {
    let unreadable = |source| AccessError::Unreadable { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    if fs::metadata(path).map_err(unreadable)?.permissions().mode() & READABLE_BY_OTHERS != 0 {
        return Err(AccessError::Exposed(path.to_owned()));
    }
    let token = text.trim();
    if token.len() < TOKEN_LENGTH || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AccessError::Weak(path.to_owned()));
    }
    Ok(blake3::hash(token.as_bytes()))
}

/// Passes on the requests that the guard allows, and adds the security headers.
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
