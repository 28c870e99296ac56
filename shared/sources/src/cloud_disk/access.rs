//! Access to the content of a disk or snapshot for as long as it is read.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::resource::ResourceId;
use goldfleet_ports::clock::{Clock, elapsed};
use goldfleet_ports::disk_access::{
    Access, AccessRequest, DiskAccess, DiskSas, MAX_ACCESS, wait_until_ended, wait_until_granted,
};
use goldfleet_ports::disk_content::{ACCESS_ENDED, ContentLayout, access_ended};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::retry::retry_transient;
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::remote::RemoteContent;

/// The age at which a SAS is replaced. It lasts an hour, and no request takes a quarter of an hour.
const RENEW_AFTER: Duration = Duration::from_secs(45 * 60);

/// How often one read gets a new SAS because the service refused the old one, for example because another program ended
/// all access.
const MAX_RENEWALS: usize = 3;

/// Access to the content of a disk or snapshot. The SAS stays in this value. [`ContentAccess::end`] must be called.
pub struct ContentAccess {
    disks: Arc<dyn DiskAccess>,
    clock: Arc<dyn Clock>,
    id: ResourceId,
    state: Mutex<State>,
}

enum State {
    /// There was no request yet.
    New,
    /// A request was sent. The service may have given access.
    Requested,
    /// A SAS, and when it was requested.
    Open(DiskSas, Timestamp),
    /// It ended. There is no further request.
    Ended,
}

impl fmt::Debug for ContentAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentAccess").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ContentAccess {
    /// Access to this resource. It is requested when it is needed.
    #[must_use]
    pub fn new(disks: Arc<dyn DiskAccess>, clock: Arc<dyn Clock>, id: ResourceId) -> Self {
        Self { disks, clock, id, state: Mutex::new(State::New) }
    }

    /// The length of the content, and where it has data.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    pub async fn layout(&self) -> PortResult<ContentLayout> {
        self.with_sas(|sas| async move { self.disks.layout(&sas).await }).await
    }

    /// The ranges in which the content may differ from that of an earlier snapshot of the same disk.
    ///
    /// # Errors
    /// As [`DiskContent::changes_since`](goldfleet_ports::disk_content::DiskContent::changes_since).
    pub async fn changes_since(&self, earlier: &Self) -> PortResult<Vec<Range<u64>>> {
        let before = &earlier.sas(None).await?;
        self.with_sas(|sas| async move { self.disks.changes_since(&sas, before).await }).await
    }

    /// Ends the access. Requests that are in progress fail.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached. The last SAS then expires within an hour.
    pub async fn end(&self) -> PortResult<()> {
        let mut state = self.state.lock().await;
        if matches!(*state, State::New | State::Ended) {
            *state = State::Ended;
            return Ok(());
        }
        let ended = retry_transient(self.clock.as_ref(), PortError::is_retryable, || self.end_once()).await;
        *state = State::Ended;
        match ended {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            ended => ended,
        }
    }

    async fn end_once(&self) -> PortResult<()> {
        let status = self.disks.end(&self.id, None).await?;
        wait_until_ended(self.disks.as_ref(), self.clock.as_ref(), status).await
    }

    /// Sends a request with a SAS. If the service refuses the SAS, the request is sent again with a new one.
    async fn with_sas<T, F>(&self, request: impl Fn(DiskSas) -> F) -> PortResult<T>
    where
        F: Future<Output = PortResult<T>>,
    {
        let mut sas = self.sas(None).await?;
        for _ in 0..MAX_RENEWALS {
            match self.retried(|| request(sas.clone())).await {
                Err(error) if error.code == ACCESS_ENDED => sas = self.sas(Some(&sas)).await?,
                ended => return ended.map_err(|error| self.named(error)),
            }
        }
        self.retried(|| request(sas.clone())).await.map_err(|error| self.named(error))
    }

    async fn retried<T, F>(&self, request: impl FnMut() -> F) -> PortResult<T>
    where
        F: Future<Output = PortResult<T>>,
    {
        retry_transient(self.clock.as_ref(), PortError::is_retryable, request).await
    }

    /// The present SAS, or a new one if it is old or was refused. One caller requests it while the others wait.
    async fn sas(&self, refused: Option<&DiskSas>) -> PortResult<DiskSas> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Ended => return Err(self.named(access_ended())),
            State::Open(sas, since)
                if elapsed(*since, self.clock.now()) < RENEW_AFTER
                    && refused.is_none_or(|refused| refused.expose() != sas.expose()) =>
            {
                return Ok(sas.clone());
            }
            _ => {}
        }
        // If this call is dropped, the access is ended although its SAS is not known.
        *state = State::Requested;
        let since = self.clock.now();
        let sas = self.retried(|| self.begin_once()).await.map_err(|error| self.named(error))?;
        *state = State::Open(sas.clone(), since);
        Ok(sas)
    }

    async fn begin_once(&self) -> PortResult<DiskSas> {
        let request = AccessRequest { id: self.id.clone(), tenant: None, access: Access::Read, duration: MAX_ACCESS };
        let status = self.disks.begin(&request).await?;
        wait_until_granted(self.disks.as_ref(), self.clock.as_ref(), status).await
    }

    /// Requests that are made with a SAS do not know the resource.
    fn named(&self, error: PortError) -> PortError {
        let id = self.id.to_string();
        if error.message.contains(&id) {
            return error;
        }
        PortError { message: format!("{id}: {}", error.message), ..error }
    }
}

#[async_trait]
impl RemoteContent for ContentAccess {
    async fn read(&self, range: Range<u64>) -> PortResult<Bytes> {
        let range = &range;
        self.with_sas(|sas| async move { self.disks.read(&sas, range.clone()).await }).await
    }
}
