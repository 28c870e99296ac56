//! Managed images in Resource Manager.

use std::time::Duration;

use async_trait::async_trait;
use azure_core::http::Method;
use goldfleet_azure_settings::AzureCloud;
use goldfleet_model::image::{ManagedImageId, ManagedImageSpec, VhdNames};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::image_plane::{ChangeStatus, ImageService, ManagedImage, Pending, Provisioning};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::arm::{OperationStatus, PollTarget, ResourceManager};

/// The version of the images API. Source: Microsoft.Compute, ComputeRP 2025-04-01.
const API: &str = "2025-04-01";

/// The poll interval of a resource if the resource itself is the only way to observe a change.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Managed images in the subscriptions that the identity of the process can access.
pub struct AzureImages {
    arm: ResourceManager,
    cloud: AzureCloud,
}

/// How many reads of a resource may return the state before a change while the change has not been observed. At the
/// poll interval, this is half a minute. Azure documents no limit. Resource Manager answers from caches and may return
/// the old state after it accepted a change.
const MAX_STALE_READS: u8 = 6;

/// The information that is needed to poll a pending change.
#[derive(Serialize, Deserialize)]
struct PollToken {
    poll: PollTarget,
    change: Change,
}

/// A requested change and its known state.
#[derive(Serialize, Deserialize)]
struct Change {
    tenant: Option<String>,
    removal: bool,
    /// How many more reads may return the state before the change.
    #[serde(rename = "doubts")]
    stale_reads: u8,
}

impl Change {
    fn new(tenant: Option<&str>, removal: bool) -> Self {
        Self { tenant: tenant.map(str::to_owned), removal, stale_reads: MAX_STALE_READS }
    }
}

impl AzureImages {
    /// Opens the images behind `arm`. Their VHDs are at the endpoints of `cloud`.
    #[must_use]
    pub fn new(arm: ResourceManager, cloud: &AzureCloud) -> Self {
        Self { arm, cloud: cloud.clone() }
    }

    fn body(&self, spec: &ManagedImageSpec) -> Value {
        let account = self.cloud.blobs_of(&spec.vhd.container.account);
        let blob = format!("{}/{}/{}", account.trim_end_matches('/'), spec.vhd.container.container, spec.vhd.name);
        let mut disk = json!({
            "osType": match spec.os { OsType::Linux => "Linux", OsType::Windows => "Windows" },
            "osState": "Generalized",
            "blobUri": blob,
            "caching": "ReadWrite",
            "storageAccountType": spec.storage_type.as_str(),
        });
        if let Some(id) = &spec.disk_encryption_set {
            disk["diskEncryptionSet"] = json!({ "id": id });
        }
        json!({
            "location": spec.region,
            "tags": spec.tags,
            "properties": {
                "hyperVGeneration": match spec.generation { Generation::V1 => "V1", Generation::V2 => "V2" },
                "storageProfile": { "osDisk": disk },
            },
        })
    }

    fn underway(id: &ManagedImageId, progress: OperationStatus, change: Change) -> PortResult<ChangeStatus> {
        Ok(match progress {
            OperationStatus::Done => ChangeStatus::Done,
            OperationStatus::Failed(error) => ChangeStatus::Failed(error),
            OperationStatus::InProgress(poll, retry_after) => {
                let poll = serde_json::to_string(&PollToken { poll, change })
                    .map_err(|_| PortError::new(ErrorKind::Invalid, format!("{id}: its address can't be kept")))?;
                ChangeStatus::Pending(Pending { id: id.clone(), poll, retry_after })
            }
        })
    }

    /// The status of a change according to the resource itself. A final state that differs from the requested one may
    /// be the state before the change. It counts only after the change was observed in progress, or after several
    /// reads.
    async fn status_of_resource(&self, id: &ManagedImageId, change: &mut Change) -> PortResult<OperationStatus> {
        let again = OperationStatus::InProgress(PollTarget::Resource, POLL_INTERVAL);
        let shown = self.get(id, change.tenant.as_deref()).await?.map(|image| image.provisioning);
        let (kind, code, why) = match (shown, change.removal) {
            (None, true) | (Some(Provisioning::Succeeded), false) => return Ok(OperationStatus::Done),
            (Some(Provisioning::InProgress), _) => {
                change.stale_reads = 0;
                return Ok(again);
            }
            _ if change.stale_reads > 0 => {
                change.stale_reads -= 1;
                return Ok(again);
            }
            (None, false) => (ErrorKind::Unavailable, "image-vanished", "the image vanished while it was being made"),
            (Some(Provisioning::Failed), _) => {
                (ErrorKind::Unavailable, "image-failed", "the platform says that it failed, and not why")
            }
            (Some(Provisioning::Succeeded), true) => {
                (ErrorKind::Conflict, "image-not-removed", "the image is still there after its removal")
            }
        };
        Ok(OperationStatus::Failed(PortError::new(kind, format!("{id}: {why}")).with_code(code)))
    }
}

#[async_trait]
impl ImageService for AzureImages {
    fn vhd_names(&self) -> VhdNames {
        VhdNames::Flat
    }

    async fn get(&self, id: &ManagedImageId, tenant: Option<&str>) -> PortResult<Option<ManagedImage>> {
        let Some(resource) = self.arm.get(&id.to_string(), API, tenant).await? else { return Ok(None) };
        let region = resource.get("location").and_then(Value::as_str).unwrap_or_default();
        // Some responses contain the display name of the region.
        let region = region.to_ascii_lowercase().replace(' ', "").parse().map_err(|error| {
            PortError::new(ErrorKind::Unavailable, format!("{id}: its location can't be read: {error}"))
        })?;
        let state = resource.pointer("/properties/provisioningState").and_then(Value::as_str);
        let provisioning = match state {
            None | Some("Succeeded") => Provisioning::Succeeded,
            Some("Failed" | "Canceled") => Provisioning::Failed,
            Some(_) => Provisioning::InProgress,
        };
        let tags = resource.get("tags").cloned().and_then(|tags| serde_json::from_value(tags).ok()).unwrap_or_default();
        Ok(Some(ManagedImage { id: id.clone(), region, provisioning, tags }))
    }

    async fn put(&self, spec: &ManagedImageSpec) -> PortResult<ChangeStatus> {
        let (path, tenant) = (spec.id.to_string(), spec.tenant.as_deref());
        let reply =
            self.arm.call(Method::Put, &path, API, Some(&self.body(spec)), tenant).await?.check_status(&path)?;
        Self::underway(&spec.id, self.arm.initial_status(&reply, &path), Change::new(tenant, false))
    }

    async fn delete(&self, id: &ManagedImageId, tenant: Option<&str>) -> PortResult<ChangeStatus> {
        let path = id.to_string();
        let reply = self.arm.call(Method::Delete, &path, API, None, tenant).await?;
        if reply.status == 404 || reply.status == 204 {
            return Ok(ChangeStatus::Done);
        }
        let reply = reply.check_status(&path)?;
        Self::underway(id, self.arm.initial_status(&reply, &path), Change::new(tenant, true))
    }

    async fn poll(&self, pending: &Pending) -> PortResult<ChangeStatus> {
        let PollToken { poll, mut change } = serde_json::from_str(&pending.poll)
            .map_err(|_| PortError::new(ErrorKind::Invalid, format!("{}: its address is not ours", pending.id)))?;
        let what = pending.id.to_string();
        let progress = match self.arm.poll(&poll, change.tenant.as_deref(), &what).await? {
            Some(progress) => progress,
            None => self.status_of_resource(&pending.id, &mut change).await?,
        };
        Self::underway(&pending.id, progress, change)
    }
}
