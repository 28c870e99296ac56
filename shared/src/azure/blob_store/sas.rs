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

use super::super::error::port_error;
use crate::model::store::Container;
use crate::ports::error::PortResult;

/// How long a SAS holds.
const LIFETIME: Duration = Duration::minutes(55);

/// What clocks may differ: a SAS holds from so long before now, and with it for an hour in all.
const SKEW: Duration = Duration::minutes(5);

/// A SAS is renewed when it holds for no longer than this. No request takes as long.
const EARLY: Duration = Duration::minutes(15);

/// A SAS and its end. It is a secret: there is no way to print it but [`Sas::token`].
struct Sas {
    token: Arc<str>,
    expires: OffsetDateTime,
}

impl Sas {
    /// Whether it holds for as long from `now` as any request takes.
    fn is_good(&self, now: OffsetDateTime) -> bool {
        self.expires > now + EARLY
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
}

impl SasTokens {
    /// A token that lets its holder read `container` for at least [`EARLY`] from now; `service` is asked for a key where
    /// there is none.
    pub(super) async fn read(&self, container: &Container, service: &BlobServiceClient) -> PortResult<Arc<str>> {
        let slot = self.slot(container);
        let mut slot = slot.lock().await;
        // A SAS knows whole seconds only, and its key must be for the very same times.
        let now = OffsetDateTime::now_utc();
        let now = now.replace_nanosecond(0).unwrap_or(now);
        if let Some(sas) = slot.as_ref().filter(|sas| sas.is_good(now)) {
            return Ok(Arc::clone(&sas.token));
        }
        let sas = make(container, service, now).await?;
        let token = Arc::clone(&sas.token);
        *slot = Some(sas);
        Ok(token)
    }

    /// Forgets a token that the service refused: its key may have been revoked.
    pub(super) async fn forget(&self, container: &Container) {
        *self.slot(container).lock().await = None;
    }

    fn slot(&self, container: &Container) -> Slot {
        // Nothing panics while it holds the lock but by a bug; then the map is still whole.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(container.clone()).or_default())
    }
}

async fn make(container: &Container, service: &BlobServiceClient, now: OffsetDateTime) -> PortResult<Sas> {
    let failed = |error: azure_core::Error| port_error(format!("user delegation key of {}", container.account), &error);
    let (start, expires) = (now - SKEW, now + LIFETIME);
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
    Ok(Sas { token: token.into(), expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sas_is_renewed_while_it_still_holds() {
        let made = OffsetDateTime::UNIX_EPOCH;
        let sas = Sas { token: "secret".into(), expires: made + LIFETIME };
        assert!(sas.is_good(made) && sas.is_good(made + Duration::minutes(39)));
        assert!(!sas.is_good(made + Duration::minutes(40)), "a quarter of an hour before its end");
        assert!(!format!("{sas:?}").contains("secret"));
    }
}
