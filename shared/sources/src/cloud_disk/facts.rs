//! What a disk or snapshot says about itself, and whether it can be read. Pure.

use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::origin::Origin;
use goldfleet_model::resource::{CreateOption, DiskProperties, DiskState, Properties, ResourceId};
use goldfleet_ports::resources::{Provisioning, Resource};
use serde_json::Value;

use crate::codes::{self, Code, Refusal};

/// What an upload or a dispatch needs to know about a disk or snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFacts {
    /// The resource.
    pub id: ResourceId,
    /// The source as the operator named it.
    pub location: String,
    /// The operating system. None for a data disk.
    pub os: Option<OsType>,
    /// The Hyper-V generation. Not all resources have it.
    pub generation: Option<Generation>,
    /// The size in bytes, without the footer of a VHD.
    pub size: Option<u64>,
    /// The unique id.
    pub unique_id: Option<String>,
    /// The id that all incremental snapshots of one disk share.
    pub family_id: Option<String>,
    /// Whether a machine has the disk. Then its content changes, and it is not exported.
    pub is_attached: bool,
    /// Whether a SAS exists before this upload.
    pub has_access: bool,
}

impl DiskFacts {
    /// The facts about a resource that can be read.
    ///
    /// # Errors
    /// The first reason why it cannot be read.
    pub fn of(location: &str, found: &Resource) -> Result<Self, Refusal> {
        let facts = Self::for_copy(location, found)?;
        match found.body.properties.disk().and_then(export_fault) {
            Some((code, reason)) => Err(Refusal::new(code, location, reason)),
            None => Ok(facts),
        }
    }

    /// The facts about a resource that the platform can copy. Its export may be denied, because the platform needs no
    /// SAS.
    ///
    /// # Errors
    /// The first reason why a copy of it is no image.
    pub fn for_copy(location: &str, found: &Resource) -> Result<Self, Refusal> {
        let refuse = |code: &'static Code, reason: String| Refusal::new(code, location, reason);
        let Some(disk) = found.body.properties.disk() else {
            return Err(refuse(&codes::NAME_INVALID, "it is not a disk or snapshot".to_owned()));
        };
        if let Some((code, reason)) = security_fault(disk).or_else(|| content_fault(found, disk)) {
            return Err(refuse(code, reason));
        }
        let family_id = match &found.body.properties {
            Properties::Snapshot(snapshot) => snapshot.incremental_snapshot_family_id.clone(),
            _ => None,
        };
        let state = disk.disk_state.as_ref();
        let is_managed = found.body.other.get("managedBy").and_then(Value::as_str).is_some_and(|by| !by.is_empty());
        Ok(Self {
            id: found.id.clone(),
            location: location.to_owned(),
            os: disk.os_type,
            generation: disk.hyper_v_generation,
            size: disk.disk_size_bytes,
            unique_id: disk.unique_id.clone(),
            family_id,
            is_attached: is_managed || state.is_some_and(DiskState::is_attached),
            has_access: state == Some(&DiskState::ActiveSas),
        })
    }

    /// The operating system and the generation of the disk, from the resource and from the options of a command.
    ///
    /// # Errors
    /// If an option contradicts the resource, or if neither states an operating system.
    pub fn system(
        &self,
        os: Option<OsType>,
        generation: Option<Generation>,
    ) -> Result<(OsType, Option<Generation>), Refusal> {
        system((self.os, self.generation), (os, generation), &self.location)
    }

    /// The origin for the row of the upload.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            source: self.location.clone(),
            unique_id: self.unique_id.clone(),
            family_id: self.family_id.clone(),
            ..Origin::default()
        }
    }
}

/// The operating system and the generation of a source, from what it states and from the options of a command.
pub(crate) fn system(
    (own_os, own_generation): (Option<OsType>, Option<Generation>),
    (os, generation): (Option<OsType>, Option<Generation>),
    location: &str,
) -> Result<(OsType, Option<Generation>), Refusal> {
    let refuse = |code: &'static Code, reason: String| Err(Refusal::new(code, location, reason));
    if let (Some(given), Some(own)) = (generation, own_generation)
        && given != own
    {
        return refuse(&codes::HYPERV_MISMATCH, format!("it is of generation {own}, and --generation is {given}"));
    }
    match (os, own_os) {
        (Some(given), Some(own)) if given != own => {
            refuse(&codes::OS_MISMATCH, format!("its operating system is {own}, and --os is {given}"))
        }
        (None, None) => refuse(&codes::OS_UNKNOWN, "it states no operating system".to_owned()),
        (Some(os), _) | (None, Some(os)) => Ok((os, generation.or(own_generation))),
    }
}

type Fault = Option<(&'static Code, String)>;

/// Encryption that a copy does not survive, and geometry that an image does not have. Source: Microsoft.Compute, DiskRP
/// 2025-01-02.
fn security_fault(disk: &DiskProperties) -> Fault {
    let other = |pointer: &str| at(&disk.other, pointer);
    let text = |pointer: &str| other(pointer).and_then(Value::as_str).unwrap_or_default();
    if other("encryptionSettingsCollection/enabled").and_then(Value::as_bool) == Some(true) {
        return Some((&codes::ADE_ENCRYPTED, "it is encrypted inside the machine (Azure Disk Encryption)".to_owned()));
    }
    let security = text("securityProfile/securityType");
    if security.to_ascii_lowercase().starts_with("confidentialvm") {
        return Some((&codes::CONFIDENTIAL, format!("its security type is {security}")));
    }
    let sector = at(&disk.creation_data.other, "logicalSectorSize").and_then(Value::as_u64);
    if let Some(sector) = sector.filter(|sector| *sector != 512) {
        return Some((&codes::SECTOR_4096, format!("its sectors have {sector} bytes")));
    }
    let shares = other("maxShares").and_then(Value::as_u64).unwrap_or(1);
    (shares > 1).then(|| (&codes::SHARED_DISK, format!("up to {shares} machines can attach it at the same time")))
}

/// Content that is not complete.
fn content_fault(found: &Resource, disk: &DiskProperties) -> Fault {
    let fault = |reason: String| Some((&codes::NOT_HYDRATED, reason));
    if let Properties::Snapshot(snapshot) = &found.body.properties {
        if let Some(error) = &snapshot.copy_completion_error {
            return fault(format!("its copy failed: {}: {}", error.error_code, error.error_message));
        }
        if !snapshot.is_complete() {
            return fault(arrived(snapshot.completion_percent.unwrap_or_default()));
        }
    }
    let percent = at(&disk.other, "completionPercent").and_then(Value::as_f64);
    if let Some(percent) = percent.filter(|percent| *percent < 100.0) {
        return fault(arrived(percent));
    }
    if disk.disk_state.as_ref().is_some_and(DiskState::awaits_upload) {
        return fault("its upload has not ended".to_owned());
    }
    if disk.creation_data.create_option == CreateOption::CopyStart && found.provisioning != Provisioning::Succeeded {
        return fault("its copy has not ended".to_owned());
    }
    match found.provisioning {
        Provisioning::InProgress => fault("it is being created or changed".to_owned()),
        Provisioning::Succeeded | Provisioning::Failed => None,
    }
}

fn arrived(percent: f64) -> String {
    format!("{percent:.0} % of its content has arrived")
}

/// Properties that forbid a SAS. Source: Microsoft.Compute, DiskRP 2025-01-02: `networkAccessPolicy`,
/// `publicNetworkAccess`, `dataAccessAuthMode`.
fn export_fault(disk: &DiskProperties) -> Fault {
    let denied = [
        ("networkAccessPolicy", ["DenyAll", "AllowPrivate"].as_slice()),
        ("publicNetworkAccess", &["Disabled"]),
        ("dataAccessAuthMode", &["AzureActiveDirectory"]),
    ];
    denied.into_iter().find_map(|(name, values)| {
        let found = at(&disk.other, name)?.as_str()?;
        let is_denied = values.iter().any(|value| value.eq_ignore_ascii_case(found));
        is_denied.then(|| (&codes::EXPORT_DENIED, format!("its {name} is {found}")))
    })
}

/// A member of an object, by the names from the outside to the inside.
fn at<'a>(members: &'a serde_json::Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut names = path.split('/');
    let first = members.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str =
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute/";

    fn resource(kind: &str, change: impl FnOnce(&mut Value)) -> Resource {
        let mut value = json!({
            "location": "westeurope",
            "properties": {
                "creationData": { "createOption": "Copy" }, "provisioningState": "Succeeded",
                "diskState": "Unattached", "osType": "Linux", "hyperVGeneration": "V2", "uniqueId": "u1",
                "diskSizeBytes": 1 << 20, "networkAccessPolicy": "AllowAll", "publicNetworkAccess": "Enabled",
            },
        });
        change(&mut value);
        Resource::from_json(format!("{ID}{kind}/d").parse().unwrap(), value).unwrap()
    }

    fn set<'a>(pointer: &'a str, to: Value) -> impl FnOnce(&mut Value) + 'a {
        move |value| {
            let mut at = &mut value["properties"];
            for name in pointer.split('/') {
                at = &mut at[name];
            }
            *at = to;
        }
    }

    fn refused(kind: &str, pointer: &str, to: Value) -> Option<&'static str> {
        let found = resource(kind, set(pointer, to));
        DiskFacts::of("disk:d", &found).err().map(|refusal| refusal.code.name)
    }

    #[test]
    fn readable_disk_has_its_properties() {
        let facts = DiskFacts::of("disk:d", &resource("disks", |_| {})).unwrap();
        assert_eq!((facts.os, facts.generation), (Some(OsType::Linux), Some(Generation::V2)));
        assert_eq!((facts.size, facts.is_attached, facts.has_access), (Some(1 << 20), false, false));
        assert_eq!(facts.origin().unique_id.as_deref(), Some("u1"));
        let family = set("incrementalSnapshotFamilyId", json!("f"));
        let facts = DiskFacts::of("snapshot:s", &resource("snapshots", family)).unwrap();
        assert_eq!(facts.origin().family_id.as_deref(), Some("f"));
    }

    #[test]
    fn each_refusal_has_its_code() {
        for (pointer, to, code) in [
            ("encryptionSettingsCollection", json!({ "enabled": true }), "ade-encrypted"),
            (
                "securityProfile",
                json!({ "securityType": "ConfidentialVM_DiskEncryptedWithPlatformKey" }),
                "confidential",
            ),
            ("creationData/logicalSectorSize", json!(4096), "sector-4096"),
            ("completionPercent", json!(50.0), "not-hydrated"),
            ("diskState", json!("ActiveUpload"), "not-hydrated"),
            ("provisioningState", json!("Updating"), "not-hydrated"),
            ("networkAccessPolicy", json!("DenyAll"), "export-denied"),
            ("networkAccessPolicy", json!("AllowPrivate"), "export-denied"),
            ("publicNetworkAccess", json!("Disabled"), "export-denied"),
            ("dataAccessAuthMode", json!("AzureActiveDirectory"), "export-denied"),
            ("maxShares", json!(2), "shared-disk"),
        ] {
            for kind in ["disks", "snapshots"] {
                assert_eq!(refused(kind, pointer, to.clone()), Some(code), "{kind} {pointer} {to}");
            }
        }
        let error = json!({ "errorCode": "CopySourceNotFound", "errorMessage": "it is gone" });
        assert_eq!(refused("snapshots", "copyCompletionError", error), Some("not-hydrated"));
        for (pointer, to) in [
            ("encryptionSettingsCollection", json!({ "enabled": false })),
            ("securityProfile", json!({ "securityType": "TrustedLaunch" })),
            ("creationData/logicalSectorSize", json!(512)),
            ("completionPercent", json!(100.0)),
            ("maxShares", json!(1)),
            ("dataAccessAuthMode", json!("None")),
            ("provisioningState", json!("Failed")),
        ] {
            assert_eq!(refused("disks", pointer, to.clone()), None, "{pointer} {to}");
        }
    }

    #[test]
    fn attached_disk_is_recognized_by_state_and_owner() {
        for state in ["Attached", "Reserved"] {
            let facts = DiskFacts::of("disk:d", &resource("disks", set("diskState", json!(state)))).unwrap();
            assert!(facts.is_attached, "{state}");
        }
        let managed = resource("disks", |value| value["managedBy"] = json!("/subscriptions/1/machine"));
        assert!(DiskFacts::of("disk:d", &managed).unwrap().is_attached);
        let shared = DiskFacts::of("disk:d", &resource("disks", set("diskState", json!("ActiveSAS")))).unwrap();
        assert!(shared.has_access && !shared.is_attached);
    }

    #[test]
    fn options_fill_gaps_and_contradictions_are_refused() {
        let own = DiskFacts::of("disk:d", &resource("disks", |_| {})).unwrap();
        let (linux, windows) = (Some(OsType::Linux), Some(OsType::Windows));
        assert_eq!(own.system(None, None).unwrap(), (OsType::Linux, Some(Generation::V2)));
        assert_eq!(own.system(linux, Some(Generation::V2)).unwrap(), (OsType::Linux, Some(Generation::V2)));
        assert_eq!(own.system(windows, None).unwrap_err().code.name, "os-mismatch");
        assert_eq!(own.system(None, Some(Generation::V1)).unwrap_err().code.name, "hyperv-mismatch");
        let data = DiskFacts { os: None, generation: None, ..own };
        assert_eq!(data.system(None, None).unwrap_err().code.name, "os-unknown");
        assert_eq!(data.system(windows, Some(Generation::V1)).unwrap(), (OsType::Windows, Some(Generation::V1)));
    }
}
