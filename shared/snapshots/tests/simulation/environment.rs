//! What others do: they create, delete, recreate and tag sources, take names, and lock and delete replicas.

use goldfleet_snapshots::id::SnapshotId;
use goldfleet_snapshots::remove::Lock;
use goldfleet_snapshots::rules::Rules;

use crate::invariants::TRIGGER;
use crate::service::Service;
use crate::world::{Thing, World};

/// One action.
pub(crate) fn act(service: &mut Service, rules: &Rules) {
    let group = rules.source.clone();
    let sources: Vec<SnapshotId> = service.world.in_group(&group).map(|thing| thing.id.clone()).collect();
    let replicas: Vec<SnapshotId> = service
        .world
        .snapshots
        .values()
        .filter(|thing| !thing.foreign && thing.tag("goldfleet-role") == Some("replica"))
        .map(|thing| thing.id.clone())
        .collect();
    let (source, replica) = (service.rng.pick(&sources), service.rng.pick(&replicas));
    let action = service.rng.number(0..20);
    service.log(|| format!("others {action} {source:?} {replica:?}"));
    match (action, source, replica) {
        (0..=5, ..) | (_, None, _) => create(service, rules, None),
        (6 | 7, Some(id), _) => drop(service.world.snapshots.remove(&id.key())),
        (8 | 9, Some(id), _) => {
            service.world.snapshots.remove(&id.key());
            create(service, rules, Some(id.name));
        }
        (10 | 11, Some(id), _) => {
            service.world.snapshots.get_mut(&id.key()).unwrap().tags.remove(TRIGGER.0);
        }
        (12 | 13, Some(id), _) => {
            let tags = &mut service.world.snapshots.get_mut(&id.key()).unwrap().tags;
            tags.insert(TRIGGER.0.to_owned(), TRIGGER.1.to_owned());
        }
        (14, Some(id), _) => take_name(service, rules, &id.name),
        (15, _, Some(id)) => drop(service.world.snapshots.remove(&id.key())),
        (16 | 17, _, Some(id)) => {
            let name = "audit".to_owned();
            let lock = Lock { id: format!("{}/locks/{name}", id.group), name, level: "CanNotDelete".to_owned() };
            service.world.snapshots.get_mut(&id.key()).unwrap().locks.push(lock);
        }
        (18, _, Some(id)) => copy_with_tags(service, rules, &id),
        _ => remove_locks(&mut service.world),
    }
}

/// The locks of others disappear.
pub(crate) fn remove_locks(world: &mut World) {
    for thing in world.snapshots.values_mut() {
        thing.locks.retain(|lock| lock.name.starts_with("goldfleet-"));
    }
}

/// A new snapshot of one of a few disks.
pub(crate) fn create(service: &mut Service, rules: &Rules, name: Option<String>) {
    let unique = service.world.unique();
    let disk = service.rng.number(0..3);
    let incremental = service.rng.chance(0.75);
    let mut tags = std::collections::BTreeMap::from([("owner".to_owned(), format!("team-{disk}"))]);
    if service.rng.chance(0.85) {
        tags.insert(TRIGGER.0.to_owned(), TRIGGER.1.to_owned());
    }
    let number: u64 = u64::from_str_radix(unique.rsplit('-').next().unwrap(), 16).unwrap();
    let name = name.unwrap_or_else(|| format!("Ctx-{number}"));
    service.world.now += 1;
    let region = "westeurope".to_owned();
    let thing = thing(rules.source.clone(), &name, unique, region, service.world.now, disk, incremental);
    service.world.snapshots.insert(thing.id.key(), Thing { tags, content: number, ..thing });
}

/// Someone else creates a snapshot with the name of a source at a destination.
fn take_name(service: &mut Service, rules: &Rules, name: &str) {
    let index = service.rng.index(rules.destinations.len());
    let destination = &rules.destinations[index];
    let id = SnapshotId::new(destination.group.clone(), name);
    if service.world.get(&id).is_none() {
        let (unique, region) = (service.world.unique(), destination.region.to_string());
        let thing = thing(destination.group.clone(), name, unique, region, service.world.now, 9, false);
        service.world.snapshots.insert(id.key(), thing);
    }
}

/// Someone copies a replica with its tags to another name.
fn copy_with_tags(service: &mut Service, rules: &Rules, id: &SnapshotId) {
    let _ = rules;
    let original = service.world.get(id).unwrap().clone();
    let unique = service.world.unique();
    let copy = Thing {
        id: SnapshotId::new(id.group.clone(), &format!("copy-{}", &unique[30..])),
        source_id: id.to_string(),
        source_unique: original.unique.clone(),
        option: "Copy".to_owned(),
        family: format!("family-of-{unique}"),
        percent: 100.0,
        error: None,
        foreign: true,
        locks: Vec::new(),
        unique,
        ..original
    };
    service.world.snapshots.insert(copy.id.key(), copy);
}

fn thing(
    group: goldfleet_snapshots::id::GroupRef,
    name: &str,
    unique: String,
    region: String,
    created: i64,
    disk: u64,
    incremental: bool,
) -> Thing {
    Thing {
        id: SnapshotId::new(group, name),
        unique,
        region,
        created,
        tags: std::collections::BTreeMap::new(),
        incremental,
        family: format!("family-{disk}"),
        option: "Copy".to_owned(),
        source_id: format!("/subscriptions/x/disks/disk-{disk}"),
        source_unique: format!("disk-{disk}"),
        content: 0,
        percent: 100.0,
        error: None,
        locks: Vec::new(),
        foreign: true,
    }
}
