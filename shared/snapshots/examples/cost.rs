//! Measures the listing and the difference of 10,000 source snapshots and 10,000 replicas, with 100 new sources:
//! `cargo run --release -p goldfleet-snapshots --example cost`. Linux only: it reads `/proc/self`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::collections::BTreeMap;
use std::time::Instant;

use goldfleet_model::ids::{JobId, SubscriptionId};
use goldfleet_snapshots::difference::Difference;
use goldfleet_snapshots::graph::Graph;
use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::listing::{Listing, ListingReader};
use goldfleet_snapshots::rules::{DeletePolicy, Destination, Rules, Run, Speed};
use goldfleet_snapshots::select::{Pattern, Selection};
use goldfleet_snapshots::snapshot::Snapshot;
use goldfleet_snapshots::state::SyncState;
use goldfleet_snapshots::tags::ReplicaTags;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

const SOURCES: u32 = 10_000;
const NEW: u32 = 100;
/// The number of snapshots of a disk.
const FAMILY: u32 = 20;
/// The number of items of a page.
const PAGE: u32 = 100;

fn group(subscription: u32, name: &str) -> GroupRef {
    GroupRef { subscription: SubscriptionId::nth_for_tests(subscription), resource_group: name.parse().unwrap() }
}

fn time(number: u32) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + 60 * i64::from(number)).unwrap()
}

/// A source as the service lists it, with the properties of a machine's disk.
fn source(number: u32) -> Value {
    let disk = Uuid::from_u128(u128::from(number / FAMILY) + 1_000_000);
    json!({
        "id": SnapshotId::new(group(1, "SNAPS"), &format!("ctx-{number:05}")).to_string(),
        "name": format!("ctx-{number:05}"), "type": "Microsoft.Compute/snapshots", "location": "West Europe",
        "tags": { "SnapReplicate": "Replicate", "owner": "payments", "cost-center": "4711", "env": "prod" },
        "sku": { "name": "Standard_LRS", "tier": "Standard" },
        "properties": {
            "osType": "Windows", "hyperVGeneration": "V2", "supportsHibernation": true,
            "purchasePlan": { "name": "sku", "publisher": "publisher", "product": "product" },
            "supportedCapabilities": { "acceleratedNetwork": true, "architecture": "x64" },
            "securityProfile": { "securityType": "TrustedLaunch" },
            "creationData": {
                "createOption": "Copy", "sourceUniqueId": disk,
                "sourceResourceId": format!("/subscriptions/x/resourceGroups/VMS/providers/Microsoft.Compute/disks/{disk}"),
            },
            "diskSizeGB": 128, "diskSizeBytes": 137_438_953_472_u64, "incremental": true,
            "incrementalSnapshotFamilyId": disk, "networkAccessPolicy": "DenyAll", "publicNetworkAccess": "Disabled",
            "encryption": { "type": "EncryptionAtRestWithPlatformKey" }, "diskState": "Unattached",
            "uniqueId": Uuid::from_u128(u128::from(number) + 1), "timeCreated": time(number).to_string(),
            "provisioningState": "Succeeded",
        },
    })
}

/// The replica of a source, as the service lists it.
fn replica(number: u32, job: &JobId) -> Value {
    let mut item = source(number);
    let snapshot = Snapshot::from_json(&item).unwrap();
    item["id"] = json!(SnapshotId::new(group(2, "REPLICAS"), &snapshot.id.name).to_string());
    item["location"] = json!("eastus");
    item["tags"] = json!(ReplicaTags::of(&snapshot, Uuid::from_u128(7), "ctx").to_map(job));
    let properties = &mut item["properties"];
    properties["uniqueId"] = json!(Uuid::from_u128(u128::from(number) + 5_000_000));
    properties["completionPercent"] = json!(100.0);
    properties["creationData"] = json!({
        "createOption": "CopyStart", "sourceResourceId": snapshot.id, "sourceUniqueId": snapshot.unique_id,
    });
    item
}

/// Reads a list whose pages are created one by one. Returns the seconds that the reading took, without the creation.
fn list(group: GroupRef, count: u32, item: impl Fn(u32) -> Value) -> (Listing, f64) {
    let (mut reader, mut seconds) = (ListingReader::new(group), 0.0);
    for first in (0..count).step_by(PAGE as usize) {
        let last = (first + PAGE).min(count);
        let items: Vec<Value> = (first..last).map(&item).collect();
        let body = json!({ "value": items, "nextLink": (last < count).then_some("next") }).to_string();
        drop(items);
        let began = Instant::now();
        reader.page(body.as_bytes()).unwrap();
        seconds += began.elapsed().as_secs_f64();
    }
    (reader.finish(), seconds)
}

fn rules() -> Rules {
    Rules {
        name: "ctx".to_owned(),
        fleet: Uuid::from_u128(7),
        source: group(1, "Snaps"),
        selection: Selection {
            tags: BTreeMap::from([("SnapReplicate".to_owned(), Pattern::of_value("Replicate").unwrap())]),
            names: vec![Pattern::of_name("ctx-*").unwrap()],
            ..Selection::default()
        },
        destinations: vec![Destination {
            group: group(2, "Replicas"),
            region: "eastus".parse().unwrap(),
            encryption_set: None,
            other_tenant: false,
            disk_access: None,
        }],
        scratch: None,
        delete: DeletePolicy::Mirror,
        keep: None,
        max_deletes: 5,
        grace: SignedDuration::from_hours(24),
        lock: false,
        speed: Speed::Standard,
        replica_name: None,
        measured: BTreeMap::new(),
    }
}

/// A line of `/proc/self/status`, such as the largest amount of memory.
fn status(field: &str) -> String {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("not known");
    line.trim_start_matches(':').trim().to_owned()
}

fn main() {
    let rules = rules();
    let run = Run { job: JobId::new(time(0), 1), now: time(SOURCES + NEW), allow_empty: false, max_deletes: None };
    let (source_list, one) = list(rules.source.clone(), SOURCES + NEW, source);
    // The new sources are the newest ones: the last families continue.
    let (there, other) = list(rules.destinations[0].group.clone(), SOURCES, |number| replica(number, &run.job));
    let destinations = [there];
    let began = Instant::now();
    let difference = Difference::new(&rules, &run, &source_list, &destinations);
    let lookups = difference.lookups().len();
    let plan = difference.decide(&BTreeMap::new(), &SyncState::default());
    let rows: usize = Graph::new(&plan, &rules, &run).groups().map(|rows| rows.len()).sum();
    let decided = began.elapsed().as_secs_f64();
    println!("complete {}, copies {}, rows {rows}, lookups {lookups}", plan.complete, plan.copies.len());
    println!("listing {:.3} s, difference and graph {decided:.3} s", one + other);
    println!("largest memory {}, of which anonymous now {}", status("VmHWM"), status("RssAnon"));
    let used = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds: u64 = used.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    println!("CPU of the whole measurement, its input included: {} ms", nanoseconds / 1_000_000);
}
