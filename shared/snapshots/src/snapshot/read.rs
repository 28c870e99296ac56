//! Reading of a snapshot from the service's JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use super::json::Fields;
use super::{Encryption, ExportPolicy, JsonText, MachineProperties, Origin, Provisioning, Snapshot, SnapshotError};
use crate::id::SnapshotId;

const GIB: u64 = 1 << 30;

impl Snapshot {
    /// Reads a snapshot as the service returns it. Unknown fields are ignored. A field that no decision needs may be
    /// missing, but must not have another type than the service documents.
    ///
    /// # Errors
    /// [`SnapshotError`] with the first field that is missing or not valid.
    pub fn from_json(value: &Value) -> Result<Self, SnapshotError> {
        if !value.is_object() {
            return Err(SnapshotError::NotAnObject);
        }
        let resource = Fields::of(value);
        let properties = resource.inside("properties", "properties.")?;
        let incremental = properties.truth("incremental")?.unwrap_or(false);
        let origin = read_origin(&properties)?;
        let family_id = properties.lower("incrementalSnapshotFamilyId")?;
        if incremental && family_id.is_none() && origin.source_unique_id.is_none() {
            return Err(properties.missing("incrementalSnapshotFamilyId"));
        }
        let bytes = properties.count("diskSizeBytes")?;
        let size = bytes.or(properties.count("diskSizeGB")?.map(|gib| gib.saturating_mul(GIB)));
        let extension =
            properties.inside("encryptionSettingsCollection", "properties.encryptionSettingsCollection.")?;
        Ok(Self {
            id: read_id(&resource)?,
            region: resource.region("location")?,
            tags: read_tags(&resource)?,
            unique_id: properties.required_text("uniqueId")?.to_ascii_lowercase(),
            created: properties.time("timeCreated")?,
            incremental,
            family_id,
            origin,
            size,
            provisioning: read_provisioning(&properties)?,
            encryption: read_encryption(&properties)?,
            disk_encryption_extension: extension.truth("enabled")?.unwrap_or(false),
            machine: read_machine(&properties)?,
            export: ExportPolicy {
                network_access: properties.owned("networkAccessPolicy")?,
                disk_access_id: properties.owned("diskAccessId")?,
                public_network_access: properties.owned("publicNetworkAccess")?,
                data_access_auth: properties.owned("dataAccessAuthMode")?,
            },
        })
    }

    /// The id of an item whose other fields may not be readable.
    #[must_use]
    pub fn id_in(value: &Value) -> Option<SnapshotId> {
        value.get("id")?.as_str()?.parse().ok()
    }
}

fn read_id(resource: &Fields<'_>) -> Result<SnapshotId, SnapshotError> {
    resource.required_text("id")?.parse().map_err(|_| resource.invalid("id", "the id of a snapshot"))
}

fn read_tags(resource: &Fields<'_>) -> Result<BTreeMap<String, String>, SnapshotError> {
    let Some(tags) = resource.member("tags") else { return Ok(BTreeMap::new()) };
    let tags = tags.as_object().ok_or_else(|| resource.invalid("tags", "an object"))?;
    tags.iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            Value::Null => Ok((name.clone(), String::new())),
            _ => Err(resource.invalid("tags", "text values")),
        })
        .collect()
}

fn read_origin(properties: &Fields<'_>) -> Result<Origin, SnapshotError> {
    let data = properties.inside("creationData", "properties.creationData.")?;
    Ok(Origin {
        create_option: data.required_text("createOption")?.to_owned(),
        source_id: data.owned("sourceResourceId")?,
        source_unique_id: data.lower("sourceUniqueId")?,
    })
}

fn read_provisioning(properties: &Fields<'_>) -> Result<Provisioning, SnapshotError> {
    let percent = properties.number("completionPercent")?;
    if percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
        return Err(properties.invalid("completionPercent", "a number from 0 to 100"));
    }
    let error = properties.inside("copyCompletionError", "properties.copyCompletionError.")?;
    let copy_error = match properties.member("copyCompletionError") {
        None => None,
        Some(_) => Some((
            error.owned("errorCode")?.unwrap_or_else(|| "unknown".to_owned()),
            error.owned("errorMessage")?.unwrap_or_default(),
        )),
    };
    Ok(Provisioning { state: properties.required_text("provisioningState")?.to_owned(), percent, copy_error })
}

fn read_encryption(properties: &Fields<'_>) -> Result<Encryption, SnapshotError> {
    let encryption = properties.inside("encryption", "properties.encryption.")?;
    Ok(Encryption { kind: encryption.owned("type")?, set: encryption.owned("diskEncryptionSetId")? })
}

fn read_machine(properties: &Fields<'_>) -> Result<MachineProperties, SnapshotError> {
    let security = properties.inside("securityProfile", "properties.securityProfile.")?;
    let object = |name: &'static str| match properties.member(name) {
        None => Ok(None),
        Some(value @ Value::Object(_)) => Ok(Some(JsonText::new(value))),
        Some(_) => Err(properties.invalid(name, "an object")),
    };
    Ok(MachineProperties {
        os_type: properties.owned("osType")?,
        generation: properties.owned("hyperVGeneration")?,
        security_type: security.owned("securityType")?,
        supports_hibernation: properties.truth("supportsHibernation")?,
        purchase_plan: object("purchasePlan")?,
        capabilities: object("supportedCapabilities")?,
    })
}
