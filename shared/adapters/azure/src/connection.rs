//! What all Azure clients of a process share: one HTTP client, one token cache, and the same policies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use azure_core::http::policies::Policy;
use azure_core::http::{ClientOptions, HttpClient, Pipeline, RetryOptions, Transport};
use goldfleet_azure_settings::{Credential, Identity};
use goldfleet_model::tenants::Tenants;
use goldfleet_ports::timeout::TimeoutPolicy;

use super::policies::{AddHeaders, BearerAuth, RetryReads};
use super::principal::principal;
use super::timeout::TimeoutClient;
use super::tokens::TokenCache;

/// The scope of tokens for storage. It is the same in all clouds. Source: Azure Storage, authorization with Microsoft
/// Entra ID.
pub(super) const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";

/// The timeout of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long sent bytes may remain unacknowledged before a connection counts as dead. A saturated path can take seconds
/// to acknowledge. The HTTP client's default of 30 s would be enough, except for proxies that stop reading for a while.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(60);

/// The reason why a connection cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The extra root certificate cannot be read.
    #[error("ca_certificate {path:?} cannot be read: {source}")]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file of the extra root certificate contains no certificate.
    #[error("ca_certificate {0:?} is no certificate in PEM form")]
    NoCertificate(PathBuf),
    /// The HTTP client cannot be created.
    #[error("the HTTP client cannot be made: {0}")]
    Client(reqwest::Error),
}

/// The connection to Azure that all adapters of a process share.
#[derive(Clone)]
pub struct Connection {
    transport: Transport,
    tokens: Arc<TokenCache>,
    identity: Identity,
    tenants: Arc<Tenants>,
}

impl Connection {
    /// Opens a connection for `identity`, with these timeouts of requests.
    ///
    /// # Errors
    /// Returns an error if the extra root certificate is not usable.
    pub fn open(identity: &Identity, timeouts: TimeoutPolicy) -> Result<Self, ConnectionError> {
        let client = TimeoutClient::new(client(identity.ca_certificate.as_deref())?, timeouts);
        Ok(Self::with_client(Arc::new(client), identity))
    }

    /// Creates a connection that sends its requests through `client`, for example to count or to drop requests.
    #[must_use]
    pub fn with_client(client: Arc<dyn HttpClient>, identity: &Identity) -> Self {
        let transport = Transport::new(client);
        let tokens = Arc::new(TokenCache::new(identity.clone(), transport.clone()));
        Self { transport, tokens, identity: identity.clone(), tenants: Arc::default() }
    }

    /// The connection, with the tenants of subscriptions. Each request for a resource in such a subscription carries a
    /// token of its tenant.
    #[must_use]
    pub fn with_tenants(mut self, tenants: &Tenants) -> Self {
        self.tenants = Arc::new(tenants.clone());
        self
    }

    /// The identity of the process.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Options for a client with tokens for `scope`. The client itself has no credential.
    pub(super) fn options(&self, scope: &str) -> ClientOptions {
        let bearer: Arc<dyn Policy> =
            Arc::new(BearerAuth::new(Arc::clone(&self.tokens), scope.to_owned(), Arc::clone(&self.tenants)));
        ClientOptions {
            per_call_policies: vec![Arc::new(AddHeaders), Arc::new(RetryReads)],
            per_try_policies: vec![bearer],
            retry: RetryOptions::none(),
            transport: Some(self.transport.clone()),
            ..ClientOptions::default()
        }
    }

    /// Options for a client whose URL contains a signature. Its requests carry no token.
    pub(super) fn signed_options(&self) -> ClientOptions {
        ClientOptions {
            per_call_policies: vec![Arc::new(AddHeaders), Arc::new(RetryReads)],
            retry: RetryOptions::none(),
            transport: Some(self.transport.clone()),
            ..ClientOptions::default()
        }
    }

    /// A pipeline with tokens for `scope`.
    pub(super) fn pipeline(&self, scope: &str) -> Pipeline {
        let (name, version) = (option_env!("CARGO_PKG_NAME"), option_env!("CARGO_PKG_VERSION"));
        Pipeline::new(name, version, self.options(scope), Vec::new(), Vec::new(), None)
    }

    /// The name of the principal in a token for storage. The token is cached for later requests. Returns None if there
    /// is no token, if the token contains no name, and for an emulator.
    pub async fn principal(&self) -> Option<String> {
        if self.identity.credential == Credential::Emulator {
            return None;
        }
        principal(&self.tokens.get(None, STORAGE_SCOPE).await.ok()?)
    }

    /// Checks that a token for `scope` can be obtained.
    pub(super) async fn check_token(&self, scope: &str) -> azure_core::Result<()> {
        self.tokens.get(None, scope).await.map(drop)
    }
}

/// Creates an HTTP client that trusts the system's root certificates and, if given, one more. [`TimeoutClient`] limits
/// the duration of requests.
///
/// # Errors
/// Returns an error if the extra root certificate is not usable.
pub(super) fn client(ca_certificate: Option<&Path>) -> Result<reqwest::Client, ConnectionError> {
    // This fails only if the process already has a provider, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder =
        reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(reqwest::redirect::Policy::none());
    #[cfg(target_os = "linux")]
    {
        builder = builder.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    if let Some(path) = ca_certificate {
        let pem = fs::read(path).map_err(|source| ConnectionError::Unreadable { path: path.to_owned(), source })?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|roots| !roots.is_empty())
            .ok_or_else(|| ConnectionError::NoCertificate(path.to_owned()))?;
        builder = builder.tls_certs_merge(roots);
    }
    builder.build().map_err(ConnectionError::Client)
}
