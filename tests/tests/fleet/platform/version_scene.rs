//! Managed images, gallery versions and a machine as sources of dispatches. What they were created from is deleted.

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::platform::request::{PlatformRequest, request_from};
use goldfleet_dispatcher::control::request::Terms;
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::JobId;
use goldfleet_model::image::StorageType;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    CreationData, DiskProperties, ImageDataDisk, ImageProperties, MachineProperties, Properties, ResourceBody,
    ResourceId, ResourceType,
};
use goldfleet_ports::disk_access::{Access, AccessRequest, MAX_ACCESS};
use goldfleet_ports::resources::MachineAction;
use goldfleet_sources::SourceLocation;
use serde_json::{Value, json};

use super::scene::{HOME, SIZE, Scene, id};

/// The LUN of the data disk.
pub(crate) const LUN: u8 = 3;

/// The contents of the OS disk and of the data disk.
pub(crate) type Contents = [blake3::Hash; 2];

impl Scene {
    fn here(properties: Properties) -> ResourceBody {
        ResourceBody::new(HOME.1.parse().unwrap(), properties)
    }

    /// Creates a data disk `data` with other content than the OS disk.
    async fn data_disk(&self) -> ResourceId {
        let disk = id(HOME.0, "build", ResourceType::Disk, "data");
        self.put(&disk, Self::here(Properties::Disk(DiskProperties::new(CreationData::upload(SIZE))))).await;
        let access = AccessRequest { id: disk.clone(), tenant: None, access: Access::Write, duration: MAX_ACCESS };
        self.ports().disk_access.begin(&access).await.unwrap();
        self.write_to(&disk, 7);
        self.ports().disk_access.end(&disk, None).await.unwrap();
        disk
    }

    /// An image of both disks. The snapshots from which it was created are deleted.
    pub(crate) async fn image(&self) -> (ResourceId, Contents) {
        let data = self.data_disk().await;
        let contents = [self.bytes(&self.disk), self.bytes(&data)];
        let (os, data) = (self.snapshot("os", false).await, self.snapshot_of(&data, "data", false).await);
        let caching = serde_json::from_value(json!("None")).unwrap();
        let image = ImageProperties::of_snapshot(&os, OsType::Linux, Generation::V2, StorageType::StandardSsdLrs)
            .with_data_disks([ImageDataDisk::of_snapshot(LUN.into(), &data, caching)]);
        let image_id = id(HOME.0, "build", ResourceType::Image, "theirs");
        self.put(&image_id, Self::here(Properties::Image(image))).await;
        for snapshot in [os, data] {
            self.ports().resources.delete(&snapshot, None).await.unwrap();
        }
        (image_id, contents)
    }

    /// A version of the gallery `theirs`, of which others may read by the permissions. Its snapshots are deleted.
    pub(crate) async fn version(&self, permissions: &str, security: &str) -> (ResourceId, Contents) {
        let data = self.data_disk().await;
        let contents = [self.bytes(&self.disk), self.bytes(&data)];
        let (os, data) = (self.snapshot("os", false).await, self.snapshot_of(&data, "data", false).await);
        let gallery = id(HOME.0, "build", ResourceType::Gallery, "theirs");
        let definition = gallery.child(ResourceType::Definition, &"ubuntu".parse().unwrap());
        let version = definition.child(ResourceType::GalleryVersion, &"1.0.0".parse().unwrap());
        for (id, properties) in [
            (
                &gallery,
                json!({ "sharingProfile": {
                "permissions": permissions, "communityGalleryInfo": { "publicNamePrefix": "theirs" },
            } }),
            ),
            (
                &definition,
                json!({
                    "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2",
                    "identifier": { "publisher": "p", "offer": "o", "sku": "s" },
                    "features": [{ "name": "SecurityType", "value": security }],
                }),
            ),
            (
                &version,
                json!({
                    "publishingProfile": { "targetRegions": [{ "name": HOME.1 }] },
                    "storageProfile": {
                        "osDiskImage": { "source": { "id": os } },
                        "dataDiskImages": [{ "lun": LUN, "source": { "id": data } }],
                    },
                }),
            ),
        ] {
            let value = json!({ "location": HOME.1, "properties": properties });
            self.put(id, ResourceBody::from_json(id.resource_type, value).unwrap()).await;
        }
        for snapshot in [os, data] {
            self.ports().resources.delete(&snapshot, None).await.unwrap();
        }
        (version, contents)
    }

    /// A machine with both disks, which does not run.
    pub(crate) async fn machine(&self) -> (ResourceId, Contents) {
        let data = self.data_disk().await;
        let contents = [self.bytes(&self.disk), self.bytes(&data)];
        let attached = |disk: &ResourceId| json!({ "createOption": "Attach", "managedDisk": { "id": disk } });
        let mut os = attached(&self.disk);
        os["osType"] = json!("Linux");
        let mut data = attached(&data);
        data["lun"] = json!(LUN);
        let properties: MachineProperties = serde_json::from_value(json!({
            "hardwareProfile": { "vmSize": "Standard_D2s_v5" },
            "storageProfile": { "osDisk": os, "dataDisks": [data] },
        }))
        .unwrap();
        let machine = id(HOME.0, "build", ResourceType::Machine, "web");
        self.put(&machine, Self::here(Properties::Machine(Box::new(properties)))).await;
        self.ports().resources.act(&machine, MachineAction::Deallocate, None).await.unwrap();
        (machine, contents)
    }

    /// Requests version 1 of a source as the command does.
    pub(crate) async fn try_request_from(&self, from: &str) -> Result<JobId, ControlError> {
        self.try_request_system(from, (None, None)).await
    }

    /// As [`Scene::try_request_from`], with the options that state the system.
    pub(crate) async fn try_request_system(
        &self,
        from: &str,
        (os, generation): (Option<OsType>, Option<Generation>),
    ) -> Result<JobId, ControlError> {
        let from = SourceLocation::parse(from, &ToString::to_string).unwrap();
        let (image, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
        let request = PlatformRequest { from, image, version, os, generation };
        let control = self.fleet.control_with_own_ports();
        Ok(request_from(&control, &request, &[], Terms::default()).await?.job.id)
    }

    /// The code with which a source is refused.
    pub(crate) async fn refusal_of(&self, from: &str) -> &'static str {
        match self.try_request_from(from).await.unwrap_err() {
            ControlError::Source(refusal) => refusal.code.name,
            other => panic!("{other}"),
        }
    }

    /// Asserts that each target has both disks in each of these, with their bytes, and that nothing temporary is left.
    pub(crate) async fn assert_received_disks(&self, contents: &Contents, types: &[ResourceType]) {
        for target in self.targets() {
            for &resource_type in types {
                let received = self.received(&target, resource_type);
                assert_eq!(self.bytes(&received), contents[0], "{received}");
                let data = match resource_type {
                    ResourceType::Image => self.content(&received).with_extension(format!("disk-{LUN}")),
                    _ => {
                        let name = format!("{}-{}", received.name, DiskRole::Data(LUN)).parse().unwrap();
                        self.content(&ResourceId { name, ..received.clone() })
                    }
                };
                assert_eq!(self.bytes_of(&data), contents[1], "{}", data.display());
                if resource_type == ResourceType::Image {
                    let image: Value = self.read_json(&received);
                    assert_eq!(image["properties"]["storageProfile"]["dataDisks"][0]["lun"], LUN, "{image:#}");
                }
            }
        }
        self.assert_no_temporaries().await;
    }
}
