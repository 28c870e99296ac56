//! A disk that is copied: a disk or snapshot, as the service returns it, or a disk of a managed image or gallery
//! version.

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::Region;
use goldfleet_model::resource::{
    CreateOption, CreationData, DiskEncryption, DiskProperties, Properties, ResourceBody, ResourceId, ResourceType,
    VersionRef,
};
use goldfleet_snapshots::graph::RequiresStopped;
use serde_json::{Map, Value, json};

/// A disk that is copied.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The id: that of the disk or snapshot, or of the image or version that has the disk.
    pub id: ResourceId,
    /// The id that no other resource ever has, in lower case. Each disk of an image or version has its own.
    pub unique_id: String,
    /// The role of the disk in the version that it becomes.
    pub role: DiskRole,
    /// How its content is reached.
    pub content: Content,
    /// The machine that must not run while the disk is snapshotted.
    pub machine: Option<RequiresStopped>,
    /// What the service returned, or what is known about a disk of an image or version.
    body: ResourceBody,
}

/// How the content of a disk is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// It is a disk or snapshot, which is copied.
    Resource,
    /// A temporary disk is created from this gallery version.
    Version(VersionRef),
    /// A temporary gallery version of the image is created first, and a temporary disk from it.
    Image,
}

/// What is known about a disk of an image or version.
#[derive(Debug, Clone)]
pub struct VersionDisk<'a> {
    /// The id of the image or version, or of the temporary disk for a version that has no id.
    pub id: ResourceId,
    /// What distinguishes the image or version from others.
    pub identity: &'a str,
    /// The role of the disk.
    pub role: DiskRole,
    /// The region in which the temporary disk is created.
    pub region: &'a Region,
    /// The id of the disk encryption set, if a key of the customer encrypts the disk.
    pub encryption_set: Option<&'a str>,
    /// The security type of machines.
    pub security_type: Option<&'a str>,
    /// The purchase plan.
    pub purchase_plan: Option<&'a Value>,
}

impl Source {
    /// A disk or snapshot. None if the resource is neither, or if the service reports no unique id.
    #[must_use]
    pub fn of(id: ResourceId, body: ResourceBody) -> Option<Self> {
        let unique_id = body.properties.disk()?.unique_id.as_ref()?.to_ascii_lowercase();
        Some(Self { id, unique_id, role: DiskRole::Os, content: Content::Resource, machine: None, body })
    }

    /// A disk of a machine, which must not run while the disk is snapshotted. As [`Source::of`].
    #[must_use]
    pub fn of_machine(id: ResourceId, body: ResourceBody, role: DiskRole, machine: RequiresStopped) -> Option<Self> {
        Some(Self { role, machine: Some(machine), ..Self::of(id, body)? })
    }

    /// A disk of an image or version.
    #[must_use]
    pub fn of_version(disk: &VersionDisk<'_>, content: Content) -> Self {
        let VersionDisk { id, identity, role, region, encryption_set, security_type, purchase_plan } = disk;
        let data = CreationData { create_option: CreateOption::FromImage, ..CreationData::copy(id) };
        let mut properties = DiskProperties::new(data);
        properties.encryption = encryption_set.map(|set| DiskEncryption {
            disk_encryption_set_id: Some(set.to_owned()),
            other: Map::from_iter([("type".to_owned(), json!("EncryptionAtRestWithCustomerKey"))]),
        });
        if *role == DiskRole::Os {
            let security = security_type.map(|kind| ("securityProfile", json!({ "securityType": kind })));
            let plan = purchase_plan.map(|plan| ("purchasePlan", plan.clone()));
            let known = security.into_iter().chain(plan);
            properties.other.extend(known.map(|(name, value)| (name.to_owned(), value)));
        }
        let body = ResourceBody::new((*region).clone(), Properties::Disk(properties));
        let unique_id = match role {
            DiskRole::Os => identity.to_ascii_lowercase(),
            role => format!("{}-{role}", identity.to_ascii_lowercase()),
        };
        Self { id: id.clone(), unique_id, role: *role, content, machine: None, body }
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.body.region
    }

    /// Whether a snapshot is copied that is created for the job: its content may change, or it is a disk of an image or
    /// version.
    #[must_use]
    pub fn is_disk(&self) -> bool {
        self.id.resource_type == ResourceType::Disk || self.content != Content::Resource
    }

    /// Whether it is a disk that something can write to, so that a second snapshot of it could have other content.
    #[must_use]
    pub fn can_change(&self) -> bool {
        self.is_disk() && self.content == Content::Resource
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
