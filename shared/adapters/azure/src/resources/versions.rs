//! The version of the API of each resource type.

use goldfleet_model::resource::ResourceType;

/// The version of the API. Source: the specifications of Microsoft.Compute: ComputeRP for images,
/// machines and restore points, DiskRP for disks and snapshots, GalleryRP for galleries and what is in them.
pub(super) fn api_version(resource_type: ResourceType) -> &'static str {
    match resource_type {
        ResourceType::Image
        | ResourceType::Machine
        | ResourceType::RestorePointCollection
        | ResourceType::RestorePoint => "2025-04-01",
        ResourceType::Disk | ResourceType::Snapshot | ResourceType::DiskRestorePoint => "2025-01-02",
        ResourceType::Gallery | ResourceType::Definition | ResourceType::GalleryVersion => "2024-03-03",
    }
}
