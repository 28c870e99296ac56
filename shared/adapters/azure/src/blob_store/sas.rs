//! The right to read a container, for the service that copies from it: a SAS by user delegation key.
//!
//! One container, reading only, https only, at most an hour, in memory only.

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

/// What clocks may differ: a SAS holds from so long before now, and with it for an hour in all.
const CLOCK_SKEW: Duration = Duration::minutes(5);

/// How long a SAS holds, and when it is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SasTimes {
    /// How long it holds.
    pub lifetime: Duration,
    /// It is made anew when it holds for no longer than this. No request takes as long.
    pub renew_before: Duration,
    /// One that was made so short a time ago is not made anew though it is refused: another would be refused too.
    pub min_renewal_age: Duration,
}

impl Default for SasTimes {
    /// 55 minutes, the last quarter of an hour of which is not used. No more than one a minute is made for a container that
    /// refuses them all, as its firewall is closed.
    fn default() -> Self {
        Self {
            lifetime: Duration::minutes(55),
            renew_before: Duration::minutes(15),
            min_renewal_age: Duration::minutes(1),
        }
    }
}

/// A SAS and its end. It is a secret: there is no way to print it but [`Sas::token`].
struct Sas {
    token: Arc<str>,
    made: OffsetDateTime,
    expires: OffsetDateTime,
}

impl Sas {
    /// Whether it holds for as long from `now` as any request takes.
    fn is_valid_at(&self, times: SasTimes, now: OffsetDateTime) -> bool {
        self.expires > now + times.renew_before
    }
}

impl fmt::Debug for Sas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sas").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// A SAS that is there, or that one task is fetching while others wait.
type Slot = Arc<tokio::sync::Mutex<Option<Sas>>>;

/// The SAS tokens of a process, by container.
#[derive(Debug, Default)]
pub(super) struct SasTokens {
    slots: Mutex<HashMap<Container, Slot>>,
    times: SasTimes,
}

impl SasTokens {
    /// No tokens yet.
    pub(super) fn new(times: SasTimes) -> Self {
        Self { slots: Mutex::default(), times }
    }

    /// A token that lets its holder read `container` for at least [`SasTimes::renew_before`] from now; `service` is asked for a key
    /// where there is none.
    pub(super) async fn read_token(&self, container: &Container, service: &BlobServiceClient) -> PortResult<Arc<str>> {
        let slot = self.slot(container);
        let mut slot = slot.lock().await;
        if let Some(sas) = slot.as_ref().filter(|sas| sas.is_valid_at(self.times, OffsetDateTime::now_utc())) {
            return Ok(Arc::clone(&sas.token));
        }
        self.fill(&mut slot, container, service).await
    }

    /// A token in place of one that the service refused: its key may have been revoked. None where it was made just now.
    /// All that were refused with the same one get the same new one.
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
        // Nothing panics while it holds the lock but by a bug; then the map is still whole.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(container.clone()).or_default())
    }
}

async fn make(container: &Container, service: &BlobServiceClient, lifetime: Duration) -> PortResult<Sas> {
    // A SAS knows whole seconds only, and its key must be for the very same times.
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
