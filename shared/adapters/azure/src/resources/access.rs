//! Access to disks and snapshots: beginGetAccess and endGetAccess.

use async_trait::async_trait;
use azure_core::http::Method;
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_ports::disk_access::{AccessRequest, AccessStatus, DiskAccess, DiskSas};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{ChangeStatus, Pending};
use serde_json::{Value, json};

use super::AzureResources;
use super::change::{Change, Goal};
use super::versions::api_version;
use crate::arm::{ArmResponse, OperationStatus};

#[async_trait]
impl DiskAccess for AzureResources {
    async fn begin(&self, request: &AccessRequest) -> PortResult<AccessStatus> {
        let AccessRequest { id, tenant, access, .. } = request;
        let body = json!({ "access": access.as_str(), "durationInSeconds": request.seconds()? });
        let tenant = tenant.as_deref();
        let reply = self.post(id, "beginGetAccess", Some(&body), tenant).await?;
        let progress = self.arm.initial_status(&reply, &id.to_string());
        access_status(Change::new(id, tenant, Goal::Exists), progress)
    }

    async fn poll_begin(&self, pending: &Pending) -> PortResult<AccessStatus> {
        let (poll, change) = Change::parse(pending)?;
        let what = pending.id.to_string();
        match self.arm.poll(&poll, change.tenant.as_deref(), &what).await? {
            Some(progress) => access_status(change, progress),
            // The resource does not show its SAS, so the operation is the only place to read it from.
            None => {
                let message = format!(
                    "{what}: the result of beginGetAccess cannot be read; the identity needs \
                     Microsoft.Compute/locations/DiskOperations/read on the subscription"
                );
                Err(PortError::new(ErrorKind::Denied, message).with_code("operation-status-denied"))
            }
        }
    }

    async fn end(&self, id: &ResourceId, tenant: Option<&str>) -> PortResult<ChangeStatus> {
        let reply = self.post(id, "endGetAccess", None, tenant).await?;
        let progress = self.arm.initial_status(&reply, &id.to_string());
        Change::new(id, tenant, Goal::AccessEnded).status(progress)
    }

    async fn poll_end(&self, pending: &Pending) -> PortResult<ChangeStatus> {
        self.poll_change(pending).await
    }
}

impl AzureResources {
    async fn post(
        &self,
        id: &ResourceId,
        action: &str,
        body: Option<&Value>,
        tenant: Option<&str>,
    ) -> PortResult<ArmResponse> {
        if !matches!(id.resource_type, ResourceType::Disk | ResourceType::Snapshot) {
            let message = format!("{id} is not a disk or snapshot: there is access to these only");
            return Err(PortError::new(ErrorKind::Invalid, message).with_code("access-not-supported"));
        }
        let (what, path) = (id.to_string(), format!("{id}/{action}"));
        self.arm.call(Method::Post, &path, api_version(id.resource_type), body, tenant).await?.check_status(&what)
    }
}

fn access_status(change: Change, progress: OperationStatus) -> PortResult<AccessStatus> {
    Ok(match progress {
        OperationStatus::Failed(error) => AccessStatus::Failed(error),
        OperationStatus::InProgress(poll, retry_after) => AccessStatus::Pending(change.pending(poll, retry_after)?),
        OperationStatus::Done(body) => match sas(&body) {
            Some(sas) => AccessStatus::Granted(sas),
            None => {
                let error = PortError::new(ErrorKind::Unavailable, "the result of beginGetAccess has no URL");
                AccessStatus::Failed(error.with_code("access-url-missing"))
            }
        },
    })
}

/// The SAS in the result of an operation, or in its status. Source: azure-sdk-for-python, `test_grant_access.yaml`.
fn sas(body: &Value) -> Option<DiskSas> {
    let places = ["/accessSAS", "/properties/output/accessSAS"];
    let url = places.into_iter().find_map(|place| body.pointer(place))?;
    Some(DiskSas::new(url.as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sas_is_read_from_recorded_results() {
        let url = "https://md-1.blob.core.windows.net/a/abcd?sv=2018-03-28&sr=b&si=1&sig=s";
        let status = json!({ "status": "Succeeded", "properties": { "output": { "accessSAS": url } } });
        for body in [json!({ "accessSAS": url }), status] {
            assert_eq!(sas(&body).unwrap().expose(), url);
        }
        assert!(sas(&json!({ "status": "Succeeded" })).is_none());
    }
}
