use std::num::NonZeroU32;

use serde_json::{Value, json};

use super::{Lists, at, codes, copied, fleet, group, job, removed, replica, rules, run, source, unique};
use crate::difference::{Difference, Evidence};
use crate::id::SnapshotId;
use crate::listing::Coverage;
use crate::plan::{Plan, Reason};
use crate::remove::{Because, Decision, DiscardSpec, Facts, Lock, Orphan, RemoveSpec, TemporarySpec, orphan};
use crate::rules::{DeletePolicy, Rules};
use crate::snapshot::Snapshot;
use crate::state::{Cause, SyncState};
use crate::tags;

/// One source exists. The source of the other replica is gone.
fn lists() -> Lists {
    let (one, two) = (source(1, "a", "d"), source(2, "b", "e"));
    Lists::new(std::slice::from_ref(&one), &[replica(&one, "a"), replica(&two, "b")]).absent("b")
}

/// The state after a run at hour 10.
fn state(lists: &Lists, rules: &Rules) -> SyncState {
    let run = run(1, 10);
    let plan = lists.decide(rules, &run, &SyncState::default());
    assert!(removed(&plan).is_empty(), "the first run deletes nothing");
    serde_json::from_value(serde_json::to_value(&plan.state).unwrap()).unwrap()
}

fn check(lists: &Lists, rules: &Rules, state: &SyncState, hour: i64, test: impl Fn(&Plan<'_>)) {
    let run = run(2, hour);
    test(&lists.decide(rules, &run, state));
}

#[test]
fn a_replica_is_deleted_in_a_second_run_after_the_grace_period() {
    let (lists, rules) = (lists(), rules());
    let state = state(&lists, &rules);
    check(&lists, &rules, &state, 33, |plan| assert_eq!(codes(plan), ["deletion-pending"]));
    check(&lists, &rules, &state, 34, |plan| {
        assert_eq!(removed(plan), ["b"]);
        assert_eq!(plan.removals[0].reason, Reason::Replica(Cause::Gone));
    });
    // The same run, planned again after its planner was killed.
    let again = run(1, 40);
    assert!(removed(&lists.decide(&rules, &again, &state)).is_empty());
}

#[test]
fn nothing_is_deleted_by_default() {
    let (lists, mut rules) = (lists(), rules());
    let state = state(&lists, &rules);
    rules.delete = DeletePolicy::Never;
    check(&lists, &rules, &state, 99, |plan| assert!(plan.is_empty() && plan.state.absences.is_empty()));
}

#[test]
fn a_list_alone_proves_no_absence() {
    let rules = rules();
    let state = state(&lists(), &rules);
    let id = SnapshotId::new(group(1, "Snaps"), "b");
    let tagged = Snapshot::from_json(&source(2, "b", "e")).unwrap().tags;
    let doubts = [
        (None, "source-unknown"),
        (Some(Evidence::Unknown("ResourceGroupNotFound".to_owned())), "source-unknown"),
        (Some(Evidence::Present { unique_id: unique(2), tags: tagged }), "list-inconsistent"),
    ];
    for (evidence, code) in doubts {
        let mut lists = lists();
        assert_eq!(
            Difference::new(&rules, &run(2, 99), &lists.source, &lists.destinations).lookups(),
            [id.clone()].into()
        );
        lists.evidence = evidence.map(|evidence| (id.clone(), evidence)).into_iter().collect();
        check(&lists, &rules, &state, 99, |plan| {
            assert!(plan.is_empty());
            assert_eq!(codes(plan), [code]);
            assert!(plan.state.absences.is_empty(), "the absence is forgotten");
        });
    }
}

#[test]
fn an_incomplete_list_resets_the_absence() {
    let rules = rules();
    let first = state(&lists(), &rules);
    let mut incomplete = lists();
    incomplete.source.coverage = Coverage::Incomplete("lost".to_owned());
    let mut other = lists();
    other.destinations[0].coverage = Coverage::Incomplete("lost".to_owned());
    let mut unidentified = lists();
    let error = crate::snapshot::SnapshotError::NotAnObject;
    unidentified.source.set_aside.push(crate::listing::SetAside { id: None, error });
    for lists in [incomplete, other, unidentified] {
        check(&lists, &rules, &first, 99, |plan| {
            assert!(plan.removals.is_empty());
            assert!(plan.state.absences.is_empty());
        });
    }
}

#[test]
fn an_empty_selection_deletes_nothing_without_permission() {
    let two = source(2, "b", "e");
    let lists = Lists::new(&[], &[replica(&two, "b")]).absent("b");
    let rules = rules();
    let state = state(&lists, &rules);
    check(&lists, &rules, &state, 99, |plan| {
        assert!(plan.is_empty());
        assert_eq!(codes(plan), ["source-empty"]);
    });
    let permitted = crate::rules::Run { allow_empty: true, ..run(2, 99) };
    assert_eq!(removed(&lists.decide(&rules, &permitted, &state)), ["b"]);
}

#[test]
fn more_deletions_than_permitted_delete_nothing() {
    let (lists, mut rules) = (lists(), rules());
    let state = state(&lists, &rules);
    rules.max_deletes = 0;
    check(&lists, &rules, &state, 99, |plan| {
        assert!(plan.is_empty() && plan.has_failures());
        assert_eq!(codes(plan), ["too-many-deletions"]);
    });
    let permitted = crate::rules::Run { max_deletes: Some(1), ..run(2, 99) };
    assert_eq!(removed(&lists.decide(&rules, &permitted, &state)), ["b"]);
}

#[test]
fn other_rules_and_a_clock_that_was_wrong_start_the_grace_period_again() {
    let (lists, rules) = (lists(), rules());
    let state = state(&lists, &rules);
    let mut renamed = rules.clone();
    renamed.selection.names.push(crate::select::Pattern::of_name("*").unwrap());
    check(&lists, &renamed, &state, 99, |plan| assert_eq!(codes(plan), ["deletion-pending"]));
    check(&lists, &rules, &state, 9, |plan| {
        let absence = plan.state.absences.values().next().unwrap().values().next().unwrap();
        assert_eq!(absence.since, at(9), "the first run had a later time");
    });
}

#[test]
fn a_lost_tag_and_another_source_group_are_not_the_same() {
    let (one, mut two) = (source(1, "a", "d"), source(2, "b", "e"));
    let replicas = [replica(&one, "a"), replica(&two, "b")];
    two["tags"].as_object_mut().unwrap().remove("SnapReplicate");
    let untagged = Lists::new(&[one.clone(), two], &replicas);
    let mut rules = rules();
    let first = state(&untagged, &rules);
    check(&untagged, &rules, &first, 99, |plan| {
        assert_eq!(plan.removals[0].reason, Reason::Replica(Cause::Untagged));
    });
    // The operator changes `from`: the replicas of the old group stay.
    rules.source = group(1, "Elsewhere");
    let mut moved = Lists::new(&[], &replicas);
    moved.source.group = rules.source.clone();
    check(&moved, &rules, &first, 99, |plan| assert_eq!(codes(plan), ["other-source-group", "other-source-group"]));
}

/// A list can be older than the source. The source itself says whether it has the tag.
#[test]
fn a_tag_that_only_the_list_has_lost_starts_the_count_again() {
    let (one, two) = (source(1, "a", "d"), source(2, "b", "e"));
    let replicas = [replica(&one, "a"), replica(&two, "b")];
    let mut listed = two.clone();
    listed["tags"].as_object_mut().unwrap().remove("SnapReplicate");
    let mut lists = Lists::new(&[one, listed], &replicas);
    let (rules, run) = (rules(), run(2, 99));
    let first = state(&lists, &rules);
    let id = SnapshotId::new(group(1, "Snaps"), "b");
    assert!(Difference::new(&rules, &run, &lists.source, &lists.destinations).lookups().contains(&id));
    let tags = serde_json::from_value(two["tags"].clone()).unwrap();
    let doubts = [
        Evidence::Present { unique_id: unique(2), tags },
        Evidence::Absent,
        Evidence::Unknown("the service did not answer".to_owned()),
    ];
    for evidence in doubts {
        lists.evidence.insert(id.clone(), evidence);
        let plan = lists.decide(&rules, &run, &first);
        assert!(plan.removals.is_empty() && plan.state.absences.is_empty(), "{:?}", plan.removals);
        assert_eq!(codes(&plan), ["source-unknown"]);
    }
    lists.evidence.insert(id, Evidence::Present { unique_id: unique(2), tags: std::collections::BTreeMap::new() });
    assert_eq!(lists.decide(&rules, &run, &first).removals.len(), 1);
}

#[test]
fn a_replica_without_confirmation_is_never_deleted() {
    let (one, two) = (source(1, "a", "d"), source(2, "b", "e"));
    let mut unconfirmed = replica(&two, "b");
    unconfirmed["properties"]["creationData"]["sourceUniqueId"] = Value::Null;
    let lists = Lists::new(std::slice::from_ref(&one), &[replica(&one, "a"), unconfirmed]).absent("b");
    let rules = rules();
    let state = state(&lists, &rules);
    check(&lists, &rules, &state, 99, |plan| assert_eq!(codes(plan), ["replica-unconfirmed"]));
}

#[test]
fn the_base_of_a_copy_is_deleted_after_it() {
    let (old, new) = (source(1, "a", "d"), source(2, "b", "d"));
    let lists = Lists::new(&[new], &[replica(&old, "a")]).absent("a");
    let rules = rules();
    let state = state(&lists, &rules);
    check(&lists, &rules, &state, 99, |plan| {
        assert_eq!((copied(plan), removed(plan).len()), (vec!["b".to_owned()], 0));
        assert_eq!(codes(plan), ["deletion-deferred"]);
    });
}

#[test]
fn keep_deletes_only_what_newer_complete_replicas_replace() {
    let sources: Vec<Value> = (1..=3).map(|number| source(number, &format!("s{number}"), "d")).collect();
    let replicas: Vec<Value> = sources.iter().zip(["s1", "s2", "s3"]).map(|(of, name)| replica(of, name)).collect();
    let rules = Rules { keep: NonZeroU32::new(2), ..rules() };
    let all = Lists::new(&sources, &replicas);
    let first = state(&all, &rules);
    check(&all, &rules, &first, 99, |plan| {
        assert_eq!(
            (removed(plan), &plan.removals[0].reason),
            (vec!["s1".to_owned()], &Reason::Replica(Cause::Surplus))
        );
    });
    // The newest one is not complete, so the oldest one is still of use.
    let mut unfinished = replicas.clone();
    unfinished[2]["properties"]["completionPercent"] = json!(50.0);
    let lists = Lists::new(&sources, &unfinished);
    check(&lists, &rules, &first, 99, |plan| assert!(removed(plan).is_empty()));
    // The newest source is deleted: the oldest one is not copied again.
    let lists = Lists::new(&sources[..2], &replicas[1..]).absent("s3");
    check(&lists, &rules, &SyncState::default(), 99, |plan| {
        assert!(plan.copies.is_empty());
        assert_eq!(codes(plan), ["not-kept", "deletion-pending"]);
    });
}

#[test]
fn a_replacement_takes_the_name_after_two_runs() {
    let (old, new) = (source(1, "a", "d"), source(2, "a", "d"));
    let mut staged = replica(&new, "gf-replica-x");
    staged["tags"][tags::STAGED_FOR] = json!("a");
    let lists = Lists::new(std::slice::from_ref(&new), &[replica(&old, "a"), staged.clone()]);
    let rules = rules();
    let first = state(&lists, &rules);
    check(&lists, &rules, &first, 99, |plan| {
        let promotion = &plan.promotions[0];
        assert_eq!((promotion.name.as_str(), plan.deletions(), plan.removals.len()), ("a", 1, 0));
        assert_eq!(promotion.replaces.as_ref().unwrap().reason, Reason::Replica(Cause::Gone));
    });
    // The run was killed after the old replica was deleted.
    let lists = Lists::new(std::slice::from_ref(&new), std::slice::from_ref(&staged));
    check(&lists, &rules, &SyncState::default(), 99, |plan| assert!(plan.promotions[0].replaces.is_none()));
    // It was killed after the final replica was complete.
    let mut last = replica(&new, "a");
    last["tags"][tags::VIA] = json!(unique(1002));
    last["properties"]["creationData"]["sourceUniqueId"] = json!(unique(1002));
    last["properties"]["uniqueId"] = json!(unique(3002));
    let lists = Lists::new(&[new], &[last, staged]);
    check(&lists, &rules, &SyncState::default(), 99, |plan| {
        assert!(matches!(plan.removals[0].reason, Reason::Staged(_)));
        assert_eq!((plan.removals.len(), plan.complete), (1, 1));
    });
}

fn spec(because: Because) -> RemoveSpec {
    RemoveSpec {
        fleet: fleet(),
        sync: "ctx".to_owned(),
        tags: rules().selection.tag_patterns(),
        id: SnapshotId::new(group(2, "Replicas"), "b"),
        unique_id: unique(1002),
        source: SnapshotId::new(group(1, "Snaps"), "b"),
        source_unique_id: unique(2),
        because,
        newer: Vec::new(),
        lift_lock: false,
        made_by: None,
    }
}

fn decide(spec: &RemoveSpec, current: Option<&Value>, source: &Evidence, locks: &[Lock]) -> Decision {
    let current = current.map(|item| Snapshot::from_json(item).unwrap());
    let facts = Facts { current: current.as_ref(), source, done: None, newer: &[], locks };
    spec.decide(facts)
}

#[test]
fn the_last_check_deletes_only_what_the_plan_named() {
    let spec = spec(Because::Replica(Cause::Gone));
    let item = replica(&source(2, "b", "e"), "b");
    assert_eq!(decide(&spec, Some(&item), &Evidence::Absent, &[]), Decision::Delete);
    assert_eq!(decide(&spec, None, &Evidence::Absent, &[]), Decision::Done);
    let mut other = item.clone();
    other["properties"]["uniqueId"] = json!(unique(5));
    assert_eq!(decide(&spec, Some(&other), &Evidence::Absent, &[]), Decision::Done);
    for tag in [tags::FLEET, tags::ROLE, tags::SYNC, tags::SOURCE] {
        let mut changed = item.clone();
        changed["tags"][tag] = json!("00000000-0000-0000-0000-0000000000ff");
        let decision = decide(&spec, Some(&changed), &Evidence::Absent, &[]);
        assert!(matches!(decision, Decision::Refuse { code: "snapshot-foreign", .. }), "{tag}: {decision:?}");
    }
    let unknown = decide(&spec, Some(&item), &Evidence::Unknown("503".to_owned()), &[]);
    assert!(matches!(unknown, Decision::Refuse { code: "source-unknown", .. }));
    let tags = Snapshot::from_json(&source(2, "b", "e")).unwrap().tags;
    let back = Evidence::Present { unique_id: unique(2), tags };
    assert!(matches!(decide(&spec, Some(&item), &back, &[]), Decision::Keep(_)));
}

#[test]
fn a_tag_that_was_set_again_keeps_the_replica() {
    let spec = spec(Because::Replica(Cause::Untagged));
    let item = replica(&source(2, "b", "e"), "b");
    let present = |tags| Evidence::Present { unique_id: unique(2), tags };
    let tags = Snapshot::from_json(&source(2, "b", "e")).unwrap().tags;
    assert!(matches!(decide(&spec, Some(&item), &present(tags), &[]), Decision::Keep(_)));
    assert_eq!(decide(&spec, Some(&item), &present([].into()), &[]), Decision::Delete);
}

#[test]
fn a_foreign_lock_is_respected_and_only_our_own_is_lifted() {
    let mut spec = spec(Because::Replica(Cause::Gone));
    let item = replica(&source(2, "b", "e"), "b");
    let lock = |scope: &str, name: &str, level: &str| {
        let id = format!("{scope}/providers/Microsoft.Authorization/locks/{name}");
        Lock::from_json(&json!({ "id": id, "name": name, "properties": { "level": level } }))
    };
    let own = lock(&spec.id.to_string().to_uppercase(), "goldfleet-ctx", "CanNotDelete");
    let decide = |spec: &RemoveSpec, locks: &[Lock]| decide(spec, Some(&item), &Evidence::Absent, locks);
    let locked = |decision| matches!(decision, Decision::Refuse { code: "scope-locked", .. });
    assert!(locked(decide(&spec, std::slice::from_ref(&own))), "the sync does not set locks");
    spec.lift_lock = true;
    assert_eq!(decide(&spec, std::slice::from_ref(&own)), Decision::LiftLock(own.id.clone()));
    let foreign = [
        lock("/subscriptions/s/resourceGroups/Replicas", "goldfleet-ctx", "CanNotDelete"),
        lock(&spec.id.to_string(), "goldfleet-other", "CanNotDelete"),
        lock(&spec.id.to_string(), "goldfleet-ctx", "ReadOnly"),
        Lock::from_json(&json!({})),
    ];
    for lock in foreign {
        assert!(locked(decide(&spec, &[own.clone(), lock])));
    }
}

#[test]
fn a_temporary_is_deleted_only_by_its_job() {
    let spec = TemporarySpec { fleet: fleet(), id: "disk".to_owned(), job: job(1) };
    let own = tags::of_temporary(fleet(), &job(1), &unique(1));
    assert_eq!(spec.decide(Some(&own), &[]), Decision::Delete);
    assert_eq!(spec.decide(None, &[]), Decision::Done);
    let other = tags::of_temporary(fleet(), &job(2), &unique(1));
    assert!(matches!(spec.decide(Some(&other), &[]), Decision::Refuse { .. }));
    assert!(matches!(spec.decide(Some(&[].into()), &[]), Decision::Refuse { .. }));
}

#[test]
fn only_an_incomplete_replica_of_the_cancelled_copy_is_discarded() {
    let source = source(2, "b", "e");
    let spec = DiscardSpec {
        fleet: fleet(),
        sync: "ctx".to_owned(),
        id: SnapshotId::new(group(2, "Replicas"), "b"),
        source_unique_id: unique(2),
        job: job(0),
        copy: "snapshot-000000000000.snapshot".parse().unwrap(),
    };
    let read = |item: &Value| Snapshot::from_json(item).unwrap();
    let complete = replica(&source, "b");
    let mut incomplete = complete.clone();
    incomplete["properties"]["completionPercent"] = json!(50.0);
    assert_eq!(spec.decide(Some(&read(&incomplete)), true, &[]), Decision::Delete);
    assert!(matches!(spec.decide(Some(&read(&incomplete)), false, &[]), Decision::Keep(_)), "it may complete");
    assert!(matches!(spec.decide(Some(&read(&complete)), true, &[]), Decision::Keep(_)));
    assert_eq!(spec.decide(None, true, &[]), Decision::Done);
    let lock = Lock::from_json(&json!({ "id": "x", "name": "x" }));
    assert!(matches!(
        spec.decide(Some(&read(&incomplete)), true, &[lock]),
        Decision::Refuse { code: "scope-locked", .. }
    ));
    for tag in [tags::FLEET, tags::ROLE, tags::SYNC, tags::SOURCE, tags::JOB] {
        let mut changed = incomplete.clone();
        changed["tags"][tag] = json!("00000000-0000-0000-0000-0000000000ff");
        assert!(matches!(spec.decide(Some(&read(&changed)), true, &[]), Decision::Keep(_)), "{tag}");
    }
    incomplete["properties"]["copyCompletionError"] = json!({ "errorCode": "CopySourceNotFound" });
    assert_eq!(spec.decide(Some(&read(&incomplete)), false, &[]), Decision::Delete, "a failed copy never completes");
}

#[test]
fn an_orphan_is_an_old_temporary_of_a_job_that_ended() {
    let own = tags::of_temporary(fleet(), &job(1), &unique(1));
    let check = |tags, hour, ended: Option<bool>| orphan(tags, at(0), at(hour), fleet(), |_| ended);
    assert_eq!(check(&own, 24, Some(true)), Orphan::Yes);
    assert_eq!(check(&own, 23, Some(true)), Orphan::InUse);
    assert_eq!(check(&own, 24, Some(false)), Orphan::InUse);
    assert_eq!(check(&own, 24, None), Orphan::UnknownJob);
    let staged = Snapshot::from_json(&replica(&source(2, "b", "e"), "b")).unwrap();
    assert_eq!(check(&staged.tags, 24, Some(true)), Orphan::Foreign);
    assert_eq!(orphan(&own, at(0), at(24), uuid::Uuid::from_u128(8), |_| Some(true)), Orphan::Foreign);
}

#[test]
fn a_surplus_replica_is_kept_if_a_newer_one_disappeared() {
    let newer = crate::plan::Newer { id: SnapshotId::new(group(2, "Replicas"), "c"), source_unique_id: unique(3) };
    let spec = RemoveSpec { newer: vec![newer], ..spec(Because::Replica(Cause::Surplus)) };
    let current = Snapshot::from_json(&replica(&source(2, "b", "e"), "b")).unwrap();
    let decide = |newer: Option<Value>| {
        let newer = [newer.map(|item| Snapshot::from_json(&item).unwrap())];
        let source = Evidence::Unknown("not read".to_owned());
        let facts = Facts { current: Some(&current), source: &source, done: None, newer: &newer, locks: &[] };
        spec.decide(facts)
    };
    let complete = replica(&source(3, "c", "e"), "c");
    let mut unfinished = complete.clone();
    unfinished["properties"]["completionPercent"] = json!(50.0);
    assert_eq!(decide(Some(complete)), Decision::Delete);
    for missing in [None, Some(unfinished)] {
        assert!(matches!(decide(missing), Decision::Keep(_)));
    }
}
