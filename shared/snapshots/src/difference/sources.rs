//! The source side of a comparison.

use std::collections::{BTreeMap, HashMap};

use crate::id::SnapshotId;
use crate::listing::Listing;
use crate::plan::{Note, Severity};
use crate::rules::{Rules, Run};
use crate::select::Selected;
use crate::snapshot::{Condition, Snapshot};
use crate::tags::{self, Role};

/// The number of tags that goldfleet can add to a replica.
const OUR_TAGS: usize = 11;

/// What a sync does with a snapshot that the source group contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is copied.
    Wanted,
    /// It would be copied, but it is not among the newest of its family.
    Retired,
    /// It lost the tag that selects it.
    Untagged,
    /// It exists, and is not copied in this run.
    Present,
}

/// The snapshots of the source group.
pub(super) struct Sources<'a> {
    pub(super) listing: &'a Listing,
    /// What the sync does with each, by unique id.
    standings: HashMap<&'a str, Standing>,
    /// The snapshots to copy by family, oldest first.
    pub(super) families: BTreeMap<String, Vec<&'a Snapshot>>,
    /// Whether the filters select no snapshot at all.
    pub(super) is_empty: bool,
}

impl<'a> Sources<'a> {
    /// Applies the filters and the number of snapshots to keep.
    pub(super) fn new(listing: &'a Listing, rules: &Rules, run: &Run, notes: &mut Vec<Note>) -> Self {
        let mut sources = Self { listing, standings: HashMap::new(), families: BTreeMap::new(), is_empty: true };
        for snapshot in listing.snapshots.values() {
            let standing = match rules.selection.apply(snapshot, run.now) {
                Selected::Untagged => Standing::Untagged,
                Selected::Excluded => Standing::Present,
                Selected::Yes => sources.selected(snapshot, rules, notes),
            };
            sources.standings.insert(&snapshot.unique_id, standing);
        }
        for family in sources.families.values_mut() {
            family.sort_by(|one, other| one.order().cmp(&other.order()));
            let kept = rules.keep.map_or(family.len(), |keep| usize::try_from(keep.get()).unwrap_or(usize::MAX));
            for retired in family.drain(..family.len().saturating_sub(kept)) {
                sources.standings.insert(&retired.unique_id, Standing::Retired);
            }
        }
        let is_excluded = |id: &SnapshotId| rules.selection.excludes_name(&id.name);
        let unreadable = listing.set_aside.iter().filter(|item| !item.id.as_ref().is_some_and(is_excluded));
        notes.extend(unreadable.map(|item| Note {
            code: "source-unreadable",
            severity: Severity::Failure,
            destination: None,
            snapshot: item.id.clone(),
            message: format!("the source snapshot is not copied: {}", item.error),
        }));
        sources
    }

    /// What the sync does with the snapshot that has this unique id. None if the list does not contain it.
    pub(super) fn standing(&self, unique_id: &str) -> Option<Standing> {
        self.standings.get(unique_id).copied()
    }

    fn selected(&mut self, snapshot: &'a Snapshot, rules: &Rules, notes: &mut Vec<Note>) -> Standing {
        self.is_empty = false;
        match refusal(snapshot, rules) {
            None => {
                self.families.entry(snapshot.family()).or_default().push(snapshot);
                Standing::Wanted
            }
            Some((code, severity, message)) => {
                let snapshot = Some(snapshot.id.clone());
                notes.push(Note { code, severity, destination: None, snapshot, message });
                Standing::Present
            }
        }
    }
}

/// Why a selected snapshot is not copied to any destination.
fn refusal(snapshot: &Snapshot, rules: &Rules) -> Option<(&'static str, Severity, String)> {
    let failure = |code, message: &str| Some((code, Severity::Failure, message.to_owned()));
    let foreign = snapshot.tags.keys().filter(|name| !tags::is_reserved(name) && !rules.selection.is_trigger(name));
    let is_confidential = |kind: &str| kind.to_ascii_lowercase().starts_with("confidential");
    if matches!(Role::in_tags(&snapshot.tags), Some(Role::Replica | Role::Temporary)) {
        let message = "it is a replica or a temporary snapshot of goldfleet; such snapshots are not copied";
        return Some(("source-is-replica", Severity::Warning, message.to_owned()));
    }
    if snapshot.disk_encryption_extension {
        return failure(
            "ade-encrypted",
            "Azure Disk Encryption encrypts it, and a copy has no keys; use encryption at host or a disk encryption set",
        );
    }
    if snapshot.machine.security_type.as_deref().is_some_and(is_confidential) {
        return failure("confidential", "it belongs to a confidential machine, whose disks cannot be copied");
    }
    if foreign.count() + OUR_TAGS > tags::MAX_TAGS {
        return failure("too-many-tags", "a replica needs 11 tags, and a resource has at most 50; remove tags");
    }
    match snapshot.condition() {
        Condition::Complete => None,
        Condition::Underway { .. } => {
            let message = "its content is not complete yet; a later run copies it";
            Some(("not-hydrated", Severity::Info, message.to_owned()))
        }
        Condition::Failed { code, message } => {
            Some(("source-failed", Severity::Failure, format!("its content is not complete: {code}: {message}")))
        }
        Condition::Doubtful { state } => {
            let message = format!("the service reports state {state}, so its content may not be complete; repair it");
            Some(("source-failed", Severity::Failure, message))
        }
    }
}
