//! Access of a step to the content of a disk or snapshot. A SAS is valid for an hour and is renewed before it expires.

use std::time::Duration;

use goldfleet_model::resource::ResourceId;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::disk_access::{Access, AccessRequest, DiskSas, MAX_ACCESS, wait_until_granted};
use goldfleet_ports::disk_content::ACCESS_ENDED;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::context::Attempt;

/// The age at which a SAS is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(45 * 60);

/// A SAS, and when it was requested.
#[derive(Clone)]
struct Granted {
    sas: DiskSas,
    since: Timestamp,
}

/// Access to the content of a disk or snapshot.
pub(crate) struct SasAccess<'a> {
    attempt: Attempt<'a>,
    id: &'a ResourceId,
    access: Access,
    granted: Mutex<Granted>,
}

impl<'a> SasAccess<'a> {
    /// Begins the access, or continues that of an earlier attempt.
    pub(crate) async fn begin(attempt: Attempt<'a>, id: &'a ResourceId, access: Access) -> PortResult<Self> {
        let granted = Mutex::new(request(attempt, id, access).await?);
        Ok(Self { attempt, id, access, granted })
    }

    /// A SAS that is valid for a while.
    pub(crate) async fn sas(&self) -> PortResult<DiskSas> {
        let mut granted = self.granted.lock().await;
        let age = elapsed(granted.since, self.attempt.shared.ports.clock.now());
        if age > RENEW_AFTER {
            match request(self.attempt, self.id, self.access).await {
                Ok(renewed) => *granted = renewed,
                // It is not documented whether the service gives a second SAS while one is valid: see `doctor --probe`.
                Err(error) if age < MAX_ACCESS && error.kind != ErrorKind::Fenced => {
                    tracing::debug!(disk = %self.id, %error, "the access was not renewed; the SAS is used to its end");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(granted.sas.clone())
    }

    /// Replaces a SAS that gives no access any more. If several requests were refused, the first one renews the SAS.
    pub(crate) async fn replace(&self, refused: &DiskSas) -> PortResult<DiskSas> {
        let mut granted = self.granted.lock().await;
        if granted.sas.expose() == refused.expose() {
            *granted = request(self.attempt, self.id, self.access).await?;
        }
        Ok(granted.sas.clone())
    }
}

async fn request(attempt: Attempt<'_>, id: &ResourceId, access: Access) -> PortResult<Granted> {
    let (ports, since) = (&attempt.shared.ports, attempt.shared.ports.clock.now());
    if attempt.lease.ensure_held().is_err() {
        return Err(PortError::new(ErrorKind::Fenced, format!("{id}: the step stops")));
    }
    let request = AccessRequest { id: id.clone(), tenant: None, access, duration: MAX_ACCESS };
    let granted = async {
        let status = ports.disk_access.begin(&request).await?;
        wait_until_granted(ports.disk_access.as_ref(), ports.clock.as_ref(), status).await
    };
    let sas = granted.await.map_err(|error| if access == Access::Write { lost(id, error) } else { error })?;
    Ok(Granted { sas, since })
}

/// The error of a request for a disk that does not exist or accepts no bytes any more, because somebody deleted it or
/// ended the access. The next attempt finds out which.
fn lost(id: &ResourceId, error: PortError) -> PortError {
    match error.kind {
        ErrorKind::NotFound | ErrorKind::Invalid => {
            let message = format!("{id}: the disk accepts no more bytes: {error}");
            PortError::new(ErrorKind::Unavailable, message).with_code(ACCESS_ENDED).with_source(error)
        }
        _ => error,
    }
}
