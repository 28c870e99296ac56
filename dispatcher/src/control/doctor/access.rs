//! The permissions that the process needs, and the roles that grant them.

use goldfleet_ports::inspector::Permissions;

/// A required permission: an action, and whether it is a data action.
pub(super) struct Needed {
    action: &'static str,
    on_data: bool,
}

impl Needed {
    /// The action.
    pub(super) fn name(&self) -> &'static str {
        self.action
    }
}

const fn action(action: &'static str) -> Needed {
    Needed { action, on_data: false }
}

const fn data(action: &'static str) -> Needed {
    Needed { action, on_data: true }
}

/// For a resource group with managed images.
pub(super) const IMAGES: [Needed; 3] = [
    action("Microsoft.Compute/images/read"),
    action("Microsoft.Compute/images/write"),
    action("Microsoft.Compute/images/delete"),
];

/// For a container whose blobs are read and written: Storage Blob Data Contributor.
pub(super) const BLOBS: [Needed; 5] = [
    action("Microsoft.Storage/storageAccounts/blobServices/containers/write"),
    data("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"),
    data("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"),
    data("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action"),
    data("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete"),
];

/// For a disk encryption set that an image names.
pub(super) const ENCRYPTION: [Needed; 1] = [action("Microsoft.Compute/diskEncryptionSets/read")];

/// For an account from whose blobs images are created.
pub(super) const SOURCES: [Needed; 2] =
    [action("Microsoft.Storage/storageAccounts/read"), action("Microsoft.Storage/storageAccounts/listKeys/action")];

/// For the resource group of the source snapshots of a sync.
pub(super) const SNAPSHOT_SOURCES: [Needed; 2] =
    [action("Microsoft.Compute/snapshots/read"), action("Microsoft.Compute/snapshots/beginGetAccess/action")];

/// In addition, for source snapshots that are exported to another tenant.
pub(super) const EXPORT_SOURCES: [Needed; 1] = [action("Microsoft.Compute/snapshots/endGetAccess/action")];

/// In addition, for a resource group in another tenant: the temporary disks that are filled there.
pub(super) const EXPORTED_DISKS: [Needed; 6] = [
    action("Microsoft.Compute/disks/read"),
    action("Microsoft.Compute/disks/write"),
    action("Microsoft.Compute/disks/delete"),
    action("Microsoft.Compute/disks/beginGetAccess/action"),
    action("Microsoft.Compute/disks/endGetAccess/action"),
    action("Microsoft.Authorization/locks/read"),
];

/// For a resource group with replicas. A copy that failed is deleted, also if the rules delete no replica.
pub(super) const REPLICAS: [Needed; 3] = [
    action("Microsoft.Compute/snapshots/read"),
    action("Microsoft.Compute/snapshots/write"),
    action("Microsoft.Compute/snapshots/delete"),
];

/// In addition, for replicas that are deleted: whether a lock protects them is checked before.
pub(super) const REPLICA_REMOVAL: [Needed; 1] = [action("Microsoft.Authorization/locks/read")];

/// In addition, for replicas with locks.
pub(super) const LOCKS: [Needed; 3] = [
    action("Microsoft.Authorization/locks/read"),
    action("Microsoft.Authorization/locks/write"),
    action("Microsoft.Authorization/locks/delete"),
];

/// For a resource group with temporary disks and snapshots.
pub(super) const SCRATCH: [Needed; 7] = [
    action("Microsoft.Compute/disks/read"),
    action("Microsoft.Compute/disks/write"),
    action("Microsoft.Compute/disks/delete"),
    action("Microsoft.Compute/snapshots/read"),
    action("Microsoft.Compute/snapshots/write"),
    action("Microsoft.Compute/snapshots/delete"),
    action("Microsoft.Authorization/locks/read"),
];

/// For a hub, besides [`SCRATCH`]: a disk is filled by direct upload.
pub(super) const UPLOADS: [Needed; 2] =
    [action("Microsoft.Compute/disks/beginGetAccess/action"), action("Microsoft.Compute/disks/endGetAccess/action")];

/// For the resource group of a gallery, besides [`SCRATCH`]: a version is created from a temporary snapshot, and a
/// temporary disk proves that it can be used in a region.
pub(super) const GALLERY: [Needed; 4] = [
    action("Microsoft.Compute/galleries/read"),
    action("Microsoft.Compute/galleries/images/read"),
    action("Microsoft.Compute/galleries/images/versions/read"),
    action("Microsoft.Compute/galleries/images/versions/write"),
];

/// In addition, if image definitions are created.
pub(super) const DEFINITIONS: [Needed; 1] = [action("Microsoft.Compute/galleries/images/write")];

/// For a managed image that is read by a temporary gallery version.
pub(super) const IMAGE_READ: [Needed; 1] = [action("Microsoft.Compute/images/read")];

/// For the temporary gallery, definition and version of an image.
pub(super) const TEMPORARY_GALLERY: [Needed; 9] = [
    action("Microsoft.Compute/galleries/read"),
    action("Microsoft.Compute/galleries/write"),
    action("Microsoft.Compute/galleries/delete"),
    action("Microsoft.Compute/galleries/images/read"),
    action("Microsoft.Compute/galleries/images/write"),
    action("Microsoft.Compute/galleries/images/delete"),
    action("Microsoft.Compute/galleries/images/versions/read"),
    action("Microsoft.Compute/galleries/images/versions/write"),
    action("Microsoft.Compute/galleries/images/versions/delete"),
];

/// For a gallery version that is a source.
pub(super) const GALLERY_READ: [Needed; 2] =
    [action("Microsoft.Compute/galleries/images/read"), action("Microsoft.Compute/galleries/images/versions/read")];

/// For a machine that is a source.
pub(super) const MACHINE_READ: [Needed; 1] = [action("Microsoft.Compute/virtualMachines/read")];

/// In addition, for `vm clone --stop`.
pub(super) const MACHINE_POWER: [Needed; 2] = [
    action("Microsoft.Compute/virtualMachines/deallocate/action"),
    action("Microsoft.Compute/virtualMachines/start/action"),
];

/// For `vm clone --live`.
pub(super) const RESTORE_POINTS: [Needed; 5] = [
    action("Microsoft.Compute/restorePointCollections/read"),
    action("Microsoft.Compute/restorePointCollections/write"),
    action("Microsoft.Compute/restorePointCollections/delete"),
    action("Microsoft.Compute/restorePointCollections/restorePoints/read"),
    action("Microsoft.Compute/restorePointCollections/restorePoints/write"),
];

/// For the group of a clone.
pub(super) const CLONES: [Needed; 5] = [
    action("Microsoft.Compute/virtualMachines/read"),
    action("Microsoft.Compute/virtualMachines/write"),
    action("Microsoft.Network/networkInterfaces/write"),
    action("Microsoft.Network/networkInterfaces/join/action"),
    action("Microsoft.Compute/snapshots/beginGetAccess/action"),
];

/// For the checks before a deletion.
pub(super) const LOCKS_READ: [Needed; 1] = [action("Microsoft.Authorization/locks/read")];

/// For access to disks and snapshots, which only the probe and sources in the cloud need.
pub(super) const ACCESS: [Needed; 4] = [
    action("Microsoft.Compute/disks/beginGetAccess/action"),
    action("Microsoft.Compute/disks/endGetAccess/action"),
    action("Microsoft.Compute/snapshots/beginGetAccess/action"),
    action("Microsoft.Compute/snapshots/endGetAccess/action"),
];

/// In addition, for the gallery that the probe creates and deletes.
const PROBED_GALLERY: [Needed; 4] = [
    action("Microsoft.Compute/galleries/write"),
    action("Microsoft.Compute/galleries/delete"),
    action("Microsoft.Compute/galleries/images/delete"),
    action("Microsoft.Compute/galleries/images/versions/delete"),
];

/// For a place of the probe.
pub(super) fn of_probe() -> impl Iterator<Item = &'static Needed> {
    SCRATCH.iter().chain(&IMAGES).chain(&ACCESS).chain(&GALLERY).chain(&DEFINITIONS).chain(&PROBED_GALLERY)
}

/// The required actions that are not allowed.
pub(super) fn missing<'n>(
    permissions: &Permissions,
    needed: impl IntoIterator<Item = &'n Needed>,
) -> Vec<&'static str> {
    let allowed = |needed: &&Needed| {
        if needed.on_data { permissions.allow_data(needed.action) } else { permissions.allow(needed.action) }
    };
    needed.into_iter().filter(|needed| !allowed(needed)).map(|needed| needed.action).collect()
}
