//! The disk or snapshot that is copied, as the service returns it.

use goldfleet_model::ids::Region;
use goldfleet_model::resource::{DiskProperties, Properties, ResourceBody, ResourceId, ResourceType};
use serde_json::Value;

/// The disk or snapshot that is copied.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The id.
    pub id: ResourceId,
    /// The id that no other resource ever has, in lower case.
    pub unique_id: String,
    /// What the service returned.
    body: ResourceBody,
}

impl Source {
    /// A disk or snapshot. None if the resource is neither, or if the service reports no unique id.
    #[must_use]
    pub fn of(id: ResourceId, body: ResourceBody) -> Option<Self> {
        let unique_id = body.properties.disk()?.unique_id.as_ref()?.to_ascii_lowercase();
        Some(Self { id, unique_id, body })
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.body.region
    }

    /// Whether it is a disk. Its content may change, so a snapshot of it is copied.
    #[must_use]
    pub fn is_disk(&self) -> bool {
        self.id.resource_type == ResourceType::Disk
    }

    /// Whether it is an incremental snapshot. Only these are copied between regions.
    #[must_use]
    pub fn is_incremental(&self) -> bool {
        matches!(&self.body.properties, Properties::Snapshot(snapshot) if snapshot.incremental == Some(true))
    }

    /// The number of bytes, if the service reports it.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.properties()?.size()
    }

    /// A property that the model does not name.
    #[must_use]
    pub fn other(&self, name: &str) -> Option<&Value> {
        self.properties()?.other(name)
    }

    /// The security type, such as `TrustedLaunch`. None for standard security.
    #[must_use]
    pub fn security_type(&self) -> Option<&str> {
        self.other("securityProfile")?.get("securityType")?.as_str().filter(|kind| *kind != "Standard")
    }

    /// The id of the disk encryption set.
    #[must_use]
    pub fn encryption_set(&self) -> Option<&str> {
        self.properties()?.encryption_set()
    }

    /// The type of encryption, if it is by a key of the customer.
    #[must_use]
    pub fn customer_encryption(&self) -> Option<&str> {
        let encryption = self.properties()?.encryption.as_ref()?;
        let kind = encryption.other.get("type").and_then(Value::as_str).filter(|kind| kind.contains("CustomerKey"));
        kind.or(encryption.disk_encryption_set_id.as_ref().map(|_| "EncryptionAtRestWithCustomerKey"))
    }

    fn properties(&self) -> Option<&DiskProperties> {
        self.body.properties.disk()
    }
}
