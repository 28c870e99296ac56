//! The measurements of gallery versions: a gallery with one version, in the first place.

use goldfleet_galleries::converge::{Reported, reported};
use goldfleet_machines::request::Place;
use goldfleet_model::resource::{Properties, ResourceId, ResourceType};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use serde_json::json;

use super::steps::{Prober, verdict};
use super::temporaries::{PAUSE, POLLS};

/// The name of the definition in the gallery of the probe.
const DEFINITION: &str = "probe";

/// A version can be used some minutes after its replication. Until then, the service refuses disks with this code.
const NOT_YET: &str = "gallery-image-not-found";

/// The number of attempts to create a disk of a version: ten minutes.
const USES: usize = 60;

/// The name of its version.
const VERSION: &str = "1.0.0";

impl Prober<'_> {
    /// A shallow version of an incremental snapshot, and a disk of it. A shallow version is only in its own region,
    /// with one replica. Source: Azure, azure-compute-gallery.
    pub(super) async fn gallery(&mut self, snapshot: &ResourceId) {
        self.say("creating a gallery with a version; the service takes some minutes");
        let made = self.version(snapshot).await;
        let version = made.as_ref().ok().cloned();
        self.record("gallery-from-incremental", verdict(made.map(|id| id.to_string())));
        let Some(version) = version else { return };
        let disk = self.disk_of(&version).await;
        self.record("gallery-shallow-disk", verdict(disk.map(|id| id.to_string())));
    }

    async fn version(&mut self, snapshot: &ResourceId) -> PortResult<ResourceId> {
        let Place { region, .. } = &self.request.first;
        let gallery = self.gallery_id()?;
        let unnamed = |error| PortError::new(ErrorKind::Invalid, format!("{gallery}: {error}"));
        let definition = gallery.child(ResourceType::Definition, &DEFINITION.parse().map_err(unnamed)?);
        let version = definition.child(ResourceType::GalleryVersion, &VERSION.parse().map_err(unnamed)?);
        // Without a gallery or definition, no version was requested.
        let unasked = |error: PortError| PortError { kind: ErrorKind::Unavailable, ..error };
        let body = json!({ "location": region, "properties": {} });
        self.temporaries.create(&gallery, body).await.map_err(unasked)?;
        let body = json!({ "location": region, "properties": {
            "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "architecture": "x64",
            "identifier": { "publisher": "goldfleet", "offer": "probe", "sku": "probe" },
            "features": [{ "name": "SecurityType", "value": "Standard" }],
        } });
        self.temporaries.create(&definition, body).await.map_err(unasked)?;
        let target = json!({ "name": region, "regionalReplicaCount": 1, "storageAccountType": "Standard_LRS" });
        let body = json!({ "location": region, "properties": {
            "storageProfile": { "osDiskImage": { "source": { "id": snapshot.to_string() } } },
            "publishingProfile": { "targetRegions": [target], "replicationMode": "Shallow" },
        } });
        self.temporaries.create(&version, body).await?;
        self.replicated(&version).await?;
        Ok(version)
    }

    /// The id of the gallery. Source: Azure, naming rules: the name of a gallery has letters, digits, dots and
    /// underscores.
    fn gallery_id(&self) -> PortResult<ResourceId> {
        let named = self.temporaries.id(&self.request.first, ResourceType::Gallery, "gallery")?;
        let name = named.name.as_str().replace('-', "_");
        let name = name.parse().map_err(|error| PortError::new(ErrorKind::Invalid, format!("{name}: {error}")))?;
        Ok(ResourceId { name, ..named })
    }

    /// Waits until a version is complete in its region.
    async fn replicated(&self, version: &ResourceId) -> PortResult<()> {
        let region = self.request.first.region.as_str();
        for _ in 0..POLLS {
            let found = self.temporaries.existing(version).await?;
            let Properties::GalleryVersion(properties) = &found.body.properties else { return Ok(()) };
            match reported(properties, region) {
                Reported::Completed => return Ok(()),
                Reported::Failed(reason) => {
                    let message = format!("{version}: its replication failed: {reason}");
                    return Err(PortError::new(ErrorKind::Unavailable, message));
                }
                Reported::Missing | Reported::Replicating(_) => {}
            }
            self.temporaries.control.ports.clock.sleep(PAUSE).await;
        }
        Err(PortError::new(ErrorKind::Unavailable, format!("{version}: it was not complete in half an hour")))
    }

    async fn disk_of(&mut self, version: &ResourceId) -> PortResult<ResourceId> {
        let place = &self.request.first;
        let id = self.temporaries.id(place, ResourceType::Disk, "of-version")?;
        let origin = json!({ "createOption": "FromImage", "galleryImageReference": { "id": version.to_string() } });
        let body = json!({
            "location": place.region, "sku": { "name": "Standard_LRS" }, "properties": { "creationData": origin },
        });
        for _ in 0..USES {
            match self.temporaries.create(&id, body.clone()).await {
                Err(error) if error.code == NOT_YET => self.temporaries.control.ports.clock.sleep(PAUSE).await,
                created => return created.map(|_| id),
            }
        }
        let message = format!("{version}: it could not be used for ten minutes after its replication had ended");
        Err(PortError::new(ErrorKind::Unavailable, message))
    }
}
