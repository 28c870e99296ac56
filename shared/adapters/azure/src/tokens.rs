//! Access tokens: one cache a process, by tenant and scope, renewed before they end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use azure_core::Result;
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core::http::Transport;
use azure_core::time::{Duration, OffsetDateTime};
use goldfleet_azure_settings::Identity;
use tokio::time::Instant;

use super::credential;

/// How long before its end a token is renewed. Source: what the Azure libraries do.
const RENEW_BEFORE: Duration = Duration::minutes(5);

/// What a token is for: the tenant, where it is not the credential's own, and the scope.
type Key = (Option<String>, String);

/// A token that is there, or that one task is fetching while others wait.
type Slot = Arc<tokio::sync::Mutex<Option<CachedToken>>>;

/// A token that was refused at this age is refused for another reason than its age: a new one would be no better, and a
/// thousand requests that each fetched one would bring the token endpoint down.
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

    /// A token for `scope`, of `tenant` where it is given.
    ///
    /// # Errors
    /// Where the credential is not to be had. A token that still holds is used when its renewal fails.
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

    /// Says that the service refused a token. Returns whether [`TokenCache::get`] now gives one that may do better.
    pub(super) async fn mark_rejected(&self, tenant: Option<&str>, scope: &str, refused: &AccessToken) -> bool {
        let slot = self.slot(tenant, scope);
        let mut slot = slot.lock().await;
        match slot.as_ref() {
            Some(held) if held.token.token.secret() == refused.token.secret() => {
                if held.since.elapsed() < MIN_RENEWAL_AGE {
                    return false;
                }
                *slot = None;
                // A credential keeps tokens too, and would give out the same one until its end.
                let mut credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
                credentials.remove(&tenant.map(str::to_owned));
                true
            }
            // Another request met the same refusal, and was first.
            _ => true,
        }
    }

    fn slot(&self, tenant: Option<&str>, scope: &str) -> Slot {
        let key = (tenant.map(str::to_owned), scope.to_owned());
        // Nothing panics while it holds these locks but by a bug; then the maps are still whole.
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
