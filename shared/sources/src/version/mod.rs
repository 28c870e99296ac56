//! The sources `image:` and `gallery:`: a managed image or a gallery version. Pure.
//!
//! No service gives access to their content. A disk is created from each disk of a gallery version, and read or copied
//! as a managed disk. A managed image becomes a temporary gallery version first: the disk or snapshot from which it was
//! created is usually deleted, and the image still has its content.

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::Region;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    DefinitionProperties, GalleryVersionProperties, ImageDisk, ImageProperties, ReplicationState, region_named,
};
use goldfleet_ports::resources::{Provisioning, Resource};
use serde_json::Value;

use crate::codes::{self, Code, Refusal};

/// What an upload or a dispatch needs to know about a managed image or a gallery version.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionFacts {
    /// The source as the operator named it.
    pub location: String,
    /// What distinguishes it from another one that gets its id later. None if the service says nothing about it.
    pub identity: Option<String>,
    /// The operating system.
    pub os: Option<OsType>,
    /// The Hyper-V generation.
    pub generation: Option<Generation>,
    /// The disks: the OS disk first, then the data disks in the order of their LUNs.
    pub disks: Vec<VersionDisk>,
    /// The regions in which disks of it can be created. Empty if that is not known.
    pub regions: Vec<Region>,
    /// The security type of machines, such as `TrustedLaunch`, if all of them must have it.
    pub security_type: Option<String>,
    /// The purchase plan, as disks have it.
    pub purchase_plan: Option<Value>,
}

/// A disk of a managed image or a gallery version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionDisk {
    /// Its role.
    pub role: DiskRole,
    /// The id of the disk encryption set, if a key of the customer encrypts it.
    pub encryption_set: Option<String>,
}

type Refused<T> = Result<T, Refusal>;

impl VersionFacts {
    /// The facts about a managed image.
    ///
    /// # Errors
    /// The first reason why it cannot be a source.
    pub fn of_image(location: &str, found: &Resource) -> Refused<Self> {
        let refuse = |code: &'static Code, reason: &str| Err(Refusal::new(code, location, reason));
        let goldfleet_model::resource::Properties::Image(image) = &found.body.properties else {
            return refuse(&codes::NAME_INVALID, "it is not a managed image");
        };
        complete(location, found)?;
        let Some(os_disk) = image.os_disk() else {
            return refuse(&codes::UNMANAGED, "it has no OS disk");
        };
        generalized(location, os_disk.os_state.as_deref())?;
        Ok(Self {
            location: location.to_owned(),
            identity: Some(image.fingerprint(&found.id)),
            os: os_disk.os_type,
            generation: image.hyper_v_generation,
            disks: disks_of_image(location, image, os_disk)?,
            regions: vec![found.body.region.clone()],
            security_type: None,
            purchase_plan: None,
        })
    }

    /// The facts about a gallery version, from the version with the state of its replication, and its definition.
    ///
    /// # Errors
    /// The first reason why it cannot be a source.
    pub fn of_version(location: &str, version: &Resource, definition: &Resource) -> Refused<Self> {
        let refuse = |code: &'static Code, reason: String| Err(Refusal::new(code, location, reason));
        let properties = version.body.properties.gallery_version().zip(definition.body.properties.definition());
        let Some((properties, definition)) = properties else {
            return refuse(&codes::NAME_INVALID, "it is not a gallery version".to_owned());
        };
        generalized(location, definition.os_state.as_deref())?;
        let security = definition.feature("SecurityType");
        // A definition that only supports confidential machines has versions with plain content.
        if let Some(kind) = security.filter(|kind| kind.eq_ignore_ascii_case("ConfidentialVM")) {
            return refuse(&codes::CONFIDENTIAL, format!("its security type is {kind}"));
        }
        let regions = usable_regions(properties);
        if regions.is_empty() {
            complete(location, version)?;
            return refuse(&codes::NOT_HYDRATED, "its replication is complete in no region".to_owned());
        }
        let published = properties.publishing_profile.as_ref().and_then(|profile| profile.other.get("publishedDate"));
        let published = published.and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            location: location.to_owned(),
            // A version never changes. Another one of the same name is published at another time.
            identity: Some(format!("version-{}@{published}", version.id.key())),
            os: definition.os_type,
            generation: definition.hyper_v_generation,
            disks: disks_of_version(location, properties)?,
            regions,
            security_type: security.filter(|kind| kind.eq_ignore_ascii_case("TrustedLaunch")).map(str::to_owned),
            purchase_plan: plan_of(definition),
        })
    }

    /// What is known about a version of a gallery that others share, before a disk of it is created: it has an OS disk.
    #[must_use]
    pub fn of_shared(location: &str) -> Self {
        Self {
            location: location.to_owned(),
            identity: None,
            os: None,
            generation: None,
            disks: vec![VersionDisk { role: DiskRole::Os, encryption_set: None }],
            regions: Vec::new(),
            security_type: None,
            purchase_plan: None,
        }
    }

    /// The operating system and the generation, from the source and from the options of a command.
    ///
    /// # Errors
    /// If an option contradicts the source, or if neither states an operating system.
    pub fn system(&self, os: Option<OsType>, generation: Option<Generation>) -> Refused<(OsType, Option<Generation>)> {
        crate::cloud_disk::system((self.os, self.generation), (os, generation), &self.location)
    }
}

/// The content of an image or version that is being created or failed is not complete.
fn complete(location: &str, found: &Resource) -> Refused<()> {
    let reason = match found.provisioning {
        Provisioning::Succeeded => return Ok(()),
        Provisioning::InProgress => "it is being created or changed",
        Provisioning::Failed => "the service reports it as failed",
    };
    Err(Refusal::new(&codes::NOT_HYDRATED, location, reason))
}

/// What is created from a specialised disk is the same machine again, with its host name and its accounts.
fn generalized(location: &str, state: Option<&str>) -> Refused<()> {
    match state {
        Some(state) if state.eq_ignore_ascii_case("Specialized") => {
            Err(Refusal::new(&codes::SPECIALIZED, location, "its operating system is specialised, not generalised"))
        }
        _ => Ok(()),
    }
}

fn disks_of_image(location: &str, image: &ImageProperties, os_disk: &ImageDisk) -> Refused<Vec<VersionDisk>> {
    let set = |disk: &ImageDisk| disk.disk_encryption_set.as_ref().map(|set| set.id.clone());
    let mut disks = vec![VersionDisk { role: DiskRole::Os, encryption_set: set(os_disk) }];
    for data in image.data_disks() {
        disks.push(VersionDisk { role: role(location, data.lun.into())?, encryption_set: set(&data.disk) });
    }
    disks.sort_by_key(|disk| disk.role);
    Ok(disks)
}

fn disks_of_version(location: &str, version: &GalleryVersionProperties) -> Refused<Vec<VersionDisk>> {
    let storage = version.storage_profile.as_ref();
    let storage = storage.map(|storage| serde_json::to_value(storage).unwrap_or_default()).unwrap_or_default();
    let encrypted = |pointer: &str, lun: Option<u64>| {
        version.regions().iter().find_map(|region| {
            let encryption = serde_json::to_value(region.encryption.as_ref()?).ok()?;
            let found = encryption.pointer(pointer)?;
            let set = match lun {
                None => found.get("diskEncryptionSetId"),
                Some(lun) => found.as_array()?.iter().find(|disk| disk["lun"] == lun)?.get("diskEncryptionSetId"),
            };
            set?.as_str().map(str::to_owned)
        })
    };
    let mut disks = vec![VersionDisk { role: DiskRole::Os, encryption_set: encrypted("/osDiskImage", None) }];
    for data in storage["dataDiskImages"].as_array().into_iter().flatten() {
        let lun = data["lun"].as_u64().unwrap_or(u64::MAX);
        let encryption_set = encrypted("/dataDiskImages", Some(lun));
        disks.push(VersionDisk { role: role(location, lun)?, encryption_set });
    }
    disks.sort_by_key(|disk| disk.role);
    Ok(disks)
}

fn role(location: &str, lun: u64) -> Refused<DiskRole> {
    match u8::try_from(lun) {
        Ok(lun) if lun <= DiskRole::MAX_LUN => Ok(DiskRole::Data(lun)),
        _ => {
            let reason = format!("a data disk has LUN {lun}, and a version has LUNs from 0 to {}", DiskRole::MAX_LUN);
            Err(Refusal::new(&codes::UNMANAGED, location, reason))
        }
    }
}

/// The regions in which the replication is complete, or all regions if the service reports no state.
fn usable_regions(version: &GalleryVersionProperties) -> Vec<Region> {
    let is_usable = |name: &str| match &version.replication_status {
        None => true,
        Some(status) => status
            .summary
            .iter()
            .any(|found| region_named(&found.region) == name && found.state == ReplicationState::Completed),
    };
    let names = version.regions().iter().map(|region| region_named(&region.name));
    names.filter(|name| is_usable(name)).filter_map(|name| name.parse().ok()).collect()
}

/// The purchase plan of a definition in the form of a disk. Source: GalleryRP 2024-03-03, `ImagePurchasePlan`; DiskRP
/// 2025-01-02, `DiskPurchasePlan`: both have name, publisher and product.
fn plan_of(definition: &DefinitionProperties) -> Option<Value> {
    definition.other.get("purchasePlan").filter(|plan| plan.is_object()).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GROUP: &str =
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute";

    fn resource(path: &str, properties: Value) -> Resource {
        let value = json!({ "location": "westeurope", "properties": properties });
        Resource::from_json(format!("{GROUP}/{path}").parse().unwrap(), value).unwrap()
    }

    fn image(change: impl FnOnce(&mut Value)) -> Resource {
        let mut properties = json!({
            "hyperVGeneration": "V2",
            "storageProfile": {
                "osDisk": { "osType": "Linux", "osState": "Generalized", "managedDisk": { "id": "/gone" } },
                "dataDisks": [{ "lun": 7, "snapshot": { "id": "/s7" } }, { "lun": 1, "snapshot": { "id": "/s1" } }],
            },
        });
        change(&mut properties);
        resource("images/golden", properties)
    }

    fn version(change: impl FnOnce(&mut Value)) -> Resource {
        let mut properties = json!({
            "publishingProfile": {
                "publishedDate": "2026-01-01T00:00:00Z",
                "targetRegions": [{ "name": "West Europe" }, { "name": "East US" }],
            },
            "storageProfile": { "osDiskImage": {}, "dataDiskImages": [{ "lun": 3 }] },
            "replicationStatus": { "summary": [
                { "region": "West Europe", "state": "Completed", "progress": 100 },
                { "region": "East US", "state": "Replicating", "progress": 10 },
            ] },
        });
        change(&mut properties);
        resource("galleries/corp/images/ubuntu/versions/1.0.0", properties)
    }

    fn definition(security: &str, state: &str) -> Resource {
        let properties = json!({
            "osType": "Linux", "osState": state, "hyperVGeneration": "V2",
            "features": [{ "name": "SecurityType", "value": security }],
            "purchasePlan": { "name": "n", "publisher": "p", "product": "q" },
        });
        resource("galleries/corp/images/ubuntu", properties)
    }

    #[test]
    fn image_has_its_disks_in_order() {
        let facts = VersionFacts::of_image("image:golden", &image(|_| {})).unwrap();
        let roles: Vec<_> = facts.disks.iter().map(|disk| disk.role).collect();
        assert_eq!(roles, [DiskRole::Os, DiskRole::Data(1), DiskRole::Data(7)]);
        assert_eq!(facts.system(None, None).unwrap(), (OsType::Linux, Some(Generation::V2)));
        assert_eq!(facts.system(Some(OsType::Windows), None).unwrap_err().code.name, "os-mismatch");
        let other = image(|image| image["storageProfile"]["osDisk"]["managedDisk"]["id"] = json!("/other"));
        assert_ne!(VersionFacts::of_image("image:golden", &other).unwrap().identity, facts.identity);
    }

    #[test]
    fn refused_images_have_codes() {
        let code = |change: &dyn Fn(&mut Value)| {
            VersionFacts::of_image("image:golden", &image(|value| change(value))).unwrap_err().code.name
        };
        assert_eq!(code(&|image| image["provisioningState"] = json!("Failed")), "not-hydrated");
        assert_eq!(code(&|image| image["provisioningState"] = json!("Creating")), "not-hydrated");
        assert_eq!(code(&|image| image["storageProfile"]["osDisk"]["osState"] = json!("Specialized")), "specialized");
        assert_eq!(code(&|image| image["storageProfile"]["osDisk"] = Value::Null), "unmanaged");
        assert_eq!(code(&|image| image["storageProfile"]["dataDisks"][0]["lun"] = json!(64)), "unmanaged");
    }

    #[test]
    fn version_has_the_regions_in_which_it_is_complete() {
        let facts =
            VersionFacts::of_version("gallery:v", &version(|_| {}), &definition("TrustedLaunch", "Generalized"))
                .unwrap();
        assert_eq!(facts.regions, ["westeurope".parse().unwrap()]);
        assert_eq!(facts.disks.len(), 2);
        assert_eq!(facts.security_type.as_deref(), Some("TrustedLaunch"));
        assert_eq!(facts.purchase_plan.unwrap()["product"], "q");
        let supported = definition("TrustedLaunchSupported", "Generalized");
        assert_eq!(VersionFacts::of_version("gallery:v", &version(|_| {}), &supported).unwrap().security_type, None);
        let set = json!({ "osDiskImage": { "diskEncryptionSetId": "/des" } });
        let encrypted = version(|version| version["publishingProfile"]["targetRegions"][0]["encryption"] = set);
        let facts = VersionFacts::of_version("gallery:v", &encrypted, &supported).unwrap();
        assert_eq!(facts.disks[0].encryption_set.as_deref(), Some("/des"));
    }

    #[test]
    fn refused_versions_have_codes() {
        let code = |version: &Resource, definition: &Resource| {
            VersionFacts::of_version("gallery:v", version, definition).unwrap_err().code.name
        };
        let plain = definition("Standard", "Generalized");
        assert_eq!(code(&version(|_| {}), &definition("ConfidentialVM", "Generalized")), "confidential");
        assert_eq!(code(&version(|_| {}), &definition("Standard", "Specialized")), "specialized");
        let nowhere = version(|version| version["replicationStatus"]["summary"] = json!([]));
        assert_eq!(code(&nowhere, &plain), "not-hydrated");
        assert_eq!(code(&plain, &plain), "name-invalid");
    }
}
