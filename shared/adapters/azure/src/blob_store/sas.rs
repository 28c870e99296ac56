//! User delegation SAS tokens with which a service reads the source of a copy.
//!
//! A token covers one container, allows only reading over https, lives for at most an hour, and is kept only in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use azure_core::http::RequestContent;
use azure_core::time::{Duration, OffsetDateTime};
use azure_storage_blob::BlobServiceClient;
use azure_storage_blob::models::KeyInfo;
use azure_storage_sas::{SasBuilder, SasProtocol};
use goldfleet_model::store::Container;
use goldfleet_ports::error::PortResult;

use crate::error::port_error;

/// The tolerated difference between clocks. A SAS starts this long before now. Its total lifetime with it is one hour.
const CLOCK_SKEW: Duration = Duration::minutes(5);

/// The lifetime of a SAS and the times of its renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SasTimes {
    /// The time from now until the SAS expires.
    pub lifetime: Duration,
    /// A SAS is renewed when its remaining lifetime is this long or shorter. No request takes longer than this.
    pub renew_before: Duration,
    /// A SAS that is younger than this is not renewed when it is rejected, because a new one would be rejected too.
    pub min_renewal_age: Duration,
}

impl Default for SasTimes {
    /// 55 minutes, of which the last quarter of an hour is not used. At most one SAS a minute is created for a
    /// container that rejects all of them, for example because of its firewall.
    fn default() -> Self {
        Self {
            lifetime: Duration::minutes(55),
            renew_before: Duration::minutes(15),
            min_renewal_age: Duration::minutes(1),
        }
    }
}

/// A SAS with its expiry. It is a secret: only [`Sas::token`] returns it.
struct Sas {
    token: Arc<str>,
    made: OffsetDateTime,
    expires: OffsetDateTime,
}

impl Sas {
    /// Whether the SAS outlives any request that starts at `now`.
    fn is_valid_at(&self, times: SasTimes, now: OffsetDateTime) -> bool {
        self.expires > now + times.renew_before
    }
}

impl fmt::Debug for Sas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sas").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// A SAS. One task fetches it while the others wait for the lock.
type Slot = Arc<tokio::sync::Mutex<Option<Sas>>>;

/// The SAS tokens of a process, by container.
#[derive(Debug, Default)]
pub(super) struct SasTokens {
    slots: Mutex<HashMap<Container, Slot>>,
    times: SasTimes,
}

impl SasTokens {
    /// Creates an empty cache.
    pub(super) fn new(times: SasTimes) -> Self {
        Self { slots: Mutex::default(), times }
    }

    /// Returns a token that can read `container` for at least [`SasTimes::renew_before`] from now. Requests a key from
    /// `service` if the cache has no such token.
    pub(super) async fn read_token(&self, container: &Container, service: &BlobServiceClient) -> PortResult<Arc<str>> {
        let slot = self.slot(container);
        let mut slot = slot.lock().await;
        if let Some(sas) = slot.as_ref().filter(|sas| sas.is_valid_at(self.times, OffsetDateTime::now_utc())) {
            return Ok(Arc::clone(&sas.token));
        }
        self.fill(&mut slot, container, service).await
    }

    /// Replaces a token that the service rejected, for example because its key was revoked. Returns None if the token
    /// was created recently. All callers with the same rejected token get the same new one.
    pub(super) async fn replace_rejected(
        &self,
        refused: &str,
        container: &Container,
        service: &BlobServiceClient,
    ) -> PortResult<Option<Arc<str>>> {
        let slot = self.slot(container);
        let mut slot = slot.lock().await;
        match slot.as_ref() {
            Some(sas) if *sas.token != *refused => return Ok(Some(Arc::clone(&sas.token))),
            Some(sas) if OffsetDateTime::now_utc() < sas.made + self.times.min_renewal_age => return Ok(None),
            _ => {}
        }
        tracing::info!(%container, "a SAS was refused before its end, and is made anew");
        self.fill(&mut slot, container, service).await.map(Some)
    }

    async fn fill(
        &self,
        slot: &mut Option<Sas>,
        container: &Container,
        service: &BlobServiceClient,
    ) -> PortResult<Arc<str>> {
        let sas = make(container, service, self.times.lifetime).await?;
        let token = Arc::clone(&sas.token);
        *slot = Some(sas);
        Ok(token)
    }

    fn slot(&self, container: &Container) -> Slot {
        // Only a bug can cause a panic while the lock is held. Even then the map is consistent.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(container.clone()).or_default())
    }
}

async fn make(container: &Container, service: &BlobServiceClient, lifetime: Duration) -> PortResult<Sas> {
    // A SAS has a resolution of one second, and its key must have exactly the same times.
    let made = OffsetDateTime::now_utc();
    let now = made.replace_nanosecond(0).unwrap_or(made);
    let failed = |error: azure_core::Error| port_error(format!("user delegation key of {}", container.account), &error);
    let (start, expires) = (now - CLOCK_SKEW, now + lifetime);
    let info = KeyInfo { start: Some(start), expiry: Some(expires), ..KeyInfo::default() };
    let info = RequestContent::try_from(info).map_err(failed)?;
    let key = service.get_user_delegation_key(info, None).await.map_err(failed)?.into_model().map_err(failed)?;
    let token = SasBuilder::new(container.account.as_str(), &key, expires)
        .map_err(failed)?
        .container(container.container.as_str())
        .read()
        .start(start)
        .protocol(SasProtocol::Https)
        .build();
    Ok(Sas { token: token.into(), made, expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sas_is_renewed_before_expiry() {
        let made = OffsetDateTime::UNIX_EPOCH;
        let times = SasTimes::default();
        let sas = Sas { token: "secret".into(), made, expires: made + times.lifetime };
        assert!(sas.is_valid_at(times, made) && sas.is_valid_at(times, made + Duration::minutes(39)));
        assert!(!sas.is_valid_at(times, made + Duration::minutes(40)), "a quarter of an hour before its end");
        assert!(!format!("{sas:?}").contains("secret"));
    }
}
