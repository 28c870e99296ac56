use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{at, source};
use crate::select::{Pattern, Selected, Selection};
use crate::snapshot::Snapshot;

fn name(text: &str) -> Pattern {
    Pattern::of_name(text).unwrap()
}

fn values(name: &str, value: &str) -> BTreeMap<String, Pattern> {
    BTreeMap::from([(name.to_owned(), Pattern::of_value(value).unwrap())])
}

/// The result for a snapshot that is named `Ctx-Web_1` and two hours old.
fn apply(selection: Selection) -> Selected {
    let snapshot = Snapshot::from_json(&source(1, "Ctx-Web_1", "disk-1")).unwrap();
    selection.apply(&snapshot, at(3))
}

#[test]
fn names_of_tags_and_snapshots_ignore_case_and_values_do_not() {
    let tags = |name: &str, value: &str| Selection { tags: values(name, value), ..Selection::default() };
    assert_eq!(apply(tags("snapreplicate", "Replicate")), Selected::Yes);
    assert_eq!(apply(tags("SnapReplicate", "Rep*")), Selected::Yes);
    assert_eq!(apply(tags("SnapReplicate", "replicate")), Selected::Untagged);
    assert_eq!(apply(tags("other", "*")), Selected::Untagged);
    let names = |text: &str| Selection { names: vec![name(text)], ..Selection::default() };
    assert_eq!(apply(names("ctx-*")), Selected::Yes);
    assert_eq!(apply(names("ctx")), Selected::Excluded);
    assert_eq!(apply(names("ctx-{web,db}_[0-9]")), Selected::Yes);
    assert!(Pattern::of_name("").is_err() && Pattern::of_name("[").is_err());
}

#[test]
fn only_a_lost_tag_counts_as_without_source() {
    let exclude = Selection { exclude_tags: values("owner", "pay*"), ..Selection::default() };
    assert_eq!(apply(exclude), Selected::Excluded);
    let exclude = Selection { exclude_names: vec![name("*web*")], ..Selection::default() };
    assert_eq!(apply(exclude), Selected::Excluded);
    let families = |text: &str| Selection { families: vec![name(text)], ..Selection::default() };
    assert_eq!(apply(families("family-disk-1")), Selected::Yes);
    assert_eq!(apply(families("disk-1")), Selected::Yes);
    assert_eq!(apply(families("disk-2")), Selected::Excluded);
}

#[test]
fn ages_include_their_limits() {
    let hours = SignedDuration::from_hours;
    let min = |age| apply(Selection { min_age: Some(age), ..Selection::default() });
    let max = |age| apply(Selection { max_age: Some(age), ..Selection::default() });
    assert_eq!((min(hours(2)), min(hours(3))), (Selected::Yes, Selected::Excluded));
    assert_eq!((max(hours(2)), max(hours(1))), (Selected::Yes, Selected::Excluded));
    let newer = Snapshot::from_json(&source(9, "Ctx", "disk-1")).unwrap();
    let young = Selection { max_age: Some(hours(0)), ..Selection::default() };
    assert_eq!(young.apply(&newer, at(3)), Selected::Yes, "a time after the clock is the age 0");
}
