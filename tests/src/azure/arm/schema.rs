//! The members that bodies may have, and their types. Resource Manager ignores the case of member names. The double
//! does not, because clients should not rely on that.

pub(super) mod galleries;

use serde_json::Value;

use super::response::ArmAnswer;

/// The members of an object.
#[derive(Debug)]
pub(super) struct Schema {
    /// Azure's name of the type, if it is known.
    name: &'static str,
    members: &'static [(&'static str, Kind)],
}

/// The type of a member.
#[derive(Debug)]
enum Kind {
    Text,
    Flag,
    Number,
    /// One of these texts, ignoring case.
    Choice(&'static [&'static str]),
    /// A map of texts.
    Texts,
    Object(&'static Schema),
    List(&'static Schema),
    /// A list of texts.
    TextList,
}

use Kind::{Choice, Flag, List, Number, Object, Text, TextList, Texts};

/// Source: specification, ComputeRP 2025-04-01, `Image`. The ids are read-only, and accepted as Resource Manager
/// accepts them.
pub(super) const IMAGE: Schema = Schema {
    name: "ResourceDefinition",
    members: &[
        ("id", Text),
        ("name", Text),
        ("type", Text),
        ("location", Text),
        ("tags", Texts),
        ("extendedLocation", Object(&EXTENDED_LOCATION)),
        ("properties", Object(&IMAGE_PROPERTIES)),
    ],
};

/// Source: specification, DiskRP 2025-01-02, `Disk`, as far as goldfleet needs it.
pub(super) const DISK: Schema = Schema { name: "ResourceDefinition", members: DISK_MEMBERS };

/// Source: specification, DiskRP 2025-01-02, `Snapshot`, as far as goldfleet needs it.
pub(super) const SNAPSHOT: Schema = Schema { name: "ResourceDefinition", members: SNAPSHOT_MEMBERS };

/// Source: specification, ComputeRP 2025-04-01, `VirtualMachine`, as far as goldfleet needs it.
pub(super) const MACHINE: Schema = Schema {
    name: "ResourceDefinition",
    members: &[
        ("location", Text),
        ("tags", Texts),
        ("zones", TextList),
        ("plan", Object(&PLAN)),
        ("properties", Object(&MACHINE_PROPERTIES)),
    ],
};

const PLAN: Schema = Schema {
    name: "Plan",
    members: &[("name", Text), ("publisher", Text), ("product", Text), ("promotionCode", Text)],
};

const MACHINE_PROPERTIES: Schema = Schema {
    name: "VirtualMachineProperties",
    members: &[
        ("hardwareProfile", Object(&HARDWARE)),
        ("storageProfile", Object(&MACHINE_STORAGE)),
        ("networkProfile", Object(&NETWORK)),
        ("securityProfile", Object(&MACHINE_SECURITY)),
        ("availabilitySet", Object(&SUB_RESOURCE)),
        ("licenseType", Text),
        ("priority", Choice(&["Regular", "Low", "Spot"])),
        ("evictionPolicy", Choice(&["Deallocate", "Delete"])),
        ("extensionsTimeBudget", Text),
    ],
};

const HARDWARE: Schema = Schema { name: "HardwareProfile", members: &[("vmSize", Text)] };

const MACHINE_SECURITY: Schema = Schema {
    name: "SecurityProfile",
    members: &[
        ("securityType", Choice(&["TrustedLaunch", "ConfidentialVM", "Standard"])),
        ("uefiSettings", Object(&UEFI)),
        ("encryptionAtHost", Flag),
    ],
};

const UEFI: Schema = Schema { name: "UefiSettings", members: &[("secureBootEnabled", Flag), ("vTpmEnabled", Flag)] };

const MACHINE_STORAGE: Schema = Schema {
    name: "StorageProfile",
    members: &[("osDisk", Object(&MACHINE_DISK)), ("dataDisks", List(&MACHINE_DISK))],
};

const MACHINE_DISK: Schema = Schema {
    name: "DataDisk",
    members: &[
        ("lun", Number),
        ("name", Text),
        ("osType", Choice(&["Windows", "Linux"])),
        ("createOption", Choice(&["Attach", "Empty", "FromImage", "Copy", "Restore"])),
        ("caching", CACHING),
        ("writeAcceleratorEnabled", Flag),
        ("deleteOption", Choice(&["Delete", "Detach"])),
        ("managedDisk", Object(&SUB_RESOURCE)),
    ],
};

const NETWORK: Schema = Schema {
    name: "NetworkProfile",
    members: &[
        ("networkInterfaces", List(&SUB_RESOURCE)),
        ("networkApiVersion", Choice(&["2020-11-01", "2022-11-01"])),
        ("networkInterfaceConfigurations", List(&INTERFACE)),
    ],
};

const INTERFACE: Schema = Schema {
    name: "VirtualMachineNetworkInterfaceConfiguration",
    members: &[("name", Text), ("properties", Object(&INTERFACE_PROPERTIES))],
};

const INTERFACE_PROPERTIES: Schema = Schema {
    name: "VirtualMachineNetworkInterfaceConfigurationProperties",
    members: &[
        ("primary", Flag),
        ("deleteOption", Choice(&["Delete", "Detach"])),
        ("enableAcceleratedNetworking", Flag),
        ("networkSecurityGroup", Object(&SUB_RESOURCE)),
        ("ipConfigurations", List(&ADDRESS)),
    ],
};

const ADDRESS: Schema = Schema {
    name: "VirtualMachineNetworkInterfaceIPConfiguration",
    members: &[("name", Text), ("properties", Object(&ADDRESS_PROPERTIES))],
};

const ADDRESS_PROPERTIES: Schema = Schema {
    name: "VirtualMachineNetworkInterfaceIPConfigurationProperties",
    members: &[("subnet", Object(&SUB_RESOURCE)), ("primary", Flag)],
};

/// Source: specification, DiskRP 2025-01-02, `GrantAccessData`.
pub(super) const GRANT_ACCESS: Schema = Schema {
    name: "GrantAccessData",
    members: &[
        ("access", Choice(&["None", "Read", "Write"])),
        ("durationInSeconds", Number),
        ("getSecureVMGuestStateSAS", Flag),
        ("fileFormat", Choice(&["VHD", "VHDX"])),
    ],
};

const DISK_MEMBERS: &[(&str, Kind)] = &[
    ("location", Text),
    ("tags", Texts),
    ("sku", Object(&SKU)),
    ("zones", TextList),
    ("properties", Object(&DISK_PROPERTIES)),
];

const SNAPSHOT_MEMBERS: &[(&str, Kind)] =
    &[("location", Text), ("tags", Texts), ("sku", Object(&SKU)), ("properties", Object(&SNAPSHOT_PROPERTIES))];

const SKU: Schema = Schema { name: "DiskSku", members: &[("name", Text), ("tier", Text)] };

const CREATION_DATA: Schema = Schema {
    name: "CreationData",
    members: &[
        ("createOption", Text),
        ("sourceResourceId", Text),
        ("uploadSizeBytes", Number),
        ("galleryImageReference", Object(&galleries::IMAGE_REFERENCE)),
        ("provisionedBandwidthCopySpeed", Choice(&["None", "Enhanced"])),
    ],
};

const ENCRYPTION: Schema = Schema { name: "Encryption", members: &[("type", Text), ("diskEncryptionSetId", Text)] };

const SECURITY_PROFILE: Schema =
    Schema { name: "DiskSecurityProfile", members: &[("securityType", Text), ("secureVMDiskEncryptionSetId", Text)] };

const DISK_PROPERTIES: Schema = Schema {
    name: "DiskProperties",
    members: &[
        ("purchasePlan", Object(&PURCHASE_PLAN)),
        ("supportedCapabilities", Object(&CAPABILITIES)),
        ("supportsHibernation", Flag),
        ("diskAccessId", Text),
        ("dataAccessAuthMode", Choice(&["AzureActiveDirectory", "None"])),
        ("tier", Text),
        ("diskIOPSReadWrite", Number),
        ("diskMBpsReadWrite", Number),
        ("burstingEnabled", Flag),
        ("osType", Choice(&["Windows", "Linux"])),
        ("hyperVGeneration", Choice(&["V1", "V2"])),
        ("creationData", Object(&CREATION_DATA)),
        ("diskSizeGB", Number),
        ("encryption", Object(&ENCRYPTION)),
        ("securityProfile", Object(&SECURITY_PROFILE)),
        ("networkAccessPolicy", Choice(&["AllowAll", "AllowPrivate", "DenyAll"])),
        ("publicNetworkAccess", Choice(&["Enabled", "Disabled"])),
    ],
};

/// Source: specification, DiskRP 2025-01-02, `DiskPurchasePlan`.
const PURCHASE_PLAN: Schema = Schema {
    name: "DiskPurchasePlan",
    members: &[("name", Text), ("publisher", Text), ("product", Text), ("promotionCode", Text)],
};

/// Source: specification, DiskRP 2025-01-02, `SupportedCapabilities`.
const CAPABILITIES: Schema = Schema {
    name: "SupportedCapabilities",
    members: &[
        ("diskControllerTypes", Text),
        ("acceleratedNetwork", Flag),
        ("architecture", Choice(&["x64", "Arm64"])),
        ("supportedSecurityOption", Text),
    ],
};

const SNAPSHOT_PROPERTIES: Schema = Schema {
    name: "SnapshotProperties",
    members: &[
        ("purchasePlan", Object(&PURCHASE_PLAN)),
        ("supportedCapabilities", Object(&CAPABILITIES)),
        ("supportsHibernation", Flag),
        ("diskAccessId", Text),
        ("dataAccessAuthMode", Choice(&["AzureActiveDirectory", "None"])),
        ("osType", Choice(&["Windows", "Linux"])),
        ("hyperVGeneration", Choice(&["V1", "V2"])),
        ("creationData", Object(&CREATION_DATA)),
        ("diskSizeGB", Number),
        ("incremental", Flag),
        ("encryption", Object(&ENCRYPTION)),
        ("securityProfile", Object(&SECURITY_PROFILE)),
        ("networkAccessPolicy", Choice(&["AllowAll", "AllowPrivate", "DenyAll"])),
        ("publicNetworkAccess", Choice(&["Enabled", "Disabled"])),
    ],
};

/// Source: specification, `ImageUpdate`.
pub(super) const IMAGE_UPDATE: Schema =
    Schema { name: "ImageUpdate", members: &[("tags", Texts), ("properties", Object(&IMAGE_PROPERTIES))] };

/// Source: specification, Microsoft.Authorization 2020-05-01, `ManagementLockObject`.
pub(super) const LOCK: Schema = Schema {
    name: "ManagementLockObject",
    members: &[("id", Text), ("name", Text), ("type", Text), ("properties", Object(&LOCK_PROPERTIES))],
};

const LOCK_PROPERTIES: Schema = Schema {
    name: "ManagementLockProperties",
    members: &[
        ("level", Choice(&["NotSpecified", "CanNotDelete", "ReadOnly"])),
        ("notes", Text),
        ("owners", List(&LOCK_OWNER)),
    ],
};

const LOCK_OWNER: Schema = Schema { name: "ManagementLockOwner", members: &[("applicationId", Text)] };

/// Source: specification, Microsoft.Resources 2025-04-01, `ResourceGroup`.
pub(super) const RESOURCE_GROUP: Schema = Schema {
    name: "ResourceGroupDefinition",
    members: &[
        ("id", Text),
        ("name", Text),
        ("type", Text),
        ("location", Text),
        ("tags", Texts),
        ("managedBy", Text),
        ("properties", Object(&GROUP_PROPERTIES)),
    ],
};

const GROUP_PROPERTIES: Schema = Schema { name: "ResourceGroupProperties", members: &[("provisioningState", Text)] };
const EXTENDED_LOCATION: Schema = Schema { name: "ExtendedLocation", members: &[("name", Text), ("type", Text)] };
const SUB_RESOURCE: Schema = Schema { name: "SubResource", members: &[("id", Text)] };

const IMAGE_PROPERTIES: Schema = Schema {
    name: "ImageProperties",
    members: &[
        ("sourceVirtualMachine", Object(&SUB_RESOURCE)),
        ("storageProfile", Object(&STORAGE_PROFILE)),
        ("provisioningState", Text),
        ("hyperVGeneration", Choice(&["V1", "V2"])),
    ],
};

const STORAGE_PROFILE: Schema = Schema {
    name: "ImageStorageProfile",
    members: &[("osDisk", Object(&OS_DISK)), ("dataDisks", List(&DATA_DISK)), ("zoneResilient", Flag)],
};

const CACHING: Kind = Choice(&["None", "ReadOnly", "ReadWrite"]);
const STORAGE: Kind = Choice(&[
    "Standard_LRS",
    "Premium_LRS",
    "StandardSSD_LRS",
    "UltraSSD_LRS",
    "Premium_ZRS",
    "StandardSSD_ZRS",
    "PremiumV2_LRS",
]);

const OS_DISK: Schema = Schema {
    name: "OSDisk",
    members: &[
        ("osType", Choice(&["Windows", "Linux"])),
        ("osState", Choice(&["Generalized", "Specialized"])),
        ("snapshot", Object(&SUB_RESOURCE)),
        ("managedDisk", Object(&SUB_RESOURCE)),
        ("blobUri", Text),
        ("caching", CACHING),
        ("diskSizeGB", Number),
        ("storageAccountType", STORAGE),
        ("diskEncryptionSet", Object(&SUB_RESOURCE)),
    ],
};

const DATA_DISK: Schema = Schema {
    name: "DataDisk",
    members: &[
        ("lun", Number),
        ("snapshot", Object(&SUB_RESOURCE)),
        ("managedDisk", Object(&SUB_RESOURCE)),
        ("blobUri", Text),
        ("caching", CACHING),
        ("diskSizeGB", Number),
        ("storageAccountType", STORAGE),
        ("diskEncryptionSet", Object(&SUB_RESOURCE)),
    ],
};

impl Schema {
    /// Rejects members that are unknown or have another type.
    pub(super) fn check(&self, body: &Value) -> Result<(), ArmAnswer> {
        self.check_at(body, "")
    }

    fn check_at(&self, value: &Value, at: &str) -> Result<(), ArmAnswer> {
        let Some(object) = value.as_object() else { return Err(converting(value, at, self.name)) };
        for (name, value) in object {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            let Some((_, kind)) = self.members.iter().find(|(member, _)| member == name) else {
                return Err(unknown(name, self.name, &path));
            };
            // Resource Manager treats null like a missing member.
            if !value.is_null() {
                kind.check_at(value, &path)?;
            }
        }
        Ok(())
    }
}

impl Kind {
    fn check_at(&self, value: &Value, at: &str) -> Result<(), ArmAnswer> {
        let expected = match self {
            Text if value.is_string() => return Ok(()),
            Flag if value.is_boolean() => return Ok(()),
            Number if value.is_i64() => return Ok(()),
            Choice(choices) => match value.as_str() {
                Some(text) if choices.iter().any(|choice| choice.eq_ignore_ascii_case(text)) => return Ok(()),
                Some(text) => return Err(invalid_choice(text, at)),
                None => "String",
            },
            Texts => match value.as_object() {
                Some(texts) if texts.values().all(Value::is_string) => return Ok(()),
                _ => "Dictionary",
            },
            Object(schema) => return schema.check_at(value, at),
            List(schema) => match value.as_array() {
                Some(items) => {
                    return items
                        .iter()
                        .enumerate()
                        .try_for_each(|(n, item)| schema.check_at(item, &format!("{at}[{n}]")));
                }
                None => "List",
            },
            TextList => match value.as_array() {
                Some(items) if items.iter().all(Value::is_string) => return Ok(()),
                _ => "List",
            },
            Text => "String",
            Flag => "Boolean",
            Number => "Int32",
        };
        Err(converting(value, at, expected))
    }
}

/// Source: seen, Azure/azure-sdk-for-net#3487 at the top level, Azure/bicep#17559 below it.
fn unknown(name: &str, object: &str, path: &str) -> ArmAnswer {
    let what =
        format!("Could not find member '{name}' on object of type '{object}'. Path '{path}', line 1, position 1.");
    if path.contains('.') {
        return ArmAnswer::bad_request("InvalidRequestContent", what).target(path);
    }
    let message = format!("The request content was invalid and could not be deserialized: '{what}'.");
    ArmAnswer::bad_request("InvalidRequestContent", message)
}

fn converting(value: &Value, at: &str, expected: &str) -> ArmAnswer {
    let message = format!(
        "The request content was invalid and could not be deserialized: 'Error converting value {value} to type \
         '{expected}'. Path '{at}', line 1, position 1.'."
    );
    ArmAnswer::bad_request("InvalidRequestContent", message).target(at)
}

fn invalid_choice(text: &str, at: &str) -> ArmAnswer {
    let message = format!("The value '{text}' of parameter '{at}' is invalid.");
    ArmAnswer::bad_request("InvalidParameter", message).target(at)
}
