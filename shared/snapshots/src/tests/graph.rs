use std::collections::{BTreeMap, BTreeSet};

use goldfleet_model::document::Document;
use goldfleet_model::graph::{After, GateCondition};
use goldfleet_model::operation::{Operation, Place};
use goldfleet_workflow::validate::GraphCheck;
use serde_json::{Value, json};

use super::{Lists, at, fleet, group, job, replica, rules, run, source};
use crate::graph::{Graph, Row, RowSpec};
use crate::rules::{Destination, PARALLEL_COPIES, Rules, Speed};
use crate::snapshot::Snapshot;
use crate::state::SyncState;
use crate::tags::{self, ReplicaTags};

/// The row as the job table has it.
fn operation(row: &Row) -> Operation {
    let place = Place { region: row.region.clone(), label: row.label.clone(), target: None };
    Operation {
        position: row.position,
        after: row.after.clone(),
        opens: row.opens.clone(),
        always: row.always,
        spec: Document::new(1, &row.spec).unwrap(),
        ..Operation::waiting(&job(1), row.id.clone(), row.kind.parse().unwrap(), place, at(0))
    }
}

/// The graph of the first run, checked by the rules of the engine.
fn graph(rules: &Rules, lists: &Lists) -> Vec<Vec<Row>> {
    let run = run(1, 10);
    let plan = lists.decide(rules, &run, &SyncState::default());
    checked(Graph::new(&plan, rules, &run).groups().collect())
}

fn checked(groups: Vec<Vec<Row>>) -> Vec<Vec<Row>> {
    let mut check = GraphCheck::default();
    let mut ids = BTreeSet::new();
    for group in &groups {
        check.group(&group.iter().map(operation).collect::<Vec<_>>()).unwrap();
        assert!(ids.insert(group[0].id.group().clone()), "each group has its own id");
    }
    check.finish().unwrap();
    groups
}

/// The rows of copies. The row that discards an incomplete replica follows each.
fn copies(groups: &[Vec<Row>]) -> Vec<&Row> {
    groups.iter().flatten().filter(|row| matches!(row.spec, RowSpec::Copy(_))).collect()
}

fn copy(row: &Row) -> &crate::graph::CopySpec {
    let RowSpec::Copy(spec) = &row.spec else { panic!("{row:?}") };
    spec
}

#[test]
fn the_copies_of_a_family_are_a_chain_of_gates() {
    let sources: Vec<Value> = (1..=3).map(|number| source(number, &format!("s{number}"), "d")).collect();
    let groups = graph(&rules(), &Lists::new(&sources, &[]));
    let rows = copies(&groups);
    assert_eq!(rows.iter().map(|row| copy(row).id.name.as_str()).collect::<Vec<_>>(), ["s1", "s2", "s3"]);
    assert!(rows[0].after.is_empty());
    for pair in rows.windows(2) {
        let gate = pair[0].opens[0].clone();
        assert!(gate.as_str().starts_with("family."), "{gate}");
        assert_eq!(pair[1].after, [After { gate, on: GateCondition::Opened, count: 1 }]);
    }
}

/// The longest antichain of limited copies: no more may run at the same time than the service permits.
#[test]
fn more_families_than_the_limit_share_lanes() {
    let families = u32::try_from(PARALLEL_COPIES).unwrap() * 2 + 30;
    let sources: Vec<Value> =
        (0..families * 2).map(|n| source(n + 1, &format!("s{n}"), &format!("disk-{}", n / 2))).collect();
    let groups = graph(&rules(), &Lists::new(&sources, &[]));
    let rows = copies(&groups);
    assert_eq!(rows.len(), 460);
    // Every row has at most one predecessor and one successor, so the rows form lines that run one row at a time.
    let free = rows.iter().filter(|row| row.after.is_empty()).count();
    assert_eq!(free, PARALLEL_COPIES);
    assert!(rows.iter().all(|row| row.after.len() <= 1 && row.opens.len() <= 1));
    let lanes = rows.iter().flat_map(|row| &row.after).filter(|after| after.gate.as_str().starts_with("lane."));
    assert!(lanes.clone().all(|after| after.on == GateCondition::Ended), "a family that fails does not block others");
    assert_eq!(lanes.count(), usize::try_from(families).unwrap() - PARALLEL_COPIES);
}

#[test]
fn copies_in_the_same_region_need_no_lanes() {
    let mut rules = rules();
    rules.destinations[0].region = "westeurope".parse().unwrap();
    rules.destinations[0].group = group(1, "Replicas");
    let sources: Vec<Value> = (1..=150).map(|n| source(n, &format!("s{n}"), &format!("disk-{n}"))).collect();
    let groups = graph(
        &rules,
        &Lists { destinations: [super::listing(&group(1, "Replicas"), &[])], ..Lists::new(&sources, &[]) },
    );
    assert!(groups.iter().flatten().all(|row| row.after.is_empty()));
}

#[test]
fn a_full_snapshot_is_copied_through_temporaries_that_serve_all_destinations() {
    let mut rules = rules();
    rules.scratch = Some(group(1, "scratch"));
    let second = Destination { group: group(3, "Replicas"), ..rules.destinations[0].clone() };
    rules.destinations.push(second);
    let mut full = source(1, "a", "d");
    full["properties"]["incremental"] = json!(false);
    let run = run(1, 10);
    let source = super::listing(&group(1, "Snaps"), &[full]);
    let destinations = [super::listing(&group(2, "Replicas"), &[]), super::listing(&group(3, "Replicas"), &[])];
    let difference = crate::difference::Difference::new(&rules, &run, &source, &destinations);
    let plan = difference.decide(&BTreeMap::new(), &SyncState::default());
    let groups = checked(Graph::new(&plan, &rules, &run).groups().collect());
    let kinds: Vec<Vec<&str>> = groups.iter().map(|rows| rows.iter().map(|row| row.kind).collect()).collect();
    let copied = vec!["snapshot", "remove"];
    assert_eq!(kinds, [vec!["disk", "snapshot"], vec!["remove"; 2], copied.clone(), copied]);
    let (create, remove) = (&groups[0], &groups[1]);
    assert!(remove.iter().all(|row| row.always));
    assert!(remove[0].after.iter().all(|after| after.on == GateCondition::Ended && after.count == 2));
    for row in copies(&groups) {
        assert_eq!(row.after[0].gate, create[1].opens[0]);
        let spec = copy(row);
        assert_eq!(spec.copied_unique_id, None);
        assert_eq!(spec.body["properties"]["creationData"]["createOption"], "CopyStart");
        assert_eq!(spec.body["properties"]["incremental"], true);
        assert!(spec.copied.name.starts_with("gf-temporary-"));
    }
    let RowSpec::Create(disk) = &create[0].spec else { panic!() };
    assert_eq!(disk.body["location"], "westeurope");
    assert_eq!(disk.body["properties"]["networkAccessPolicy"], "DenyAll");
    let found: BTreeMap<String, String> = serde_json::from_value(disk.body["tags"].clone()).unwrap();
    assert!(tags::is_temporary_of(&found, fleet()));
}

#[test]
fn only_a_copy_that_this_job_begins_in_another_region_can_be_discarded() {
    let sources = [source(1, "a", "d"), source(2, "b", "e")];
    let mut begun = replica(&sources[1], "b");
    begun["properties"]["completionPercent"] = json!(10.0);
    let lists = Lists::new(&sources, &[begun]);
    let groups = graph(&rules(), &lists);
    let steps: Vec<Vec<&str>> = groups.iter().map(|rows| rows.iter().map(|row| row.id.step()).collect()).collect();
    assert_eq!(steps, [vec!["snapshot", "discard"], vec!["snapshot"]]);
    let (copied, discard) = (&groups[0][0], &groups[0][1]);
    assert!(discard.always && discard.position == 1);
    let RowSpec::Discard(spec) = &discard.spec else { panic!("{discard:?}") };
    assert_eq!((&spec.id, &spec.copy, &spec.job), (&copy(copied).id, &copied.id, &job(1)));
}

/// A successor of a killed worker has only the row.
#[test]
fn rows_are_read_as_they_were_written() {
    let sources = [source(1, "a", "d"), source(2, "a", "e")];
    let lists = Lists::new(&sources[..1], &[replica(&sources[1], "z"), replica(&source(3, "c", "f"), "c")]).absent("c");
    let first = lists.decide(&rules(), &run(1, 10), &SyncState::default()).state;
    let (rules, later) = (rules(), run(2, 99));
    let plan = lists.decide(&rules, &later, &first);
    let rows: Vec<Row> = Graph::new(&plan, &rules, &later).groups().flatten().collect();
    assert!(rows.iter().any(|row| matches!(row.spec, RowSpec::Remove(_))));
    for row in rows {
        let text = serde_json::to_string(&row.spec).unwrap();
        assert_eq!(serde_json::from_str::<RowSpec>(&text).unwrap(), row.spec);
    }
}

#[test]
fn a_promotion_deletes_copies_and_deletes() {
    let (old, new) = (source(1, "a", "d"), source(2, "a", "d"));
    let mut staged = replica(&new, "gf-replica-x");
    staged["tags"][tags::STAGED_FOR] = json!("a");
    let lists = Lists::new(&[new], &[replica(&old, "a"), staged]);
    let rules = Rules { lock: true, ..rules() };
    let first = lists.decide(&rules, &run(1, 10), &SyncState::default()).state;
    let later = run(2, 99);
    let plan = lists.decide(&rules, &later, &first);
    let groups = checked(Graph::new(&plan, &rules, &later).groups().collect());
    let [rows] = &groups[..] else { panic!() };
    assert_eq!(
        rows.iter().map(|row| row.id.step()).collect::<Vec<_>>(),
        ["remove-replaced", "snapshot", "remove-staged"]
    );
    let spec = copy(&rows[1]);
    assert_eq!(spec.body["properties"]["creationData"]["createOption"], "Copy");
    assert_eq!(spec.body["tags"][tags::VIA], super::unique(1002));
    assert_eq!(spec.lock.as_deref(), Some("goldfleet-ctx"));
    assert!(rows.iter().all(|row| !row.always), "the staged replica stays if the copy fails");
}

#[test]
fn the_body_repeats_what_a_copy_would_lose() {
    let mut item = source(1, "a", "d");
    let properties = json!({
        "osType": "Windows", "hyperVGeneration": "V2", "purchasePlan": { "name": "p" }, "supportsHibernation": true,
        "supportedCapabilities": { "architecture": "x64" }, "securityProfile": { "securityType": "TrustedLaunch" },
        "networkAccessPolicy": "AllowPrivate", "diskAccessId": "there", "publicNetworkAccess": "Disabled",
        "encryption": { "type": "EncryptionAtRestWithCustomerKey", "diskEncryptionSetId": "set" },
    });
    item["properties"].as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
    item["tags"]["Goldfleet-Role"] = json!("golden");
    let mut rules = Rules { speed: Speed::Enhanced, ..rules() };
    let set = format!("/subscriptions/{}/diskEncryptionSets/s", group(2, "x").subscription);
    rules.destinations[0].encryption_set = Some(set.clone());
    let lists = Lists::new(std::slice::from_ref(&item), &[]);
    let groups = graph(&rules, &lists);
    let body = &copy(&groups[0][0]).body;
    let mut expected = properties.clone();
    let id = Snapshot::from_json(&item).unwrap().id.to_string();
    let creation = json!({
        "createOption": "CopyStart", "sourceResourceId": id, "provisionedBandwidthCopySpeed": "Enhanced",
    });
    expected["creationData"] = creation;
    expected["incremental"] = json!(true);
    // Private endpoints of the source's region do not serve the destination: nobody gets access.
    expected["networkAccessPolicy"] = json!("DenyAll");
    expected.as_object_mut().unwrap().remove("diskAccessId");
    expected["encryption"]["diskEncryptionSetId"] = json!(set);
    assert_eq!(body["properties"], expected);
    assert_eq!(body["location"], "eastus");
    let found: BTreeMap<String, String> = serde_json::from_value(body["tags"].clone()).unwrap();
    assert_eq!(found["owner"], "payments");
    assert!(!found.contains_key("SnapReplicate") && !found.contains_key("Goldfleet-Role"));
    let source = Snapshot::from_json(&item).unwrap();
    assert_eq!(ReplicaTags::in_tags(&found), Some(ReplicaTags::of(&source, fleet(), "ctx")));
}
