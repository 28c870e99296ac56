//! Graphs of plans: what is copied from where, what waits for what, and what is refused.

use std::collections::BTreeMap;

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::ids::{Region, SubscriptionId};
use goldfleet_model::image::{ImageRef, StorageType};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::operation::GroupId;
use goldfleet_model::resource::{ResourceBody, ResourceId, ResourceType};
use goldfleet_snapshots::graph::{RequiresStopped, RowSpec as SnapshotSpec};
use goldfleet_snapshots::id::GroupRef;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::graph::{Graph, Row, RowSpec, steps};
use crate::plan::{Delivery, HubPlace, PlannedTarget, SourceImage, Version};
use crate::source::{Content, Source, VersionDisk};

fn subscription(n: u32) -> String {
    SubscriptionId::nth_for_tests(n).to_string()
}

fn source(kind: &str, properties: &Value) -> Source {
    let id: ResourceId =
        format!("/subscriptions/{}/resourceGroups/build/providers/Microsoft.Compute/{kind}/golden", subscription(1))
            .parse()
            .unwrap();
    let mut all = json!({ "creationData": { "createOption": "Copy" }, "uniqueId": "U1" });
    for (name, value) in properties.as_object().unwrap() {
        all[name] = value.clone();
    }
    let body = ResourceBody::from_json(id.resource_type, json!({ "location": "westeurope", "properties": all }));
    Source::of(id, body.unwrap()).unwrap()
}

fn planned(n: u32, region: &str, sinks: &Value, is_done: bool) -> PlannedTarget {
    let target = serde_json::from_value(json!({
        "subscription": subscription(n), "region": region, "resource_group": "images", "account": "stage",
        "container": "vhds", "sinks": sinks,
    }))
    .unwrap();
    let group = GroupId::of(region, &[region, &n.to_string()]);
    PlannedTarget { target, name: format!("golden-1.0-{region}").parse().unwrap(), group, is_done }
}

/// Targets in the region of the source and in another one.
fn delivery(source: Source, sinks: &Value) -> Delivery {
    let targets = vec![
        planned(1, "westeurope", sinks, false),
        planned(2, "eastus", sinks, false),
        planned(3, "eastus", sinks, false),
        planned(4, "eastus", sinks, true),
    ];
    let hub = |n: u32| HubPlace {
        group: GroupRef { subscription: SubscriptionId::nth_for_tests(n), resource_group: "images".parse().unwrap() },
        encryption_set: None,
    };
    Delivery {
        fleet: Uuid::from_u128(7),
        job: "20261129-120000-0000".parse().unwrap(),
        source,
        data: Vec::new(),
        image: None,
        scratch: None,
        version: Version {
            image: ImageRef {
                name: "golden".parse().unwrap(),
                version: "1.0".parse().unwrap(),
                digest: goldfleet_model::hash::digest_of(b"any"),
            },
            os: OsType::Linux,
            generation: Generation::V2,
        },
        hubs: [("westeurope", hub(1)), ("eastus", hub(2))].map(|(r, hub)| (r.parse().unwrap(), hub)).into(),
        targets,
        galleries: Vec::new(),
        tags: BTreeMap::from([("owner".to_owned(), "images".to_owned())]),
        storage: StorageType::StandardSsdLrs,
    }
}

fn rows(delivery: &Delivery) -> Vec<Row> {
    Graph::new(delivery).into_groups().flat_map(|group| group.rows).collect()
}

/// What a row creates: the id, what it copies, and the rest of the body.
fn created(row: &Row) -> Option<(String, String, Value)> {
    let RowSpec::Resource(SnapshotSpec::Create(spec) | SnapshotSpec::Sink(spec)) = &row.spec else { return None };
    let data = &spec.body["properties"]["creationData"];
    let copied = data["sourceResourceId"].as_str().or(data["galleryImageReference"]["id"].as_str()).unwrap().to_owned();
    Some((spec.id.clone(), copied, spec.body.clone()))
}

/// Asserts that the openers of each gate are as many as the rows that wait for it expect, and that every temporary is
/// created once, removed once, and removed after its users.
fn assert_consistent(delivery: &Delivery) {
    let rows = rows(delivery);
    let mut openers: BTreeMap<&GateKey, u32> = BTreeMap::new();
    rows.iter().flat_map(|row| &row.opens).for_each(|gate| *openers.entry(gate).or_default() += 1);
    for after in rows.iter().flat_map(|row| &row.after) {
        assert_eq!(openers.get(&after.gate), Some(&after.count), "{}", after.gate);
    }
    let in_galleries = rows.iter().filter_map(|row| match &row.spec {
        RowSpec::Gallery(item) => Some(item.id.to_string()),
        _ => None,
    });
    let temporaries: Vec<String> = rows
        .iter()
        .filter_map(created)
        .filter(|(.., body)| body["tags"]["goldfleet-role"] == "temporary")
        .map(|(id, ..)| id)
        .chain(in_galleries)
        .collect();
    let removed: Vec<&Row> = rows.iter().filter(|row| row.kind == "remove").collect();
    assert!(removed.iter().all(|row| row.always));
    let removed_ids: Vec<String> = removed
        .iter()
        .map(|row| match &row.spec {
            RowSpec::Resource(SnapshotSpec::RemoveTemporary(spec)) => spec.id.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    assert_eq!(sorted(temporaries), sorted(removed_ids));
    assert!(removed.iter().flat_map(|row| &row.after).all(|after| after.on == GateCondition::Ended));
    for planned in &delivery.targets {
        let groups = Graph::new(delivery).into_groups();
        let groups = groups.filter(|group| group.target.is_some_and(|target| target.group == planned.group));
        let of_target = groups.flat_map(|group| group.rows).filter(|row| !row.always).count();
        assert_eq!(u32::try_from(of_target), Ok(steps(delivery, planned)));
    }
    for group in Graph::new(delivery).into_groups() {
        assert!(!group.rows.is_empty() && group.rows.len() <= GroupId::MAX_ROWS);
        let first = group.rows[0].id.group();
        assert!(group.rows.iter().all(|row| row.id.group() == first), "one group");
    }
}

/// The disks of an image or version, each by a temporary disk.
fn of_version(content: &Content) -> Delivery {
    let (image, region): (ResourceId, Region) = (
        format!("/subscriptions/{}/resourceGroups/build/providers/Microsoft.Compute/images/golden", subscription(1))
            .parse()
            .unwrap(),
        "westeurope".parse().unwrap(),
    );
    let disk = |role| {
        let disk = VersionDisk {
            id: image.clone(),
            identity: "Image-1",
            role,
            region: &region,
            encryption_set: None,
            security_type: Some("TrustedLaunch"),
            purchase_plan: None,
        };
        Source::of_version(&disk, content.clone())
    };
    let sinks = json!(["image", "snapshot", "disk"]);
    let encryption_sets = BTreeMap::new();
    Delivery {
        data: vec![disk(DiskRole::Data(0)), disk(DiskRole::Data(7))],
        image: (*content == Content::Image).then(|| SourceImage {
            id: image.clone(),
            fingerprint: "f".to_owned(),
            encryption_sets,
        }),
        ..delivery(disk(DiskRole::Os), &sinks)
    }
}

/// The disks of a machine.
fn of_machine(sinks: &Value) -> Delivery {
    let stopped = RequiresStopped { machine: "/m".to_owned(), vm_id: "v".to_owned(), downtime: None };
    let disk = |role: DiskRole| {
        let found = source("disks", &json!({ "uniqueId": format!("U-{role}") }));
        let id = ResourceId { name: format!("web-{role}").parse().unwrap(), ..found.id };
        let body = ResourceBody::from_json(
            ResourceType::Disk,
            json!({ "location": "westeurope", "properties": { "creationData": { "createOption": "Empty" }, "uniqueId": format!("U-{role}") } }),
        );
        Source::of_machine(id, body.unwrap(), role, stopped.clone()).unwrap()
    };
    Delivery { data: vec![disk(DiskRole::Data(3))], ..delivery(disk(DiskRole::Os), sinks) }
}

const INCREMENTAL: (&str, bool) = ("snapshots", true);

#[test]
fn graphs_of_all_sources_and_sinks_are_consistent() {
    let sinks = [json!(["image"]), json!(["snapshot"]), json!(["disk"]), json!(["image", "snapshot", "disk"])];
    for (kind, incremental) in [INCREMENTAL, ("snapshots", false), ("disks", false)] {
        for security in [json!(null), json!({ "securityType": "TrustedLaunch" })] {
            for sinks in &sinks {
                let properties = json!({ "incremental": incremental, "securityProfile": security });
                let delivery = delivery(source(kind, &properties), sinks);
                assert!(delivery.refusals().is_empty(), "{:?}", delivery.refusals());
                assert_consistent(&delivery);
            }
        }
    }
}

#[test]
fn graphs_of_sources_with_data_disks_are_consistent() {
    for sinks in [json!(["image"]), json!(["snapshot"]), json!(["image", "snapshot", "disk"])] {
        let delivery = of_machine(&sinks);
        assert!(delivery.refusals().is_empty(), "{:?}", delivery.refusals());
        assert_consistent(&delivery);
    }
    let version = "/SharedGalleries/a/Images/b/Versions/1.0.0".parse().unwrap();
    assert_consistent(&of_version(&Content::Image));
    let shared = of_version(&Content::Version(version));
    let rows = rows(&shared);
    assert!(rows.iter().all(|row| row.kind != "gallery"));
    let reference = rows.iter().find_map(|row| match &row.spec {
        RowSpec::Resource(SnapshotSpec::Create(spec)) => {
            let reference = &spec.body["properties"]["creationData"]["galleryImageReference"];
            reference.is_object().then(|| reference.clone())
        }
        _ => None,
    });
    assert_eq!(reference.unwrap(), json!({ "sharedGalleryImageId": "/SharedGalleries/a/Images/b/Versions/1.0.0" }));
}

/// The image of a target waits for the snapshots of all data disks, and these are removed after it.
#[test]
fn images_have_the_data_disks_of_the_source() {
    let delivery = of_machine(&json!(["image"]));
    let rows = rows(&delivery);
    let image = rows.iter().find(|row| row.kind == "image").unwrap();
    let RowSpec::Image(from) = &image.spec else { unreachable!() };
    assert_eq!(from.data.iter().map(|data| data.lun).collect::<Vec<_>>(), [3]);
    let created: Vec<_> = rows.iter().filter_map(created).collect();
    let (_, copied, body) = created.iter().find(|(id, ..)| *id == from.data[0].snapshot.to_string()).unwrap();
    assert_eq!((&body["properties"]["incremental"], &body["properties"]["osType"]), (&json!(false), &Value::Null));
    assert!(created.iter().any(|(id, from, _)| id == copied && from.ends_with("/web-data-3")), "{copied}");
    let taken: Vec<_> = rows
        .iter()
        .filter_map(|row| match &row.spec {
            RowSpec::Resource(SnapshotSpec::Create(spec)) => spec.requires_stopped.as_ref().map(|_| spec.once),
            _ => None,
        })
        .collect();
    assert_eq!(taken, [true, true], "both disks of a machine that does not run, once");
}

/// The temporary disks of an image wait for its temporary version, which is deleted after all of them exist or will
/// not.
#[test]
fn disks_of_an_image_are_created_from_a_temporary_version() {
    let delivery = of_version(&Content::Image);
    let rows = rows(&delivery);
    let steps: Vec<&str> =
        rows.iter().filter(|row| row.id.group().as_str().starts_with("version-")).map(|row| row.id.step()).collect();
    let removed = ["remove-version", "remove-definition", "remove-gallery"];
    assert_eq!(steps, ["gallery", "definition", "version", removed[0], removed[1], removed[2]]);
    let version = rows.iter().find(|row| row.id.step() == "version").unwrap();
    let RowSpec::Gallery(item) = &version.spec else { unreachable!() };
    assert_eq!(item.image.as_ref().unwrap().1, "f");
    let disks: Vec<_> = rows.iter().filter_map(created).filter(|(_, from, _)| *from == item.id.to_string()).collect();
    let luns: Vec<_> = disks
        .iter()
        .map(|(_, _, body)| body["properties"]["creationData"]["galleryImageReference"]["lun"].as_u64())
        .collect();
    assert_eq!(luns, [None, Some(0), Some(7)]);
    assert_eq!(disks[0].2["properties"]["securityProfile"]["securityType"], "TrustedLaunch");
    assert_eq!(disks[1].2["properties"].get("securityProfile"), None, "a data disk has no security type");
}

#[test]
fn each_other_region_gets_one_copy_and_the_region_of_the_source_none() {
    let delivery = delivery(source("snapshots", &json!({ "incremental": true })), &json!(["image"]));
    let all = rows(&delivery);
    let copied: Vec<(String, String)> = all
        .iter()
        .filter_map(created)
        .filter(|(.., body)| body["properties"]["creationData"]["createOption"] == "CopyStart")
        .map(|(id, copied, _)| (id, copied))
        .collect();
    assert_eq!(copied.len(), 1);
    assert!(copied[0].0.contains(&subscription(2)), "the hub of eastus: {}", copied[0].0);
    assert_eq!(copied[0].1, delivery.source.id.to_string());
    let from = |n: u32| {
        let row = all.iter().find(|row| row.id.group() == &delivery.targets[n as usize].group).unwrap();
        (created(row).unwrap().1, row.after.len())
    };
    assert_eq!(from(0), (delivery.source.id.to_string(), 0), "the source itself, without waiting");
    assert_eq!(from(1), (copied[0].0.clone(), 1));
    assert_eq!(all.iter().filter(|row| row.id.group() == &delivery.targets[3].group).count(), 1, "only the image");
}

#[test]
fn only_the_snapshot_of_a_disk_is_created_at_most_once() {
    for (kind, expected) in [("disks", 1), ("snapshots", 0)] {
        let delivery = delivery(source(kind, &json!({ "incremental": false })), &json!(["image"]));
        let once = rows(&delivery)
            .iter()
            .filter(|row| matches!(&row.spec, RowSpec::Resource(SnapshotSpec::Create(spec)) if spec.once))
            .count();
        assert_eq!(once, expected, "{kind}");
    }
}

#[test]
fn what_targets_receive_is_named_and_tagged() {
    let delivery = delivery(source("snapshots", &json!({ "incremental": true })), &json!(["snapshot", "disk"]));
    let sinks: Vec<_> = rows(&delivery)
        .iter()
        .filter_map(created)
        .filter(|(.., body)| body["tags"]["goldfleet-role"] == "sink")
        .collect();
    assert_eq!(sinks.len(), 4 * 2);
    for (id, copied, body) in sinks {
        let id: ResourceId = id.parse().unwrap();
        assert!(id.name.as_str().starts_with("golden-1-0-"), "a dot is not permitted: {id}");
        assert_eq!((&body["tags"]["owner"], &body["tags"]["goldfleet-version"]), (&json!("images"), &json!("1.0")));
        let is_disk = id.resource_type == ResourceType::Disk;
        assert_eq!(body["sku"]["name"], if is_disk { "StandardSSD_LRS" } else { "Standard_LRS" });
        assert_eq!(is_disk, copied.ends_with(id.name.as_str()), "a disk is a copy of the target's snapshot");
    }
}

#[test]
fn encryption_by_a_customers_key_needs_a_set_at_each_place() {
    let set = |n: u32| {
        format!("/subscriptions/{}/resourceGroups/k/providers/Microsoft.Compute/diskEncryptionSets/k", subscription(n))
    };
    let properties = json!({ "incremental": true, "encryption": { "diskEncryptionSetId": set(1) } });
    let mut delivery = delivery(source("snapshots", &properties), &json!(["image"]));
    let codes = |delivery: &Delivery| delivery.refusals().into_iter().map(|refusal| refusal.code).collect::<Vec<_>>();
    assert_eq!(codes(&delivery), ["encryption-set-missing"; 4], "three targets and the hub of eastus");
    for (n, planned) in (1..).zip(&mut delivery.targets) {
        planned.target.disk_encryption_set = Some(set(n));
    }
    delivery.hubs.values_mut().for_each(|hub| hub.encryption_set = Some(set(2)));
    assert_eq!(codes(&delivery), Vec::<&str>::new());
    let copy = rows(&delivery).iter().filter_map(created).next().unwrap().2;
    assert_eq!(copy["properties"]["encryption"]["diskEncryptionSetId"], set(2));
    delivery.targets[1].target.disk_encryption_set = Some(set(9));
    assert_eq!(codes(&delivery), ["des-elsewhere"]);
    delivery.targets[1].target.tenant = Some("contoso.com".to_owned());
    assert_eq!(codes(&delivery), ["other-tenant", "des-elsewhere"]);
}
