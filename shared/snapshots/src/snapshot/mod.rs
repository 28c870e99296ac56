//! A snapshot as the service lists it.

mod json;
mod read;

use std::collections::BTreeMap;

use goldfleet_model::ids::Region;
use jiff::Timestamp;
use serde_json::Value;

use crate::id::SnapshotId;

/// Why a snapshot cannot be used. The error names the field in the service's JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The item is not an object.
    #[error("expected a JSON object")]
    NotAnObject,
    /// A field that a decision needs is missing or empty.
    #[error("field {0} is missing, and goldfleet cannot decide without it")]
    Missing(String),
    /// A field has an unexpected form.
    #[error("field {field} is not valid: expected {expected}")]
    Invalid {
        /// The path of the field, such as `properties.timeCreated`.
        field: String,
        /// What the field must be.
        expected: &'static str,
    },
    /// It was listed, and cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It was listed, and has an id that goldfleet cannot express. It may be any snapshot.
    #[error("snapshot {name} of the group: {reason}; rename it with letters, digits, '_', '-' and '.'")]
    Unnamed {
        /// What the service calls it.
        name: String,
        /// Why it has no id.
        reason: String,
    },
    /// The snapshot is not in the resource group that was listed.
    #[error("field id names a snapshot of another resource group than the one that was listed")]
    OtherGroup,
    /// Two pages of one listing contain different snapshots with the same id.
    #[error("the listing contains two snapshots with this id, so it was recreated while the list was read")]
    Recreated,
}

/// How the content of a snapshot is stored and where it came from. It cannot be changed after creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The service's create option, such as `Copy` or `CopyStart`.
    pub create_option: String,
    /// The id of the disk or snapshot that was copied, as the service returned it.
    pub source_id: Option<String>,
    /// The unique id of the disk or snapshot that was copied, in lower case.
    pub source_unique_id: Option<String>,
}

impl Origin {
    /// Whether the content arrives after the resource exists.
    #[must_use]
    pub fn arrives_later(&self) -> bool {
        self.create_option.eq_ignore_ascii_case("CopyStart")
    }
}

/// Who may read the content of a snapshot over the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportPolicy {
    /// `AllowAll`, `AllowPrivate` or `DenyAll`. None means `AllowAll`, the service's default.
    pub network_access: Option<String>,
    /// The id of the disk access resource that private endpoints use.
    pub disk_access_id: Option<String>,
    /// `Enabled` or `Disabled`. None means `Enabled`, the service's default.
    pub public_network_access: Option<String>,
    /// Additional authentication: `AzureActiveDirectory` or `None`.
    pub data_access_auth: Option<String>,
}

/// The encryption at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encryption {
    /// The service's type, such as `EncryptionAtRestWithPlatformKey`. None means that type.
    pub kind: Option<String>,
    /// The id of the disk encryption set.
    pub set: Option<String>,
}

impl Encryption {
    /// Whether a key of the customer encrypts the content.
    #[must_use]
    pub fn has_customer_key(&self) -> bool {
        self.set.is_some() || self.kind.as_deref().is_some_and(|kind| kind.contains("CustomerKey"))
    }
}

/// A part of the service's JSON that is only repeated. It is kept as text, which needs a tenth of the memory of a
/// [`Value`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(Box<str>);

impl JsonText {
    /// Keeps a value.
    #[must_use]
    pub fn new(value: &Value) -> Self {
        Self(value.to_string().into())
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Value {
        // The text was written from a value, so it can be read.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// Properties of the operating system and the machine. A copy keeps them only if its request repeats them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineProperties {
    /// `Windows` or `Linux`. None for a data disk.
    pub os_type: Option<String>,
    /// The Hyper-V generation, `V1` or `V2`.
    pub generation: Option<String>,
    /// The security type, such as `TrustedLaunch`.
    pub security_type: Option<String>,
    /// Whether the operating system supports hibernation.
    pub supports_hibernation: Option<bool>,
    /// The marketplace plan.
    pub purchase_plan: Option<JsonText>,
    /// The capabilities.
    pub capabilities: Option<JsonText>,
}

impl MachineProperties {
    /// The architecture, `x64` or `Arm64`, if the service reports it.
    #[must_use]
    pub fn architecture(&self) -> Option<String> {
        self.capabilities.as_ref()?.value().get("architecture")?.as_str().map(str::to_owned)
    }
}

/// The state in which the service reports a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Provisioning {
    /// The provisioning state, such as `Succeeded`. It does not mean that the content arrived (recorded, azure-cli
    /// `test_completion_percent.yaml`).
    pub state: String,
    /// The part of the content that arrived, 0 to 100.
    pub percent: Option<f64>,
    /// The code and the message of a failed copy.
    pub copy_error: Option<(String, String)>,
}

/// A snapshot as the service lists it: the fields that decisions need, and those that a copy repeats. Source: Microsoft
/// Compute DiskRP 2025-01-02, `Snapshot`. Fields that goldfleet does not use are not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The id.
    pub id: SnapshotId,
    /// The region by its programmatic name.
    pub region: Region,
    /// The tags. Their names are compared without regard to case: see [`tag`].
    pub tags: BTreeMap<String, String>,
    /// The id that no other snapshot ever has, even if it gets the same name. In lower case.
    pub unique_id: String,
    /// When the service created it.
    pub created: Timestamp,
    /// Whether it stores only the difference to an earlier snapshot of its family.
    pub incremental: bool,
    /// The id that the incremental snapshots of one disk share, in lower case.
    pub family_id: Option<String>,
    /// Where the content came from.
    pub origin: Origin,
    /// The size of the disk in bytes, if the service reports it.
    pub size: Option<u64>,
    /// How far its creation is.
    pub provisioning: Provisioning,
    /// The encryption at rest.
    pub encryption: Encryption,
    /// Whether the content is encrypted by Azure Disk Encryption, inside the operating system.
    pub disk_encryption_extension: bool,
    /// The operating system and the machine.
    pub machine: MachineProperties,
    /// Who may export the content.
    pub export: ExportPolicy,
}

/// What is known about the content of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The whole content is in place.
    Complete,
    /// The content is arriving, or the service does not report how much of it arrived.
    Underway {
        /// The part that arrived, 0 to 100, if the service reports it.
        percent: Option<f64>,
    },
    /// The copy failed before the content was complete. Such a snapshot never was usable.
    Failed {
        /// The service's code, such as `CopySourceNotFound`.
        code: String,
        /// The service's description.
        message: String,
    },
    /// The service reports a failure, and does not show whether the content was complete before. Such a snapshot does
    /// not count as a replica, and goldfleet does not delete it as the remains of a copy.
    Doubtful {
        /// The provisioning state.
        state: String,
    },
}

impl Snapshot {
    /// What is known about the content. A snapshot that a copy from another region creates is complete only at 100
    /// percent: `Succeeded` means that the copy began.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let Provisioning { state, percent, copy_error } = &self.provisioning;
        let is_short = percent.is_some_and(|percent| percent < 100.0);
        let is_known = percent.is_some() || !self.origin.arrives_later();
        let failed = state.eq_ignore_ascii_case("Failed") || state.eq_ignore_ascii_case("Canceled");
        match copy_error {
            Some((code, message)) if is_short => Condition::Failed { code: code.clone(), message: message.clone() },
            Some(_) => Condition::Doubtful { state: state.clone() },
            None if failed && is_short => {
                Condition::Failed { code: state.clone(), message: "the service reports no reason".to_owned() }
            }
            None if failed => Condition::Doubtful { state: state.clone() },
            None if !state.eq_ignore_ascii_case("Succeeded") || is_short || !is_known => {
                Condition::Underway { percent: *percent }
            }
            None => Condition::Complete,
        }
    }

    /// The value of a tag.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        tag(&self.tags, name)
    }

    /// The snapshots of one disk have the same family. An incremental snapshot is copied after the earlier ones of its
    /// family. A full snapshot has the family of its disk only for the rule that keeps the newest ones.
    #[must_use]
    pub fn family(&self) -> String {
        let disk = self.origin.source_unique_id.as_deref();
        match (self.incremental, self.family_id.as_deref().or(disk), disk) {
            (true, Some(family), _) => family.to_owned(),
            (false, _, Some(disk)) => format!("disk-{disk}"),
            _ => format!("single-{}", self.unique_id),
        }
    }

    /// The order in which the snapshots of a family are copied.
    #[must_use]
    pub fn order(&self) -> (Timestamp, &str) {
        (self.created, &self.unique_id)
    }
}

/// The value of a tag. Names of tags are compared without regard to case. Source: Azure, tag resources.
#[must_use]
pub fn tag<'a>(tags: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let exact = tags.get(name);
    let found = exact.or_else(|| tags.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v));
    found.map(String::as_str)
}
