//! Access tokens: one cache per process, by tenant and scope. Tokens are renewed before they expire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use azure_core::Result;
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core::http::Transport;
use azure_core::time::{Duration, OffsetDateTime};
use goldfleet_azure_settings::Identity;
use tokio::time::Instant;

use super::credential;

/// How long before its expiry a token is renewed. Source: the Azure libraries use the same time.
const RENEW_BEFORE: Duration = Duration::minutes(5);

/// The tenant (None for the tenant of the credential) and the scope of a token.
type Key = (Option<String>, String);

/// A token. One task fetches it while the others wait for the lock.
type Slot = Arc<tokio::sync::Mutex<Option<CachedToken>>>;

/// The minimum age of a rejected token for a renewal. The reason for rejecting a younger token is not its age, so a new
/// token would be rejected too, and a thousand requests that each fetch one would overload the token endpoint.
const MIN_RENEWAL_AGE: std::time::Duration = std::time::Duration::from_secs(60);

struct CachedToken {
    token: AccessToken,
    since: Instant,
}

/// The tokens of a process.
pub(super) struct TokenCache {
    identity: Identity,
    transport: Transport,
    credentials: Mutex<HashMap<Option<String>, Arc<dyn TokenCredential>>>,
    slots: Mutex<HashMap<Key, Slot>>,
}

impl TokenCache {
    pub(super) fn new(identity: Identity, transport: Transport) -> Self {
        Self { identity, transport, credentials: Mutex::default(), slots: Mutex::default() }
    }

    /// Returns a token for `scope`, of `tenant` if it is given.
    ///
    /// # Errors
    /// Returns an error if the credential provides no token. If a renewal fails, a token that is still valid is
    /// returned.
    pub(super) async fn get(&self, tenant: Option<&str>, scope: &str) -> Result<AccessToken> {
        let slot = self.slot(tenant, scope);
        let mut slot = slot.lock().await;
        let now = OffsetDateTime::now_utc();
        let held = slot.as_ref().map(|held| &held.token).filter(|token| token.expires_on > now);
        if let Some(token) = held.filter(|token| token.expires_on > now + RENEW_BEFORE) {
            return Ok(token.clone());
        }
        match self.credential(tenant)?.get_token(&[scope], None).await {
            Ok(token) => {
                *slot = Some(CachedToken { token: token.clone(), since: Instant::now() });
                Ok(token)
            }
            Err(error) => held.cloned().ok_or(error),
        }
    }

    /// Records that the service rejected a token. Returns whether [`TokenCache::get`] now returns a new one.
    pub(super) async fn mark_rejected(&self, tenant: Option<&str>, scope: &str, refused: &AccessToken) -> bool {
        let slot = self.slot(tenant, scope);
        let mut slot = slot.lock().await;
        match slot.as_ref() {
            Some(held) if held.token.token.secret() == refused.token.secret() => {
                if held.since.elapsed() < MIN_RENEWAL_AGE {
                    return false;
                }
                *slot = None;
                // A credential also caches tokens and would return the same token until it expires.
                let mut credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
                credentials.remove(&tenant.map(str::to_owned));
                true
            }
            // Another request with the same token was rejected earlier and removed it.
            _ => true,
        }
    }

    fn slot(&self, tenant: Option<&str>, scope: &str) -> Slot {
        let key = (tenant.map(str::to_owned), scope.to_owned());
        // Only a bug can cause a panic while these locks are held. Even then the maps are consistent.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(key).or_default())
    }

    fn credential(&self, tenant: Option<&str>) -> Result<Arc<dyn TokenCredential>> {
        let key = tenant.map(str::to_owned);
        let mut credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credential) = credentials.get(&key) {
            return Ok(Arc::clone(credential));
        }
        let credential = credential::build(&self.identity, &self.transport, tenant)?;
        credentials.insert(key, Arc::clone(&credential));
        Ok(credential)
    }
}
