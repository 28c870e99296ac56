//! Which replicas a run deletes. In doubt, none.

use std::collections::BTreeMap;

use super::Evidence;
use super::copies::Copies;
use super::side::{Replica, Side};
use super::sources::{Sources, Standing};
use crate::id::SnapshotId;
use crate::plan::{Newer, Note, Plan, Reason, Removal, Severity};
use crate::rules::{DeletePolicy, Rules, Run};
use crate::state::{Cause, SyncState};

/// What decides about the deletions at a destination.
pub(super) struct Deletions<'s, 'a> {
    pub(super) rules: &'a Rules,
    pub(super) run: &'a Run,
    pub(super) sources: &'s Sources<'a>,
    pub(super) side: &'s Side<'a>,
    pub(super) evidence: &'s BTreeMap<SnapshotId, Evidence>,
    pub(super) copies: &'s Copies,
}

impl<'a> Deletions<'_, 'a> {
    /// Adds the replicas that are proven to have no use, and remembers the absences.
    pub(super) fn plan(&self, state: &SyncState, plan: &mut Plan<'a>) {
        // An item that could not be identified may be any source or any replica.
        let is_blind = self.sources.listing.has_unidentified() || self.side.has_unidentified();
        if self.rules.delete == DeletePolicy::Never || is_blind {
            return;
        }
        let key = self.side.destination.key();
        for replica in self.side.replicas.iter().filter(|replica| !replica.has_failed()) {
            let (Some(cause), Some(source)) = (self.cause(replica, plan), replica.source_id(self.rules)) else {
                continue;
            };
            let unique_id = &replica.snapshot.unique_id;
            let absence = state.absence(self.rules, self.run, &key, unique_id, cause);
            let is_proven = absence.is_proven(self.rules, self.run);
            plan.state.absences.entry(key.clone()).or_default().insert(unique_id.clone(), absence);
            if let Some((code, severity, message)) = self.objection(replica, is_proven) {
                plan.notes.push(self.side.note(code, severity, &replica.snapshot.id, message.to_owned()));
                continue;
            }
            let removal = Removal {
                snapshot: replica.snapshot,
                destination: self.side.index,
                source,
                source_unique_id: replica.tags().source.clone(),
                reason: Reason::Replica(cause),
                newer: if cause == Cause::Surplus { self.newer(replica) } else { Vec::new() },
            };
            match self.copies.needed.get(unique_id) {
                Some(Some(promotion)) => {
                    let promotion = &mut plan.promotions[*promotion];
                    promotion.held = false;
                    promotion.replaces = Some(removal);
                }
                Some(None) => {}
                None => plan.removals.push(removal),
            }
        }
    }

    /// Why a replica has no use. None if it has one, or if nothing is proven.
    fn cause(&self, replica: &Replica<'a>, plan: &mut Plan<'a>) -> Option<Cause> {
        match self.sources.standing(&replica.tags().source) {
            Some(Standing::Wanted | Standing::Present) => None,
            Some(Standing::Untagged) => self.is_untagged(replica, plan).then_some(Cause::Untagged),
            Some(Standing::Retired) => self.is_surplus(replica).then_some(Cause::Surplus),
            None => self.is_gone(replica, plan).then_some(Cause::Gone),
        }
    }

    /// Whether a source that has lost its tag in the list has none at this moment either.
    fn is_untagged(&self, replica: &Replica<'a>, plan: &mut Plan<'a>) -> bool {
        let found = replica.source_id(self.rules).and_then(|source| self.evidence.get(&source));
        let is_same = |unique_id: &str| unique_id == replica.tags().source;
        let reason = match found {
            None => return true,
            Some(Evidence::Present { unique_id, tags })
                if is_same(unique_id) && !self.rules.selection.has_tags(tags) =>
            {
                return true;
            }
            Some(Evidence::Present { .. } | Evidence::Absent) => {
                "its source has changed since the list was made".to_owned()
            }
            Some(Evidence::Unknown(reason)) => format!("nothing is proven about the tag of its source: {reason}"),
        };
        plan.notes.push(self.side.note("source-unknown", Severity::Warning, &replica.snapshot.id, reason));
        false
    }

    /// Whether as many newer sources have a complete replica as `keep` names.
    fn is_surplus(&self, replica: &Replica<'a>) -> bool {
        let kept = self.rules.keep.map(|keep| usize::try_from(keep.get()).unwrap_or(usize::MAX));
        kept.is_some_and(|kept| self.newer(replica).len() >= kept)
    }

    /// The complete replicas of newer sources that `keep` retains.
    fn newer(&self, replica: &Replica<'a>) -> Vec<Newer> {
        let of_family = self.side.of_family(&replica.tags().source_family);
        let newer = of_family.filter(|other| {
            let is_kept = self.sources.standing(&other.tags().source) == Some(Standing::Wanted);
            is_kept && other.is_complete() && !other.is_staged() && other.order() > replica.order()
        });
        let reference = |other: &Replica<'a>| Newer {
            id: other.snapshot.id.clone(),
            source_unique_id: other.tags().source.clone(),
        };
        newer.map(reference).collect()
    }

    /// Whether the source of a replica is proven not to exist. The list does not contain its unique id.
    fn is_gone(&self, replica: &Replica<'a>, plan: &mut Plan<'a>) -> bool {
        let mut doubt = |code, severity, message: &str| {
            plan.notes.push(self.side.note(code, severity, &replica.snapshot.id, message.to_owned()));
            false
        };
        let Some(source) = replica.source_id(self.rules) else {
            return doubt("other-source-group", Severity::Info, "its source is in another group than the sync reads");
        };
        let name = source.name_key();
        if self.sources.listing.is_set_aside(&name) {
            return false;
        }
        if self.sources.listing.snapshots.contains_key(&name) {
            return true;
        }
        match self.evidence.get(&source) {
            Some(Evidence::Absent) => true,
            Some(Evidence::Present { unique_id, .. }) if *unique_id != replica.tags().source => true,
            Some(Evidence::Present { .. }) => doubt(
                "list-inconsistent",
                Severity::Warning,
                "its source exists, although the list does not contain it",
            ),
            Some(Evidence::Unknown(reason)) => {
                let message = format!("its source is not in the list, and is not proven to be gone: {reason}");
                doubt("source-unknown", Severity::Warning, &message)
            }
            None => doubt("source-unknown", Severity::Warning, "its source is not in the list, and was not looked up"),
        }
    }

    /// Why a replica without use is not deleted in this run.
    fn objection(&self, replica: &Replica<'a>, is_proven: bool) -> Option<(&'static str, Severity, &'static str)> {
        let base = self.copies.bases.get(&replica.tags().source_family);
        if !replica.ours.is_confirmed {
            let message = "the service does not report which snapshot was copied, so nothing proves whose replica it is: \
                           delete it yourself";
            return Some(("replica-unconfirmed", Severity::Failure, message));
        }
        if !is_proven {
            let message = "it is not needed any more; a run after the grace period deletes it";
            return Some(("deletion-pending", Severity::Info, message));
        }
        if base == Some(&replica.snapshot.unique_id) {
            let message = "a copy of the next snapshot of its disk is based on it; a later run deletes it";
            return Some(("deletion-deferred", Severity::Info, message));
        }
        if self.copies.needed.get(&replica.snapshot.unique_id) == Some(&None) {
            let message = "it is deleted after the replica that replaces it is complete";
            return Some(("deletion-deferred", Severity::Info, message));
        }
        None
    }
}

/// Removes all deletions of replicas from a plan that has too many, or that would delete them because no source is
/// selected at all.
pub(super) fn limit(rules: &Rules, run: &Run, is_empty: bool, plan: &mut Plan<'_>) {
    let (due, max) = (plan.deletions(), run.max_deletes.unwrap_or(rules.max_deletes));
    // Another note says why nothing is selected.
    if due == 0 && is_empty && !run.allow_empty && plan.notes.is_empty() {
        let message =
            "no source snapshot is selected, so there is nothing to copy; correct the filters if that is not intended";
        let (code, severity) = ("source-empty", Severity::Warning);
        plan.notes.push(Note { code, severity, destination: None, snapshot: None, message: message.to_owned() });
    }
    let fault = if due > 0 && is_empty && !run.allow_empty {
        let message = format!(
            "no source snapshot is selected, so none of {due} replicas is deleted; if that is intended, run with --allow-empty"
        );
        Some(("source-empty", message))
    } else if due > usize::try_from(max).unwrap_or(usize::MAX) {
        let message = format!(
            "{due} replicas have no use, and a run deletes at most {max}, so it deletes none; inspect them, then run with --max-deletes {due}"
        );
        Some(("too-many-deletions", message))
    } else {
        None
    };
    if let Some((code, message)) = fault {
        plan.removals.retain(|removal| !matches!(removal.reason, Reason::Replica(_)));
        for promotion in &mut plan.promotions {
            promotion.held |= promotion.replaces.is_some();
        }
        plan.notes.push(Note { code, severity: Severity::Failure, destination: None, snapshot: None, message });
    }
    plan.promotions.retain(|promotion| !promotion.held);
}
