//! Resources with tags of this fleet: those of a group, and the deletion of one that was listed.

use std::collections::BTreeMap;

use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{Resource, ResourceQuery, list_all, wait_until_done};
use goldfleet_snapshots::id::GroupRef;

/// The resources of these types in a group that have all these tags.
pub(crate) async fn list_tagged<const N: usize>(
    ports: &Ports,
    group: &GroupRef,
    types: &[ResourceType],
    wanted: [(&str, String); N],
) -> PortResult<Vec<Resource>> {
    let tags: BTreeMap<String, String> = wanted.map(|(name, value)| (name.to_owned(), value)).into();
    let mut found = Vec::new();
    for &resource_type in types {
        let query = ResourceQuery {
            resource_type,
            subscription: group.subscription,
            resource_group: Some(group.resource_group.clone()),
            tags: tags.clone(),
            parent: None,
            tenant: None,
        };
        found.extend(list_all(ports.resources.as_ref(), ports.clock.as_ref(), &query).await?.resources);
    }
    Ok(found)
}

/// The galleries in a group that have all these tags, with the definitions and versions in them that have these tags. A
/// nested resource comes before its parent, so that all can be deleted in this order.
pub(crate) async fn list_in_galleries<const N: usize>(
    ports: &Ports,
    group: &GroupRef,
    wanted: [(&str, String); N],
) -> PortResult<Vec<Resource>> {
    let (resources, clock) = (ports.resources.as_ref(), ports.clock.as_ref());
    let galleries = list_tagged(ports, group, &[ResourceType::Gallery], wanted.clone()).await?;
    let tags: BTreeMap<String, String> = wanted.map(|(name, value)| (name.to_owned(), value)).into();
    let children = |parent: &ResourceId, resource_type| ResourceQuery {
        resource_type,
        subscription: group.subscription,
        resource_group: Some(group.resource_group.clone()),
        tags: tags.clone(),
        parent: Some(parent.name.clone()),
        tenant: None,
    };
    let mut found = Vec::new();
    for gallery in galleries {
        let definitions = list_all(resources, clock, &children(&gallery.id, ResourceType::Definition)).await?.resources;
        for definition in definitions {
            let versions = children(&definition.id, ResourceType::GalleryVersion);
            found.extend(list_all(resources, clock, &versions).await?.resources);
            found.push(definition);
        }
        found.push(gallery);
    }
    Ok(found)
}

/// A listed resource as it is now. None if it does not exist any more.
pub(crate) async fn look_again(ports: &Ports, listed: &Resource) -> PortResult<Option<Resource>> {
    let look = || ports.resources.get(&listed.id, None);
    ports.retry(look).await
}

/// The unique id of a disk or snapshot.
pub(crate) fn unique_id(resource: &Resource) -> Option<&str> {
    resource.body.properties.disk()?.unique_id.as_deref()
}

/// Deletes a resource, and waits for the end of the deletion.
pub(crate) async fn delete(ports: &Ports, id: &ResourceId) -> PortResult<()> {
    let change = ports.resources.delete(id, None).await?;
    wait_until_done(ports.resources.as_ref(), ports.clock.as_ref(), change).await
}

/// The reason for which a resource is not deleted.
pub(crate) fn refused(code: &str, message: String) -> PortError {
    PortError::new(ErrorKind::Invalid, message).with_code(code)
}
