//! Lists of resources.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_model::ids::ResourceGroup;
use goldfleet_model::resource::{ResourceId, ResourceType};
use uuid::Uuid;

use super::{ResourceSuite, tags};
use crate::clock::SystemClock;
use crate::resources::{PutRequest, ResourceQuery, list_all};

impl ResourceSuite<'_> {
    /// Runs the part of the suite about lists.
    pub async fn lists(self) {
        self.lists_are_by_group_type_and_tag().await;
        self.list_equals_reads().await;
        self.empty_group_has_empty_list().await;
    }

    async fn list(self, resource_type: ResourceType, group: Option<&ResourceGroup>, job: &str) -> BTreeSet<ResourceId> {
        let query = self.query(resource_type, group, tags(job));
        let found = list_all(self.resources, &SystemClock, &query).await.expect("a list");
        assert_eq!((found.next, found.unreadable), (None, Vec::new()));
        let ids: BTreeSet<ResourceId> = found.resources.iter().map(|resource| resource.id.clone()).collect();
        assert_eq!(ids.len(), found.resources.len(), "each resource is listed once");
        ids
    }

    fn query(
        self,
        resource_type: ResourceType,
        group: Option<&ResourceGroup>,
        tags: BTreeMap<String, String>,
    ) -> ResourceQuery {
        let subscription = self.location.subscription;
        ResourceQuery { resource_type, subscription, resource_group: group.cloned(), parent: None, tags, tenant: None }
    }

    /// A list has all resources of a type, in one resource group or in all of them, that have the tags.
    pub async fn lists_are_by_group_type_and_tag(self) {
        let (mine, other) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        let (group, other_group) = (&self.location.resource_group, &self.location.other_group);
        let mut made = BTreeMap::<(&str, &str), BTreeSet<ResourceId>>::new();
        for (place, group) in [("here", group), ("there", other_group)] {
            for (tag, job) in [("mine", &mine), ("mine", &mine), ("mine", &mine), ("other", &other)] {
                let request = self.upload_disk();
                let id = ResourceId { resource_group: group.clone(), ..request.id };
                let request = PutRequest { id: id.clone(), body: request.body.with_tags(tags(job)), ..request };
                self.put(&request).await.expect("a disk");
                made.entry((place, tag)).or_default().insert(id);
            }
        }
        let disk = ResourceType::Disk;
        assert_eq!(self.list(disk, Some(group), &mine).await, made[&("here", "mine")]);
        assert_eq!(self.list(disk, Some(other_group), &other).await, made[&("there", "other")]);
        let everywhere = &made[&("here", "mine")] | &made[&("there", "mine")];
        assert_eq!(self.list(disk, None, &mine).await, everywhere);
        assert_eq!(self.list(ResourceType::Snapshot, None, &mine).await, BTreeSet::new());
        let loud: ResourceGroup = group.as_str().to_uppercase().parse().expect("a resource group");
        assert_eq!(self.list(disk, Some(&loud), &mine).await, made[&("here", "mine")]);
    }

    /// A list has the same information as a read of each resource.
    pub async fn list_equals_reads(self) {
        let job = Uuid::new_v4().to_string();
        let image = self.image_of(&self.new_vhd().await);
        let snapshot = self.snapshot_of(&self.new_disk().await.id, true);
        for request in [image, snapshot] {
            let request = PutRequest { body: request.body.clone().with_tags(tags(&job)), ..request };
            self.put(&request).await.expect("a resource");
            let query = self.query(request.id.resource_type, None, tags(&job));
            let found = list_all(self.resources, &SystemClock, &query).await.expect("a list").resources;
            assert_eq!(found, [self.existing(&request.id).await]);
        }
    }

    /// A resource group without resources has an empty list.
    pub async fn empty_group_has_empty_list(self) {
        let query = self.query(ResourceType::Snapshot, Some(&self.location.other_group), tags("nobody's"));
        let page = self.resources.list(&query, None).await.expect("a list");
        assert_eq!((page.resources, page.next), (Vec::new(), None));
    }
}
