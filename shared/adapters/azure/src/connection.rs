//! What all Azure clients of a process share: one HTTP client, one set of tokens, the same policies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use azure_core::http::policies::Policy;
use azure_core::http::{ClientOptions, HttpClient, Pipeline, RetryOptions, Transport};
use goldfleet_azure_settings::{Credential, Identity};
use goldfleet_ports::timeout::TimeoutPolicy;

use super::policies::{AddHeaders, BearerAuth, RetryReads};
use super::principal::principal;
use super::timeout::TimeoutClient;
use super::tokens::TokenCache;

/// The scope of tokens for storage, the same in all clouds. Source: Azure Storage, authorisation with Microsoft Entra ID.
pub(super) const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long bytes that were sent may go unacknowledged before a connection counts as dead. A way that is slow as it is
/// full takes seconds to acknowledge; the HTTP client's own 30 s would do, but for proxies that stop taking bytes in between.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a connection can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The extra root certificate can't be read.
    #[error("ca_certificate {path:?} can't be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The extra root certificate is none.
    #[error("ca_certificate {0:?} is no certificate in PEM form")]
    NoCertificate(PathBuf),
    /// The HTTP client can't be made.
    #[error("the HTTP client can't be made: {0}")]
    Client(reqwest::Error),
}

/// The way to Azure that all adapters of a process share.
#[derive(Clone)]
pub struct Connection {
    transport: Transport,
    tokens: Arc<TokenCache>,
    identity: Identity,
}

impl Connection {
    /// A connection for `identity`.
    ///
    /// # Errors
    /// Where the extra root certificate is unusable.
    pub fn open(identity: &Identity) -> Result<Self, ConnectionError> {
        let client = TimeoutClient::new(client(identity.ca_certificate.as_deref())?, TimeoutPolicy::default());
        Ok(Self::with_client(Arc::new(client), identity))
    }

    /// A connection that sends its requests through `client`: to count them, or to lose some.
    #[must_use]
    pub fn with_client(client: Arc<dyn HttpClient>, identity: &Identity) -> Self {
        let transport = Transport::new(client);
        let tokens = Arc::new(TokenCache::new(identity.clone(), transport.clone()));
        Self { transport, tokens, identity: identity.clone() }
    }

    /// Who the process is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Options for a client whose tokens are for `scope`. The client gets no credential of its own.
    pub(super) fn options(&self, scope: &str) -> ClientOptions {
        let bearer: Arc<dyn Policy> = Arc::new(BearerAuth::new(Arc::clone(&self.tokens), scope.to_owned()));
        ClientOptions {
            per_call_policies: vec![Arc::new(AddHeaders), Arc::new(RetryReads)],
            per_try_policies: vec![bearer],
            retry: RetryOptions::none(),
            transport: Some(self.transport.clone()),
            ..ClientOptions::default()
        }
    }

    /// A pipeline whose tokens are for `scope`.
    pub(super) fn pipeline(&self, scope: &str) -> Pipeline {
        let (name, version) = (option_env!("CARGO_PKG_NAME"), option_env!("CARGO_PKG_VERSION"));
        Pipeline::new(name, version, self.options(scope), Vec::new(), Vec::new(), None)
    }

    /// Who is signed in, as a token for storage names it. The token is kept for the requests that follow. None where there
    /// is no token, where it does not show a name, and for an emulator.
    pub async fn principal(&self) -> Option<String> {
        if self.identity.credential == Credential::Emulator {
            return None;
        }
        principal(&self.tokens.get(None, STORAGE_SCOPE).await.ok()?)
    }

    /// Whether tokens for `scope` are to be had at all.
    pub(super) async fn check_token(&self, scope: &str) -> azure_core::Result<()> {
        self.tokens.get(None, scope).await.map(drop)
    }
}

/// An HTTP client that trusts the system's roots and, where given, one more. How long a request may take is for
/// [`TimeoutClient`] to say.
///
/// # Errors
/// Where the extra root certificate is unusable.
pub(super) fn client(ca_certificate: Option<&Path>) -> Result<reqwest::Client, ConnectionError> {
    // Fails only where the process already has a provider, which is then good enough.
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
