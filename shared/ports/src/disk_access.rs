//! Access to the content of managed disks and snapshots by a SAS.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::resource::ResourceId;

use super::clock::Clock;
use super::disk_content::DiskContent;
use super::error::{ErrorKind, PortError, PortResult};
use super::resources::{ChangeStatus, Pending};
use super::retry::retry_transient;

/// The longest validity of a SAS, although the platform permits more: a SAS that leaks is usable for at most this time.
pub const MAX_ACCESS: Duration = Duration::from_secs(60 * 60);

/// What a SAS permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing, to a disk that was created for an upload. When the access ends, the disk is complete.
    Write,
}

impl Access {
    /// The value in Resource Manager. Source: Microsoft.Compute, DiskRP, `AccessLevel`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
        }
    }
}

/// A request for access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    /// The disk or snapshot.
    pub id: ResourceId,
    /// The tenant to authenticate against, if it differs from the credential's tenant.
    pub tenant: Option<String>,
    /// What the SAS permits.
    pub access: Access,
    /// The validity of the SAS, in whole seconds up to [`MAX_ACCESS`].
    pub duration: Duration,
}

impl AccessRequest {
    /// The validity in seconds.
    ///
    /// # Errors
    /// `Invalid` if it is less than a second or more than [`MAX_ACCESS`].
    pub fn seconds(&self) -> PortResult<u64> {
        match self.duration.as_secs() {
            seconds @ 1.. if self.duration <= MAX_ACCESS => Ok(seconds),
            _ => {
                let (id, given, longest) = (&self.id, self.duration, MAX_ACCESS);
                let message = format!("{id}: access for {given:?} is not possible: use 1 s to {longest:?}");
                Err(PortError::new(ErrorKind::Invalid, message).with_code("access-duration-invalid"))
            }
        }
    }
}

/// A URL with a signature that gives access to a disk or snapshot. It is kept in memory only.
#[derive(Clone)]
pub struct DiskSas(String);

impl DiskSas {
    /// Wraps a URL with its signature.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self(url)
    }

    /// The URL with its signature. It must not be stored or shown.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DiskSas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskSas(…)")
    }
}

/// The state of a request for access.
#[derive(Debug)]
pub enum AccessStatus {
    /// Access is possible.
    Granted(DiskSas),
    /// It is in progress: poll it later.
    Pending(Pending),
    /// It failed, for this reason.
    Failed(PortError),
}

/// Access to the content of managed disks and snapshots. [`DiskContent`] reads it.
#[async_trait]
pub trait DiskAccess: DiskContent {
    /// Starts to give access. If the resource already has access of this kind, the URL may be the same.
    ///
    /// # Errors
    /// `NotFound` if the resource does not exist; `Conflict` if its content is not complete; `Invalid` for an access
    /// that it does not have; or if the service refuses or cannot be reached.
    async fn begin(&self, request: &AccessRequest) -> PortResult<AccessStatus>;

    /// Polls a request for access.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached. If the request itself failed, the result is
    /// [`AccessStatus::Failed`].
    async fn poll_begin(&self, pending: &Pending) -> PortResult<AccessStatus>;

    /// Starts to end all access. An uploaded disk is complete afterwards. The result is `Done` if there is no access.
    ///
    /// # Errors
    /// `NotFound` if the resource does not exist, or if the service refuses or cannot be reached.
    async fn end(&self, id: &ResourceId, tenant: Option<&str>) -> PortResult<ChangeStatus>;

    /// Polls the end of access.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn poll_end(&self, pending: &Pending) -> PortResult<ChangeStatus>;
}

/// Waits until access is given. Each poll is retried while its error is transient.
///
/// # Errors
/// If the service does not give access, or if the request cannot be polled.
pub async fn wait_until_granted(
    access: &dyn DiskAccess,
    clock: &dyn Clock,
    mut status: AccessStatus,
) -> PortResult<DiskSas> {
    loop {
        status = match status {
            AccessStatus::Granted(sas) => return Ok(sas),
            AccessStatus::Failed(error) => return Err(error),
            AccessStatus::Pending(pending) => {
                clock.sleep(pending.retry_after).await;
                retry_transient(clock, PortError::is_retryable, || access.poll_begin(&pending)).await?
            }
        };
    }
}

/// Waits until access has ended. Each poll is retried while its error is transient.
///
/// # Errors
/// If the service refuses to end the access, or if the request cannot be polled.
pub async fn wait_until_ended(access: &dyn DiskAccess, clock: &dyn Clock, mut status: ChangeStatus) -> PortResult<()> {
    loop {
        status = match status {
            ChangeStatus::Done => return Ok(()),
            ChangeStatus::Failed(error) => return Err(error),
            ChangeStatus::Pending(pending) => {
                clock.sleep(pending.retry_after).await;
                retry_transient(clock, PortError::is_retryable, || access.poll_end(&pending)).await?
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_not_shown() {
        let sas = DiskSas::new("https://md-1.blob.example/abcd?sv=1&sig=secret".to_owned());
        let shown = format!("{sas:?} {:?}", AccessStatus::Granted(sas.clone()));
        assert!(!shown.contains("secret") && !shown.contains("md-1"), "{shown}");
        assert!(sas.expose().ends_with("sig=secret"));
    }

    #[test]
    fn access_lasts_at_most_an_hour() {
        let id: ResourceId = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/\
                              Microsoft.Compute/disks/d"
            .parse()
            .unwrap();
        let seconds = |millis| {
            let request = AccessRequest {
                id: id.clone(),
                tenant: None,
                access: Access::Read,
                duration: Duration::from_millis(millis),
            };
            request.seconds().map_err(|error| error.code)
        };
        assert_eq!((seconds(1_000), seconds(3_600_000)), (Ok(1), Ok(3600)));
        for millis in [0, 999, 3_600_001] {
            assert_eq!(seconds(millis), Err("access-duration-invalid".to_owned()), "{millis}");
        }
    }
}
