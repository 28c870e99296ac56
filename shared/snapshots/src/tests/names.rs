use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{fleet, group, job, rules, source};
use crate::body::carried_tags;
use crate::id::SnapshotId;
use crate::names;
use crate::snapshot::Snapshot;
use crate::tags::{self, ReplicaTags};

proptest! {
    /// Every name that a source can have gives a name that the service permits, and no two names give the same one.
    #[test]
    fn names_of_replicas_are_valid_and_differ(one in "[A-Za-z0-9._-]{1,80}", other in "[A-Za-z0-9._-]{1,80}") {
        let id = |name: &str| SnapshotId::new(group(1, "Snaps"), name);
        let (first, second) = (names::of_replica(&id(&one)), names::of_replica(&id(&other)));
        prop_assert!(names::is_valid(&first), "{first}");
        prop_assert_eq!(first.eq_ignore_ascii_case(&second), one.eq_ignore_ascii_case(&other));
        if names::is_valid(&one) {
            prop_assert_eq!(first, one);
        }
    }

    /// The tags of a replica are readable in any case of their names, within the limits of the service.
    #[test]
    fn tags_of_replicas_are_read_back(name in "[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", upper: bool, number in 1_u32..1000) {
        let source = Snapshot::from_json(&source(number, &name, "disk")).unwrap();
        let mut expected = ReplicaTags::of(&source, fleet(), "ctx");
        expected.via = Some(super::unique(5));
        let map = expected.to_map(&job(1));
        prop_assert!(map.values().all(|value| value.len() <= 256));
        let cased = |name: String| if upper { name.to_ascii_uppercase() } else { name };
        let found: BTreeMap<_, _> = map.into_iter().map(|(name, value)| (cased(name), value)).collect();
        let read = ReplicaTags::in_tags(&found);
        prop_assert_eq!(read.as_ref(), Some(&expected));
        prop_assert_eq!(expected.source_in(&group(1, "SNAPS")).unwrap(), source.id);
        prop_assert_eq!(expected.source_in(&group(2, "Snaps")), None);
    }

    /// No response makes the reader panic.
    #[test]
    fn any_json_is_read_or_refused(text in "\\PC{0,200}") {
        let mut reader = crate::listing::ListingReader::new(group(1, "Snaps"));
        prop_assert!(reader.page(text.as_bytes()).is_err() || reader.finish().snapshots.is_empty());
    }
}

#[test]
fn names_of_temporaries_differ_by_everything_that_they_depend_on() {
    let region = "eastus".parse().unwrap();
    let name = |source: &str, resource_group: &str, number, part: &str| {
        names::of_temporary(fleet(), &job(number), source, &group(1, resource_group), &region, part)
    };
    let first = name("s", "g", 1, "disk");
    assert_eq!(first, name("s", "G", 1, "disk"));
    assert!(names::is_valid(&first) && first.starts_with("gf-temporary-"));
    for other in
        [name("t", "g", 1, "disk"), name("s", "h", 1, "disk"), name("s", "g", 2, "disk"), name("s", "g", 1, "b")]
    {
        assert_ne!(first, other);
    }
}

#[test]
fn the_trigger_and_our_tags_are_not_carried() {
    let mut item = source(1, "a", "d");
    item["tags"] = serde_json::json!({ "SNAPREPLICATE": "Replicate", "GoldFleet-Fleet": "x", "owner": "me" });
    let source = Snapshot::from_json(&item).unwrap();
    assert_eq!(carried_tags(&source, &rules()).into_keys().collect::<Vec<_>>(), ["owner"]);
    assert!(tags::is_reserved("goldfleet-x") && !tags::is_reserved("goldfish") && !tags::is_reserved("größe"));
}
