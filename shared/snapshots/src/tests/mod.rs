//! Tests of the rules, with listings as the service returns them.

mod copies;
mod deletions;
mod graph;
mod names;
mod reading;
mod selection;

use std::collections::BTreeMap;

use goldfleet_model::ids::{JobId, SubscriptionId};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::difference::{Difference, Evidence};
use crate::id::{GroupRef, SnapshotId};
use crate::listing::{Listing, ListingReader};
use crate::plan::Plan;
use crate::rules::{DeletePolicy, Destination, Rules, Run, Speed};
use crate::select::{Pattern, Selection};
use crate::state::SyncState;
use crate::tags::ReplicaTags;

const HOUR: i64 = 3600;

fn group(subscription: u32, name: &str) -> GroupRef {
    GroupRef { subscription: SubscriptionId::nth_for_tests(subscription), resource_group: name.parse().unwrap() }
}

fn fleet() -> Uuid {
    Uuid::from_u128(7)
}

/// The `n`th hour.
fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hour * HOUR).unwrap()
}

fn unique(number: u32) -> String {
    Uuid::from_u128(number.into()).to_string()
}

/// An incremental source snapshot, created in the hour of its number. The unique id has the same number.
fn source(number: u32, name: &str, disk: &str) -> Value {
    let id = SnapshotId::new(group(1, "Snaps"), name);
    json!({
        "id": id.to_string(), "name": name, "location": "West Europe",
        "tags": { "SnapReplicate": "Replicate", "owner": "payments" },
        "properties": {
            "provisioningState": "Succeeded", "uniqueId": unique(number), "timeCreated": at(number.into()).to_string(),
            "incremental": true, "incrementalSnapshotFamilyId": format!("family-{disk}"), "diskSizeBytes": 1 << 30,
            "creationData": { "createOption": "Copy", "sourceResourceId": "disk", "sourceUniqueId": disk },
        },
    })
}

/// A complete replica of a source, at the first destination. Its unique id is 1000 more than that of the source.
fn replica(of: &Value, name: &str) -> Value {
    let source = crate::snapshot::Snapshot::from_json(of).unwrap();
    let tags = ReplicaTags::of(&source, fleet(), "ctx").to_map(&job(0));
    let number = Uuid::parse_str(&source.unique_id).unwrap().as_u128() + 1000;
    json!({
        "id": SnapshotId::new(group(2, "Replicas"), name).to_string(), "location": "eastus", "tags": tags,
        "properties": {
            "provisioningState": "Succeeded", "uniqueId": Uuid::from_u128(number), "completionPercent": 100.0,
            "timeCreated": at(500).to_string(), "incremental": true, "incrementalSnapshotFamilyId": "there",
            "creationData": {
                "createOption": "CopyStart", "sourceResourceId": of["id"], "sourceUniqueId": source.unique_id,
            },
        },
    })
}

fn job(number: u64) -> JobId {
    JobId::new(at(0), number)
}

fn run(number: u64, hour: i64) -> Run {
    Run { job: job(number), now: at(hour), allow_empty: false, max_deletes: None }
}

fn rules() -> Rules {
    Rules {
        name: "ctx".to_owned(),
        fleet: fleet(),
        source: group(1, "Snaps"),
        selection: Selection {
            tags: BTreeMap::from([("SnapReplicate".to_owned(), Pattern::of_value("Replicate").unwrap())]),
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

fn listing(group: &GroupRef, items: &[Value]) -> Listing {
    let mut reader = ListingReader::new(group.clone());
    reader.page(json!({ "value": items }).to_string().as_bytes()).unwrap();
    reader.finish()
}

/// The listings of a sync with one destination.
struct Lists {
    source: Listing,
    destinations: [Listing; 1],
    evidence: BTreeMap<SnapshotId, Evidence>,
}

impl Lists {
    fn new(sources: &[Value], replicas: &[Value]) -> Self {
        let destinations = [listing(&group(2, "Replicas"), replicas)];
        Self { source: listing(&group(1, "Snaps"), sources), destinations, evidence: BTreeMap::new() }
    }

    /// The source with this name does not exist.
    fn absent(mut self, name: &str) -> Self {
        self.evidence.insert(SnapshotId::new(group(1, "Snaps"), name), Evidence::Absent);
        self
    }

    fn decide<'a>(&'a self, rules: &'a Rules, run: &'a Run, state: &SyncState) -> Plan<'a> {
        Difference::new(rules, run, &self.source, &self.destinations).decide(&self.evidence, state)
    }
}

/// The names of the copies of a plan.
fn copied(plan: &Plan<'_>) -> Vec<String> {
    plan.copies.iter().map(|copy| copy.name.clone()).collect()
}

fn removed(plan: &Plan<'_>) -> Vec<String> {
    plan.removals.iter().map(|removal| removal.snapshot.id.name.clone()).collect()
}

fn codes(plan: &Plan<'_>) -> Vec<&'static str> {
    plan.notes.iter().map(|note| note.code).collect()
}
