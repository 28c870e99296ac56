//! The resources that the probe creates. Each has the tags of a temporary of this fleet, so `cleanup --orphans` finds
//! the resources of a killed probe.

use std::time::Duration;

use goldfleet_machines::request::Place;
use goldfleet_model::ids::JobId;
use goldfleet_model::resource::{DiskState, Properties, ResourceBody, ResourceId, ResourceType};
use goldfleet_ports::disk_access::{Access, AccessRequest, DiskSas, wait_until_granted};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::linked_put::LinkedPut;
use goldfleet_ports::resources::{ChangeStatus, PutMode, PutRequest, Resource, wait_until_done};
use goldfleet_ports::retry::retry_transient;
use goldfleet_snapshots::remove::{Decision, TemporarySpec};
use goldfleet_snapshots::{names, tags};
use serde_json::Value;
use uuid::Uuid;

use crate::control::context::ControlContext;
use crate::control::upload::from::temporary::end_access;

/// The time between two polls or attempts.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// The number of polls of content that arrives: half an hour.
pub(super) const POLLS: usize = 180;

/// The number of attempts to delete a resource.
const ATTEMPTS: usize = 30;

/// The value of the tag that names the source of other temporaries.
const SOURCE: &str = "probe";

/// The temporaries of one probe.
pub(super) struct Temporaries<'a> {
    pub(super) control: &'a ControlContext,
    pub(super) fleet: Uuid,
    pub(super) job: JobId,
    /// The resources that may exist, in the order of creation.
    made: Vec<ResourceId>,
    /// A resource whose request has no response yet. It may appear after the next read.
    pending: Option<ResourceId>,
}

impl<'a> Temporaries<'a> {
    pub(super) fn new(control: &'a ControlContext, fleet: Uuid, job: JobId) -> Self {
        Self { control, fleet, job, made: Vec::new(), pending: None }
    }

    /// The id of a temporary.
    pub(super) fn id(&self, place: &Place, resource_type: ResourceType, part: &str) -> PortResult<ResourceId> {
        let Place { subscription, region, resource_group } = place;
        let name = names::of_temporary(self.fleet, &self.job, SOURCE, &place.group(), region, part);
        let id =
            format!("/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/{resource_type}/{name}");
        id.parse().map_err(|error| PortError::new(ErrorKind::Invalid, format!("{id}: {error}")))
    }

    /// Creates a resource, and waits until the change ends.
    pub(super) async fn create(&mut self, id: &ResourceId, body: Value) -> PortResult<Resource> {
        let request = self.announce(id, body)?;
        let ports = &self.control.ports;
        let put = || ports.resources.put(&request);
        let begun = retry_transient(ports.clock.as_ref(), PortError::is_retryable, put).await;
        self.created(id, begun).await
    }

    /// The same for a resource with a source in another tenant, that of the credential.
    pub(super) async fn create_linked(
        &mut self,
        linked: &dyn LinkedPut,
        id: &ResourceId,
        body: Value,
    ) -> PortResult<Resource> {
        let request = self.announce(id, body)?;
        let put = || linked.put_linked(&request, None);
        let begun = retry_transient(self.control.ports.clock.as_ref(), PortError::is_retryable, put).await;
        self.created(id, begun).await
    }

    /// Records that a resource may exist from now on. Returns the request for it.
    fn announce(&mut self, id: &ResourceId, body: Value) -> PortResult<PutRequest> {
        let body = ResourceBody::from_json(id.resource_type, body)
            .map_err(|error| PortError::new(ErrorKind::Invalid, format!("{id}: {error}")))?;
        let body = body.with_tags(tags::of_temporary(self.fleet, &self.job, SOURCE));
        // Before the request, because a request whose response is lost may have taken effect.
        self.made.push(id.clone());
        self.pending = Some(id.clone());
        Ok(PutRequest { id: id.clone(), tenant: None, mode: PutMode::Create, body })
    }

    /// Waits for the end of a change that creates a resource.
    async fn created(&mut self, id: &ResourceId, begun: PortResult<ChangeStatus>) -> PortResult<Resource> {
        let ports = &self.control.ports;
        let ended = match begun {
            Ok(change) => wait_until_done(ports.resources.as_ref(), ports.clock.as_ref(), change).await,
            // An earlier attempt took effect.
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        self.pending = None;
        ended?;
        self.existing(id).await
    }

    /// Reads a resource that exists.
    pub(super) async fn existing(&self, id: &ResourceId) -> PortResult<Resource> {
        let missing = || PortError::new(ErrorKind::Unavailable, format!("{id} was created, and does not exist"));
        self.read(id).await?.ok_or_else(missing)
    }

    async fn read(&self, id: &ResourceId) -> PortResult<Option<Resource>> {
        let ports = &self.control.ports;
        retry_transient(ports.clock.as_ref(), PortError::is_retryable, || ports.resources.get(id, None)).await
    }

    /// Waits until the content of a snapshot has arrived.
    pub(super) async fn arrived(&self, id: &ResourceId) -> PortResult<()> {
        for _ in 0..POLLS {
            let found = self.existing(id).await?;
            let Properties::Snapshot(snapshot) = &found.body.properties else { return Ok(()) };
            if let Some(error) = &snapshot.copy_completion_error {
                let message = format!("{id}: {}: {}", error.error_code, error.error_message);
                return Err(PortError::new(ErrorKind::Invalid, message).with_code("copy-failed"));
            }
            if snapshot.is_complete() {
                return Ok(());
            }
            self.control.ports.clock.sleep(PAUSE).await;
        }
        Err(PortError::new(ErrorKind::Unavailable, format!("{id}: its content did not arrive in half an hour")))
    }

    /// Gives access for this time.
    pub(super) async fn begin(&self, id: &ResourceId, access: Access, duration: Duration) -> PortResult<DiskSas> {
        let ports = &self.control.ports;
        let clock = ports.clock.as_ref();
        let request = AccessRequest { id: id.clone(), tenant: None, access, duration };
        let begin = || ports.disk_access.begin(&request);
        let status = retry_transient(clock, PortError::is_retryable, begin).await?;
        wait_until_granted(ports.disk_access.as_ref(), clock, status).await
    }

    /// Ends all access.
    pub(super) async fn end(&self, id: &ResourceId) -> PortResult<()> {
        end_access(&self.control.ports, id).await
    }

    /// Deletes one of the temporaries. The service may need some attempts: a resource can be busy.
    pub(super) async fn remove(&mut self, id: &ResourceId) -> PortResult<()> {
        self.try_remove(id).await?;
        self.made.retain(|made| made != id);
        Ok(())
    }

    /// Deletes all temporaries, the newest first. Returns the ids of those that may remain, with the reason.
    pub(super) async fn remove_all(&mut self) -> Vec<(ResourceId, PortError)> {
        let mut left = Vec::new();
        while let Some(id) = self.made.pop() {
            // The service may create it after the next read.
            if self.pending.as_ref() == Some(&id) {
                self.control.ports.clock.sleep(PAUSE).await;
            }
            let mut attempts = 0;
            let removed = loop {
                match self.try_remove(&id).await {
                    Err(error) if attempts < ATTEMPTS && is_passing(&error) => {
                        attempts += 1;
                        self.control.ports.clock.sleep(PAUSE).await;
                    }
                    removed => break removed,
                }
            };
            left.extend(removed.err().map(|error| (id, error)));
        }
        left
    }

    async fn try_remove(&self, id: &ResourceId) -> PortResult<()> {
        let ports = &self.control.ports;
        let found = match self.read(id).await {
            // Without its group, it does not exist.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let Some(found) = found else { return Ok(()) };
        let locks = ports.locks.locks(id, None).await?;
        let spec = TemporarySpec { fleet: self.fleet, id: id.to_string(), job: self.job.clone() };
        match spec.decide(Some(&found.body.tags), &locks) {
            Decision::Delete => {}
            Decision::Refuse { code, message } => {
                return Err(PortError::new(ErrorKind::Invalid, format!("{id}: {message}")).with_code(code));
            }
            Decision::Done | Decision::LiftLock(_) | Decision::Keep(_) => return Ok(()),
        }
        let state = found.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
        if matches!(state, Some(DiskState::ActiveSas | DiskState::ActiveUpload)) {
            self.end(id).await?;
        }
        let change = ports.resources.delete(id, None).await?;
        wait_until_done(ports.resources.as_ref(), ports.clock.as_ref(), change).await
    }
}

/// Whether a deletion may succeed later.
fn is_passing(error: &PortError) -> bool {
    error.is_retryable() || error.kind == ErrorKind::Conflict || error.code == "operation-not-allowed"
}
