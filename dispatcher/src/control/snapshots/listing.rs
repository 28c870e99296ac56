//! The snapshots of a resource group, and single snapshots, from the resource port.

use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{Resource, ResourcePage, ResourceQuery};
use goldfleet_snapshots::difference::Evidence;
use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::listing::{Listing, ListingReader};

/// Reads all pages of a group. If a page cannot be read, the listing records this. One page is in memory at a time.
pub async fn list(ports: &Ports, group: &GroupRef) -> Listing {
    let mut reader = ListingReader::new(group.clone());
    let query = ResourceQuery {
        resource_type: ResourceType::Snapshot,
        subscription: group.subscription,
        resource_group: Some(group.resource_group.clone()),
        parent: None,
        tags: std::collections::BTreeMap::new(),
        tenant: None,
    };
    let mut marker = None;
    loop {
        match next_page(ports, &query, marker.as_deref()).await {
            Ok(page) => marker = read(&mut reader, page),
            Err(error) => reader.fail(&error.to_string()),
        }
        if marker.is_none() || reader.has_failed() {
            return reader.finish();
        }
    }
}

async fn next_page(ports: &Ports, query: &ResourceQuery, marker: Option<&str>) -> PortResult<ResourcePage> {
    let read = || ports.resources.list(query, marker);
    ports.retry(read).await
}

/// Adds a page to a listing. Returns the marker of the next page.
fn read(reader: &mut ListingReader, page: ResourcePage) -> Option<String> {
    for item in &page.unreadable {
        let id = item.id.as_ref().and_then(|id| id.to_string().parse().ok());
        reader.unreadable(id, &item.name, &item.reason);
    }
    for resource in page.resources {
        reader.item(&resource.to_json());
    }
    reader.end_page(page.next.is_none());
    page.next
}

/// The result of a request for a snapshot that a complete list of its group does not contain.
pub async fn look_up(ports: &Ports, id: &SnapshotId) -> Evidence {
    let looked = async || {
        let id: ResourceId =
            id.to_string().parse().map_err(|error| PortError::new(ErrorKind::Invalid, format!("{id}: {error}")))?;
        ports.resources.get(&id, None).await
    };
    match ports.retry(looked).await {
        Ok(None) => Evidence::Absent,
        Ok(Some(found)) => present(found),
        Err(error) => Evidence::Unknown(error.to_string()),
    }
}

fn present(found: Resource) -> Evidence {
    match found.body.properties.disk().and_then(|disk| disk.unique_id.as_deref()) {
        Some(unique_id) => Evidence::Present { unique_id: unique_id.to_ascii_lowercase(), tags: found.body.tags },
        None => Evidence::Unknown("the service reports no unique id".to_owned()),
    }
}
