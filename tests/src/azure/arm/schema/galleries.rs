//! Bodies of galleries. Source: specification, GalleryRP 2024-03-03, `Gallery`, `GalleryImage` and
//! `GalleryImageVersion`, as far as goldfleet needs them.

use super::Kind::{Choice, Flag, List, Number, Object, Text, Texts};
use super::{Kind, SUB_RESOURCE, Schema};

macro_rules! body {
    ($name:ident, $properties:ident) => {
        pub(in super::super) const $name: Schema = Schema {
            name: "ResourceDefinition",
            members: &[("location", Text), ("tags", Texts), ("properties", Object(&$properties))],
        };
    };
}

body!(GALLERY, GALLERY_PROPERTIES);
body!(DEFINITION, DEFINITION_PROPERTIES);
body!(VERSION, VERSION_PROPERTIES);
body!(COLLECTION, COLLECTION_PROPERTIES);

/// Source: specification, ComputeRP 2025-04-01, `RestorePoint`, as far as goldfleet needs it.
pub(in super::super) const RESTORE_POINT: Schema =
    Schema { name: "RestorePoint", members: &[("properties", Object(&POINT_PROPERTIES))] };

/// Source: specification, ComputeRP 2025-04-01, `RestorePointCollectionProperties`.
const COLLECTION_PROPERTIES: Schema = Schema {
    name: "RestorePointCollectionProperties",
    members: &[("source", Object(&SUB_RESOURCE)), ("instantAccess", Flag)],
};

const POINT_PROPERTIES: Schema = Schema {
    name: "RestorePointProperties",
    members: &[
        ("excludeDisks", List(&SUB_RESOURCE)),
        ("consistencyMode", Choice(&["CrashConsistent", "FileSystemConsistent", "ApplicationConsistent"])),
        ("sourceRestorePoint", Object(&SUB_RESOURCE)),
    ],
};

const GALLERY_PROPERTIES: Schema =
    Schema { name: "GalleryProperties", members: &[("description", Text), ("softDeletePolicy", Object(&SOFT_DELETE))] };

const SOFT_DELETE: Schema = Schema { name: "SoftDeletePolicy", members: &[("isSoftDeleteEnabled", Flag)] };

const DEFINITION_PROPERTIES: Schema = Schema {
    name: "GalleryImageProperties",
    members: &[
        ("description", Text),
        ("osType", Choice(&["Windows", "Linux"])),
        ("osState", Choice(&["Generalized", "Specialized"])),
        ("hyperVGeneration", Choice(&["V1", "V2"])),
        ("architecture", Choice(&["x64", "Arm64"])),
        ("endOfLifeDate", Text),
        ("identifier", Object(&IDENTIFIER)),
        ("features", List(&FEATURE)),
    ],
};

const IDENTIFIER: Schema =
    Schema { name: "GalleryImageIdentifier", members: &[("publisher", Text), ("offer", Text), ("sku", Text)] };

const FEATURE: Schema =
    Schema { name: "GalleryImageFeature", members: &[("name", Text), ("value", Text), ("startsAtVersion", Text)] };

const VERSION_PROPERTIES: Schema = Schema {
    name: "GalleryImageVersionProperties",
    members: &[
        ("publishingProfile", Object(&PUBLISHING)),
        ("storageProfile", Object(&STORAGE_PROFILE)),
        ("safetyProfile", Object(&SAFETY)),
        ("restore", Flag),
    ],
};

const STORAGE: Kind = Choice(&["Standard_LRS", "Standard_ZRS", "Premium_LRS", "PremiumV2_LRS"]);

const PUBLISHING: Schema = Schema {
    name: "GalleryImageVersionPublishingProfile",
    members: &[
        ("targetRegions", List(&TARGET_REGION)),
        ("replicaCount", Number),
        ("excludeFromLatest", Flag),
        ("endOfLifeDate", Text),
        ("storageAccountType", STORAGE),
        ("replicationMode", Choice(&["Full", "Shallow"])),
    ],
};

const TARGET_REGION: Schema = Schema {
    name: "TargetRegion",
    members: &[
        ("name", Text),
        ("regionalReplicaCount", Number),
        ("storageAccountType", STORAGE),
        ("encryption", Object(&ENCRYPTION_IMAGES)),
        ("excludeFromLatest", Flag),
    ],
};

const ENCRYPTION_IMAGES: Schema = Schema {
    name: "EncryptionImages",
    members: &[("osDiskImage", Object(&DISK_ENCRYPTION)), ("dataDiskImages", List(&DATA_DISK_ENCRYPTION))],
};

const DISK_ENCRYPTION: Schema = Schema { name: "OSDiskImageEncryption", members: &[("diskEncryptionSetId", Text)] };

const DATA_DISK_ENCRYPTION: Schema =
    Schema { name: "DataDiskImageEncryption", members: &[("diskEncryptionSetId", Text), ("lun", Number)] };

const STORAGE_PROFILE: Schema = Schema {
    name: "GalleryImageVersionStorageProfile",
    members: &[
        ("source", Object(&SUB_RESOURCE)),
        ("osDiskImage", Object(&OS_DISK_IMAGE)),
        ("dataDiskImages", List(&DATA_DISK_IMAGE)),
    ],
};

const DATA_DISK_IMAGE: Schema = Schema {
    name: "GalleryDataDiskImage",
    members: &[
        ("lun", Number),
        ("hostCaching", Choice(&["None", "ReadOnly", "ReadWrite"])),
        ("source", Object(&SUB_RESOURCE)),
    ],
};

const OS_DISK_IMAGE: Schema = Schema {
    name: "GalleryOSDiskImage",
    members: &[("hostCaching", Choice(&["None", "ReadOnly", "ReadWrite"])), ("source", Object(&SUB_RESOURCE))],
};

const SAFETY: Schema = Schema {
    name: "GalleryImageVersionSafetyProfile",
    members: &[("allowDeletionOfReplicatedLocations", Flag), ("blockDeletionBeforeEndOfLife", Flag)],
};

/// Source: specification, DiskRP 2025-01-02, `ImageDiskReference`.
pub(super) const IMAGE_REFERENCE: Schema = Schema {
    name: "ImageDiskReference",
    members: &[("id", Text), ("sharedGalleryImageId", Text), ("communityGalleryImageId", Text), ("lun", Number)],
};
