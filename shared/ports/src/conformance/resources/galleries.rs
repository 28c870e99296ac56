//! Galleries, image definitions and gallery versions.

use std::time::Duration;

use goldfleet_model::ids::{Region, ResourceName};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    CreationData, DefinitionProperties, DiskProperties, GalleryFeature, GalleryIdentifier, GalleryProperties,
    GalleryVersionProperties, Properties, PublishingProfile, ReplicationState, ResourceBody, ResourceId, ResourceType,
    SafetyProfile, TargetRegion, VersionDisk, VersionSource, VersionStorage,
};
use serde_json::Map;
use uuid::Uuid;

use super::{MAX_READS, ResourceSuite, refused_as, tags};
use crate::error::{ErrorKind, PortResult};
use crate::resources::emulation::galleries::NOT_IN_REGION;
use crate::resources::{ChangeStatus, PutMode, PutRequest, Resource, ResourceQuery};

fn name(text: &str) -> ResourceName {
    text.parse().expect("a name")
}

fn region(region: &Region, excluded: bool) -> TargetRegion {
    TargetRegion {
        name: region.as_str().to_owned(),
        regional_replica_count: Some(1),
        storage_account_type: Some("Standard_LRS".to_owned()),
        exclude_from_latest: Some(excluded),
        ..TargetRegion::default()
    }
}

fn definition(os: OsType, security: &str) -> DefinitionProperties {
    let sku = Uuid::new_v4().simple().to_string();
    DefinitionProperties {
        os_type: Some(os),
        os_state: Some("Generalized".to_owned()),
        hyper_v_generation: Some(Generation::V2),
        architecture: Some("x64".to_owned()),
        identifier: Some(GalleryIdentifier { publisher: "suite".to_owned(), offer: "suite".to_owned(), sku }),
        features: vec![GalleryFeature {
            name: "SecurityType".to_owned(),
            value: security.to_owned(),
            other: Map::new(),
        }],
        other: Map::new(),
    }
}

/// Waits between two reads, longer the more there were.
async fn pause(reads: u32) {
    tokio::time::sleep(Duration::from_millis(50 << reads.min(9))).await;
}

fn version_of(resource: &Resource) -> &GalleryVersionProperties {
    resource.body.properties.gallery_version().expect("a gallery version")
}

impl ResourceSuite<'_> {
    /// Runs the part of the suite about galleries.
    pub async fn galleries(self) {
        self.version_is_created_in_its_definition().await;
        self.version_becomes_usable_in_its_regions().await;
        self.regions_and_latest_can_be_changed().await;
        self.nested_resources_need_their_parents().await;
        self.immutable_properties_of_a_definition_are_named().await;
        self.source_and_name_of_a_version_are_checked().await;
        self.parent_with_children_is_not_deleted().await;
    }

    fn gallery_request(self, id: ResourceId, properties: Properties) -> PutRequest {
        let body = ResourceBody::new(self.location.region.clone(), properties).with_tags(tags("suite"));
        PutRequest { id, tenant: None, mode: PutMode::CreateOrUpdate, body }
    }

    /// A gallery. Its name has no hyphen.
    async fn new_gallery(self) -> ResourceId {
        let name = name(&format!("conformance_{}", Uuid::new_v4().simple()));
        let id = ResourceId { name, ..self.new_id(ResourceType::Gallery) };
        self.put(&self.gallery_request(id.clone(), Properties::Gallery(GalleryProperties::default())))
            .await
            .expect("a gallery");
        id
    }

    fn definition_in(self, gallery: &ResourceId, properties: DefinitionProperties) -> PutRequest {
        let id = gallery.child(ResourceType::Definition, &name("ubuntu-24.04"));
        self.gallery_request(id, Properties::Definition(Box::new(properties)))
    }

    async fn new_definition(self) -> ResourceId {
        let request = self.definition_in(&self.new_gallery().await, definition(OsType::Linux, "TrustedLaunch"));
        self.put(&request).await.expect("a definition");
        request.id
    }

    /// A snapshot with content.
    async fn new_source(self) -> ResourceId {
        let request = self.snapshot_of(&self.new_disk().await.id, false);
        self.put(&request).await.expect("a snapshot");
        self.arrived(&request.id).await.id
    }

    fn version_in(self, definition: &ResourceId, own: &str, source: &ResourceId) -> PutRequest {
        let disk = VersionDisk { source: Some(VersionSource::of(source)), ..VersionDisk::default() };
        let version = GalleryVersionProperties {
            publishing_profile: Some(PublishingProfile {
                target_regions: vec![region(&self.location.region, true)],
                exclude_from_latest: Some(true),
                replication_mode: Some("Full".to_owned()),
                ..PublishingProfile::default()
            }),
            storage_profile: Some(VersionStorage { os_disk_image: Some(disk), ..VersionStorage::default() }),
            safety_profile: Some(SafetyProfile {
                allow_deletion_of_replicated_locations: Some(true),
                other: Map::new(),
            }),
            ..GalleryVersionProperties::default()
        };
        let id = definition.child(ResourceType::GalleryVersion, &name(own));
        self.gallery_request(id, Properties::GalleryVersion(Box::new(version)))
    }

    async fn new_version(self) -> Resource {
        let (definition, source) = (self.new_definition().await, self.new_source().await);
        let request = self.version_in(&definition, "1.0.10", &source);
        self.put_version(&request).await.expect("a version");
        self.existing(&request.id).await
    }

    /// Begins a change of a version. Its end is that of the replication, so only what the service refuses at once is
    /// awaited.
    async fn put_version(self, request: &PutRequest) -> PortResult<()> {
        match self.resources.put(request).await? {
            ChangeStatus::Failed(error) => Err(error),
            ChangeStatus::Done | ChangeStatus::Pending(_) => Ok(()),
        }
    }

    /// Reads a version until its replication to a region is complete.
    async fn replicated(self, id: &ResourceId, region: &Region) -> Resource {
        for read in 0..MAX_READS {
            let found = self.existing(id).await;
            let state = version_of(&found).replication(region).map(|found| found.state.clone());
            if state == Some(ReplicationState::Completed) {
                return found;
            }
            pause(read).await;
        }
        panic!("{id} is not replicated to {region}");
    }

    /// A disk of a version in a region. It is requested until the version can be used there.
    async fn disk_of(self, version: &ResourceId, region: &Region) -> Resource {
        let mut request = self.request(Properties::Disk(DiskProperties::new(CreationData::from_version(version))));
        request.body.region = region.clone();
        for read in 0..MAX_READS {
            match self.put(&request).await {
                Ok(()) => return self.existing(&request.id).await,
                Err(error) if error.code == NOT_IN_REGION => pause(read).await,
                Err(error) => panic!("{error:?}"),
            }
        }
        panic!("{version} cannot be used in {region}");
    }

    /// A version has what its request names, and is listed in its definition, and the definition in its gallery.
    pub async fn version_is_created_in_its_definition(self) {
        let version = self.new_version().await;
        let properties = version_of(&version);
        assert!(properties.is_excluded(), "{properties:?}");
        assert!(properties.source().is_some(), "{properties:?}");
        assert_eq!(version.body.tags, tags("suite"));
        let definition = version.id.parent().expect("a definition");
        let gallery = definition.parent().expect("a gallery");
        for (id, parent) in [(&version.id, &definition), (&definition, &gallery)] {
            let query = ResourceQuery {
                resource_type: id.resource_type,
                subscription: id.subscription,
                resource_group: Some(id.resource_group.clone()),
                parent: Some(parent.name.clone()),
                tags: tags("suite"),
                tenant: None,
            };
            let page = self.resources.list(&query, None).await.expect("a list");
            assert!(page.unreadable.is_empty(), "{page:?}");
            assert_eq!(page.resources.iter().map(|found| &found.id).collect::<Vec<_>>(), [id]);
            let orphaned = ResourceQuery { parent: None, ..query };
            self.resources.list(&orphaned, None).await.expect_err("a list without a parent");
        }
    }

    /// A region is complete before or when a disk of the version can be created there, and the version outlives its
    /// source.
    pub async fn version_becomes_usable_in_its_regions(self) {
        let version = self.new_version().await;
        let here = &self.location.region;
        self.replicated(&version.id, here).await;
        let source: ResourceId = version_of(&version).source().expect("a source").parse().expect("an id");
        self.delete(&source).await.expect("the source is not needed any more");
        let disk = self.disk_of(&version.id, here).await;
        assert_eq!(disk.body.region, *here);
        assert!(disk.body.properties.disk().is_some_and(|disk| disk.unique_id.is_some()), "{disk:?}");
        let mut elsewhere =
            self.request(Properties::Disk(DiskProperties::new(CreationData::from_version(&version.id))));
        elsewhere.body.region = self.location.other_region.clone();
        refused_as(self.put(&elsewhere).await, ErrorKind::NotFound, NOT_IN_REGION);
        assert_eq!(self.find(&elsewhere.id).await, None);
    }

    /// Regions are added and removed, and a version becomes the latest one.
    pub async fn regions_and_latest_can_be_changed(self) {
        let mut version = self.new_version().await;
        let (here, other) = (&self.location.region, &self.location.other_region);
        self.replicated(&version.id, here).await;
        for regions in [vec![here, other], vec![here], vec![here, other]] {
            let body = version.body.properties.gallery_version_mut().expect("a version");
            let profile = body.publishing_profile.as_mut().expect("a profile");
            profile.target_regions = regions.iter().map(|name| region(name, false)).collect();
            profile.exclude_from_latest = Some(false);
            let request = self.gallery_request(version.id.clone(), version.body.properties.clone());
            self.put_version(&request).await.expect("other regions");
            for name in &regions {
                version = self.replicated(&version.id, name).await;
                assert!(version_of(&version).may_be_latest(name), "{version:?}");
            }
            assert_eq!(version_of(&version).regions().len(), regions.len());
        }
        self.disk_of(&version.id, other).await;
    }

    /// A definition needs a gallery, and a version a definition.
    pub async fn nested_resources_need_their_parents(self) {
        let missing = ResourceId { name: name("missing"), ..self.new_id(ResourceType::Gallery) };
        let request = self.definition_in(&missing, definition(OsType::Linux, "Standard"));
        let refusal = self.put(&request).await.expect_err("a refusal");
        assert_eq!(refusal.kind, ErrorKind::NotFound, "{refusal:?}");
        assert_eq!(self.find(&request.id).await, None);
        let version = self.version_in(&request.id, "1.0.0", &self.new_source().await);
        let refusal = self.put_version(&version).await.expect_err("a refusal");
        assert_eq!(refusal.kind, ErrorKind::NotFound, "{refusal:?}");
        assert_eq!(self.find(&version.id).await, None);
    }

    /// A property of a definition that cannot change is named in the refusal.
    pub async fn immutable_properties_of_a_definition_are_named(self) {
        let first = definition(OsType::Linux, "TrustedLaunch");
        let request = self.definition_in(&self.new_gallery().await, first.clone());
        self.put(&request).await.expect("a definition");
        self.put(&request).await.expect("the same definition");
        let same = |change: fn(&mut DefinitionProperties)| {
            let mut changed = first.clone();
            change(&mut changed);
            PutRequest {
                body: ResourceBody { properties: Properties::Definition(Box::new(changed)), ..request.body.clone() },
                ..request.clone()
            }
        };
        for (changed, property) in [
            (same(|of| of.os_type = Some(OsType::Windows)), "osType"),
            (same(|of| of.hyper_v_generation = Some(Generation::V1)), "hyperVGeneration"),
            (same(|of| of.architecture = Some("Arm64".to_owned())), "architecture"),
        ] {
            let refusal = self.put(&changed).await.expect_err(property);
            assert_eq!((refusal.kind, refusal.code.as_str()), (ErrorKind::Invalid, "property-change-not-allowed"));
            assert!(refusal.message.contains(property), "{refusal:?}");
        }
    }

    /// A version needs an existing source in its region, a name of three numbers, and its own region. Its source does
    /// not change.
    pub async fn source_and_name_of_a_version_are_checked(self) {
        let version = self.new_version().await;
        let definition = version.id.parent().expect("a definition");
        let snapshot = self.new_source().await;
        let other = self.version_in(&definition, version.id.name.own(), &snapshot);
        refused_as(self.put_version(&other).await, ErrorKind::Invalid, "property-change-not-allowed");
        let missing = self.version_in(&definition, "1.0.11", &self.new_id(ResourceType::Snapshot));
        let bad_name = self.version_in(&definition, "1.0", &snapshot);
        let mut homeless = self.version_in(&definition, "1.0.12", &snapshot);
        let body = homeless.body.properties.gallery_version_mut().expect("a version");
        body.publishing_profile.as_mut().expect("a profile").target_regions =
            vec![region(&self.location.other_region, true)];
        for request in [missing, bad_name, homeless] {
            self.put_version(&request).await.expect_err("a refusal");
            assert_eq!(self.find(&request.id).await, None, "{}", request.id);
        }
    }

    /// A definition with versions is not deleted.
    pub async fn parent_with_children_is_not_deleted(self) {
        let version = self.new_version().await;
        self.replicated(&version.id, &self.location.region).await;
        let definition = version.id.parent().expect("a definition");
        let refusal = self.delete(&definition).await.expect_err("a refusal");
        assert_eq!(refusal.kind, ErrorKind::Conflict, "{refusal:?}");
        for id in [&version.id, &definition] {
            self.delete(id).await.expect("a deletion");
            assert_eq!(self.find(id).await, None);
        }
    }
}
