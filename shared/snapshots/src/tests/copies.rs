use std::collections::BTreeMap;

use goldfleet_model::ids::Region;
use serde_json::{Value, json};

use super::{Lists, codes, copied, group, replica, rules, run, source, unique};
use crate::measured::Measured;
use crate::plan::{Method, Severity};
use crate::rules::{DeletePolicy, RuleError, Rules};
use crate::state::SyncState;
use crate::tags;

fn underway(mut replica: Value, percent: f64) -> Value {
    replica["properties"]["completionPercent"] = json!(percent);
    replica
}

fn failed(replica: Value) -> Value {
    let mut replica = underway(replica, 30.0);
    replica["properties"]["copyCompletionError"] = json!({ "errorCode": "CopySourceNotFound" });
    replica
}

#[test]
fn missing_replicas_are_copied_oldest_first() {
    let (one, two, three) = (source(1, "c", "d"), source(2, "b", "d"), source(3, "a", "d"));
    let lists = Lists::new(&[three, two, one.clone()], &[replica(&one, "c")]);
    let (rules, run) = (rules(), run(1, 10));
    let plan = lists.decide(&rules, &run, &SyncState::default());
    assert_eq!(copied(&plan), ["b", "a"]);
    assert_eq!(plan.complete, 1);
    assert!(plan.copies.iter().all(|copy| copy.method == Method::CopyStart));
    assert!(!plan.has_failures());
}

#[test]
fn a_failed_copy_is_no_replica_and_an_unfinished_one_is_resumed() {
    let (one, two) = (source(1, "a", "d"), source(2, "b", "e"));
    let lists =
        Lists::new(&[one.clone(), two.clone()], &[failed(replica(&one, "a")), underway(replica(&two, "b"), 40.0)]);
    let (rules, run) = (rules(), run(1, 10));
    let plan = lists.decide(&rules, &run, &SyncState::default());
    assert_eq!(plan.complete, 0);
    let copy = |name: &str| plan.copies.iter().find(|copy| copy.name == name).unwrap();
    assert_eq!((copy("a").underway, copy("a").remains.as_deref()), (false, Some(&*unique(1001))));
    assert_eq!((copy("b").underway, copy("b").remains.as_deref()), (true, None));
}

#[test]
fn an_older_snapshot_of_a_family_is_refused() {
    let (one, two) = (source(1, "a", "d"), source(2, "b", "d"));
    let lists = Lists::new(&[one, two.clone()], &[replica(&two, "b")]);
    let (mut rules, run) = (rules(), run(1, 10));
    let plan = lists.decide(&rules, &run, &SyncState::default());
    assert_eq!((copied(&plan).len(), codes(&plan)), (0, vec!["snapshot-order"]));
    assert!(plan.has_failures());
    // In the same region the order does not matter.
    rules.destinations[0].region = "westeurope".parse().unwrap();
    rules.measured = measured("westeurope", Measured { copy: Some(true), ..Measured::default() });
    let mut there = replica(&two, "b");
    there["location"] = json!("westeurope");
    let lists = Lists::new(&[source(1, "a", "d"), two], &[there]);
    assert_eq!(copied(&lists.decide(&rules, &run, &SyncState::default())), ["a"]);
}

/// What a probe measured for sources in this region and the first destination.
fn measured(region: &str, found: Measured) -> BTreeMap<(Region, usize), Measured> {
    BTreeMap::from([((region.parse().unwrap(), 0), found)])
}

/// Without results, the documented way is taken. What a probe found not to work is refused before the first call.
#[test]
fn what_a_probe_measured_decides_how_snapshots_are_copied() {
    let lists = Lists::new(&[source(1, "a", "d")], &[]);
    let run = run(1, 10);
    let mut rules = rules();
    let decide = |rules: &Rules| {
        let plan = lists.decide(rules, &run, &SyncState::default());
        (plan.copies.first().map(|copy| copy.method), codes(&plan))
    };
    let refused = || (None, vec!["not-supported-here"]);
    // To another region of another subscription.
    assert_eq!(decide(&rules), (Some(Method::CopyStart), vec![]));
    let across = |copy_start| measured("westeurope", Measured { copy_start, ..Measured::default() });
    rules.measured = across(Some(true));
    assert_eq!(decide(&rules), (Some(Method::CopyStart), vec![]));
    rules.measured = across(Some(false));
    assert_eq!(decide(&rules), refused());
    // Inside the region of the source.
    rules.destinations[0].region = "westeurope".parse().unwrap();
    for (copy, copy_start, expected) in [
        (None, None, Some(Method::CopyStart)),
        (Some(true), None, Some(Method::Copy)),
        (Some(true), Some(false), Some(Method::Copy)),
        (Some(false), None, Some(Method::CopyStart)),
        (Some(false), Some(true), Some(Method::CopyStart)),
        (None, Some(false), Some(Method::Copy)),
        (Some(false), Some(false), None),
    ] {
        rules.measured = measured("westeurope", Measured { copy, copy_start, encryption_set: None });
        let expected = expected.map_or_else(refused, |method| (Some(method), vec![]));
        assert_eq!(decide(&rules), expected, "{copy:?} {copy_start:?}");
    }
    // With a disk encryption set.
    let subscription = rules.destinations[0].group.subscription;
    rules.destinations[0].encryption_set = Some(format!("/subscriptions/{subscription}/x"));
    rules.measured = measured("westeurope", Measured { encryption_set: Some(false), ..Measured::default() });
    assert_eq!(decide(&rules), refused());
    rules.measured = BTreeMap::new();
    assert_eq!(decide(&rules), (Some(Method::CopyStart), vec![]));
}

#[test]
fn a_foreign_snapshot_with_the_name_is_reported_and_never_touched() {
    let one = source(1, "a", "d");
    let mut untagged = replica(&one, "A");
    untagged["tags"] = json!({});
    let mut other_fleet = replica(&one, "a");
    other_fleet["tags"][tags::FLEET] = json!(unique(99));
    let mut other_sync = replica(&one, "a");
    other_sync["tags"][tags::SYNC] = json!("other");
    let mut other_copy = replica(&one, "a");
    other_copy["properties"]["creationData"]["sourceUniqueId"] = json!(unique(98));
    other_copy["properties"]["creationData"]["sourceResourceId"] =
        json!(crate::id::SnapshotId::new(group(2, "Replicas"), "b").to_string());
    let mut other_region = replica(&one, "a");
    other_region["location"] = json!("westus");
    for foreign in [untagged, other_fleet, other_sync, other_copy, other_region] {
        let lists = Lists::new(std::slice::from_ref(&one), &[foreign]);
        let (rules, run) = (rules(), run(1, 10));
        let plan = lists.decide(&rules, &run, &SyncState::default());
        assert!(plan.is_empty());
        assert_eq!(codes(&plan), ["snapshot-foreign"]);
        assert!(plan.has_failures());
    }
}

#[test]
fn a_source_that_was_created_again_gets_a_staged_replica() {
    let lists = Lists::new(&[source(2, "a", "d")], &[replica(&source(1, "a", "d"), "a")]);
    let (mut rules, run) = (rules(), run(1, 10));
    let plan = lists.decide(&rules, &run, &SyncState::default());
    assert!(plan.copies[0].staged && plan.copies[0].name.starts_with("gf-replica-"));
    assert!(plan.removals.is_empty() && plan.promotions.is_empty());
    rules.delete = DeletePolicy::Never;
    let plan = lists.decide(&rules, &run, &SyncState::default());
    assert!(plan.is_empty());
    assert_eq!(plan.notes[0].severity, Severity::Failure);
    assert_eq!(codes(&plan), ["replica-outdated"]);
}

#[test]
fn a_snapshot_whose_tags_name_another_source_is_never_touched() {
    let mut changed_tag = replica(&source(2, "a", "d"), "a");
    changed_tag["tags"][tags::SOURCE] = json!("x");
    let mut mislabelled = replica(&source(1, "a", "d"), "a");
    mislabelled["properties"]["creationData"]["sourceUniqueId"] = json!(unique(2));
    for found in [changed_tag, mislabelled] {
        let lists = Lists::new(&[source(2, "a", "d")], &[found]);
        let (rules, run) = (rules(), run(1, 10));
        let plan = lists.decide(&rules, &run, &SyncState::default());
        assert!(plan.is_empty() && plan.has_failures());
        assert_eq!(codes(&plan), ["snapshot-foreign"]);
    }
}

#[test]
fn what_cannot_be_copied_is_refused_with_its_reason() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 7] = [
        ("ade-encrypted", |p| p["encryptionSettingsCollection"] = json!({ "enabled": true })),
        ("confidential", |p| p["securityProfile"] = json!({ "securityType": "ConfidentialVM_NonPersistedTPM" })),
        ("encryption-set-missing", |p| p["encryption"] = json!({ "diskEncryptionSetId": "set" })),
        ("scratch-missing", |p| p["incremental"] = json!(false)),
        ("not-hydrated", |p| p["completionPercent"] = json!(99.0)),
        ("source-failed", |p| p["provisioningState"] = json!("Failed")),
        ("source-unreadable", |p| p["timeCreated"] = Value::Null),
    ];
    for (code, change) in cases {
        let mut item = source(1, "a", "d");
        change(&mut item["properties"]);
        let lists = Lists::new(&[item], &[]);
        let (rules, run) = (rules(), run(1, 10));
        let plan = lists.decide(&rules, &run, &SyncState::default());
        assert_eq!((copied(&plan).len(), codes(&plan)), (0, vec![code]));
    }
}

#[test]
fn a_replica_is_no_source() {
    let mut item = source(1, "a", "d");
    item["tags"][tags::ROLE] = json!("replica");
    let lists = Lists::new(&[item], &[]);
    let (rules, run) = (rules(), run(1, 10));
    assert_eq!(codes(&lists.decide(&rules, &run, &SyncState::default())), ["source-is-replica"]);
}

#[test]
fn an_incomplete_source_listing_stops_the_run() {
    let one = source(1, "a", "d");
    let mut lists = Lists::new(std::slice::from_ref(&one), &[replica(&one, "a")]);
    lists.source.coverage = crate::listing::Coverage::Incomplete("403".to_owned());
    let (rules, run) = (rules(), run(1, 10));
    let plan = lists.decide(&rules, &run, &SyncState::default());
    assert_eq!(plan.stopped.as_deref(), Some("the source was not listed completely: 403"));
    assert!(plan.has_failures() && plan.is_empty());
}

#[test]
fn contradicting_rules_are_found() {
    let mut bad = rules();
    bad.destinations.push(bad.destinations[0].clone());
    bad.destinations.push(crate::rules::Destination { group: group(1, "SNAPS"), ..bad.destinations[0].clone() });
    bad.destinations.push(crate::rules::Destination { group: group(2, "Other"), ..bad.destinations[0].clone() });
    bad.keep = std::num::NonZeroU32::new(1);
    bad.delete = DeletePolicy::Never;
    let expected = [
        RuleError::SharedGroup(group(2, "Replicas")),
        RuleError::DestinationIsSource(group(1, "Snaps")),
        RuleError::SharedPlace(group(2, "Replicas"), group(2, "Other")),
        RuleError::KeepWithoutMirror,
    ];
    assert_eq!(bad.check(), expected);
}

/// To another tenant, a disk is filled and the snapshot is created from it, in any region. What a SAS does not give is
/// refused.
#[test]
fn copies_to_another_tenant_are_exports() {
    let decide = |property: &str, value: Value| {
        let mut item = source(1, "a", "d");
        item["properties"][property] = value;
        let mut rules = rules();
        rules.destinations[0].other_tenant = true;
        let lists = Lists::new(&[item], &[]);
        let run = run(1, 10);
        let plan = lists.decide(&rules, &run, &SyncState::default());
        let rows: Vec<_> = crate::graph::Graph::new(&plan, &rules, &run).groups().flatten().collect();
        let steps: Vec<(String, u16, bool)> =
            rows.iter().map(|row| (row.id.step().to_owned(), row.spec.version(), row.always)).collect();
        (plan.copies.first().map(|copy| copy.method), codes(&plan), steps)
    };
    let rows = [("export", 1, false), ("snapshot", 2, false), ("remove", 2, true)];
    let rows = rows.map(|(step, version, always)| (step.to_owned(), version, always)).to_vec();
    assert_eq!(decide("incremental", json!(true)), (Some(Method::Export), vec![], rows.clone()));
    // A full snapshot needs no scratch group.
    assert_eq!(decide("incremental", json!(false)), (Some(Method::Export), vec![], rows));
    let own_key = json!({ "type": "EncryptionAtRestWithCustomerKey", "diskEncryptionSetId": "set" });
    for (code, property, value) in [
        ("security-not-exported", "securityProfile", json!({ "securityType": "TrustedLaunch" })),
        ("export-denied", "networkAccessPolicy", json!("AllowPrivate")),
        ("export-denied", "networkAccessPolicy", json!("DenyAll")),
        ("export-denied", "publicNetworkAccess", json!("Disabled")),
        ("export-denied", "dataAccessAuthMode", json!("AzureActiveDirectory")),
        ("size-unknown", "diskSizeBytes", Value::Null),
        ("encryption-set-missing", "encryption", own_key),
    ] {
        assert_eq!(decide(property, value), (None, vec![code], vec![]), "{code}");
    }
}
