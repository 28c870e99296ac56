//! The comparison of a source group with the groups of the destinations.
//!
//! [`Difference::new`] matches sources and replicas. [`Difference::lookups`] names the sources that the list does not
//! contain; the caller gets each of them, because a list alone proves no absence. [`Difference::decide`] then returns
//! the plan of the run.

mod copies;
mod deletions;
mod side;
mod sources;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::id::SnapshotId;
use crate::listing::{Coverage, Listing, SetAside};
use crate::plan::{Lockable, Note, Plan, Severity};
use crate::remove::is_lockable;
use crate::rules::{DeletePolicy, Rules, Run};
use crate::state::SyncState;

use side::Side;
use sources::{Sources, Standing};

/// What the service returned for a snapshot that the list of the source group does not contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The snapshot exists and has this unique id.
    Present {
        /// In lower case.
        unique_id: String,
        /// The tags.
        tags: BTreeMap<String, String>,
    },
    /// 404 with the code `ResourceNotFound`, and the resource group could be listed. A missing group or subscription is
    /// no such evidence.
    Absent,
    /// Anything else: nothing is proven.
    Unknown(String),
}

/// The note about an item at a destination that cannot be used. It counts as present and as somebody else's.
fn unreadable(destination: usize, item: &SetAside) -> Note {
    let effect = if item.id.is_some() { "it is not changed" } else { "no replica is deleted" };
    Note {
        code: "destination-unreadable",
        severity: Severity::Warning,
        destination: Some(destination),
        snapshot: item.id.clone(),
        message: format!("a snapshot at the destination cannot be read, so {effect}: {}", item.error),
    }
}

/// A comparison, before absences are proven.
pub struct Difference<'a> {
    rules: &'a Rules,
    run: &'a Run,
    /// None if the source could not be listed completely.
    sources: Option<Sources<'a>>,
    sides: Vec<Side<'a>>,
    notes: Vec<Note>,
    stopped: Option<String>,
}

impl<'a> Difference<'a> {
    /// Compares complete listings. `destinations` has one listing for each destination of the rules, in order. A
    /// destination whose listing is incomplete is left out of the run.
    #[must_use]
    pub fn new(rules: &'a Rules, run: &'a Run, source: &'a Listing, destinations: &'a [Listing]) -> Self {
        let mut difference = Self { rules, run, sources: None, sides: Vec::new(), notes: Vec::new(), stopped: None };
        if let Some(reason) = difference.fault_of(source, destinations) {
            difference.stopped = Some(reason);
            return difference;
        }
        difference.sources = Some(Sources::new(source, rules, run, &mut difference.notes));
        for (index, listing) in destinations.iter().enumerate() {
            match &listing.coverage {
                Coverage::Complete => {
                    difference.sides.push(Side::new(index, rules, listing));
                    difference.notes.extend(listing.set_aside.iter().map(|item| unreadable(index, item)));
                }
                Coverage::Incomplete(reason) => difference.notes.push(Note {
                    code: "destination-incomplete",
                    severity: Severity::Failure,
                    destination: Some(index),
                    snapshot: None,
                    message: format!("the destination was not listed completely, so the run leaves it out: {reason}"),
                }),
            }
        }
        difference
    }

    /// Why nothing can be compared.
    fn fault_of(&self, source: &Listing, destinations: &[Listing]) -> Option<String> {
        let faults: Vec<String> = self.rules.check().iter().map(ToString::to_string).collect();
        let expected = self.rules.destinations.iter().map(|destination| &destination.group);
        if !faults.is_empty() {
            Some(faults.join("; "))
        } else if source.group != self.rules.source || !destinations.iter().map(|listing| &listing.group).eq(expected) {
            Some("the listings are not those of the groups that the rules name".to_owned())
        } else if let Coverage::Incomplete(reason) = &source.coverage {
            // An older snapshot of a family may be missing, and it could not be copied after a newer one.
            Some(format!("the source was not listed completely: {reason}"))
        } else {
            None
        }
    }

    /// The sources to get one by one before [`Difference::decide`], without duplicates: those that the list does not
    /// contain, and those that have lost their tag in it. A list may be older than the run before.
    #[must_use]
    pub fn lookups(&self) -> BTreeSet<SnapshotId> {
        let Some(sources) = self.sources.as_ref().filter(|_| self.rules.delete == DeletePolicy::Mirror) else {
            return BTreeSet::new();
        };
        let replicas = self.sides.iter().flat_map(|side| &side.replicas);
        let without_use = replicas.filter(|replica| !replica.has_failed()).filter_map(|replica| {
            let id = replica.source_id(self.rules)?;
            let name = id.name_key();
            let is_needed = match sources.standing(&replica.tags().source) {
                Some(Standing::Untagged) => true,
                Some(_) => false,
                None => !sources.listing.snapshots.contains_key(&name) && !sources.listing.is_set_aside(&name),
            };
            is_needed.then_some(id)
        });
        without_use.collect()
    }

    /// The complete replicas that the plan does not delete.
    fn lockable(&self, plan: &Plan<'a>) -> Vec<Lockable<'a>> {
        let replaced = plan
            .promotions
            .iter()
            .flat_map(|promotion| promotion.replaces.iter().map(|removal| removal.snapshot).chain([promotion.staged]));
        let deleted: HashSet<&str> = plan
            .removals
            .iter()
            .map(|removal| removal.snapshot)
            .chain(replaced)
            .map(|snapshot| snapshot.unique_id.as_str())
            .collect();
        let of_side = |side: &Side<'a>| {
            let kept = side.replicas.iter().filter(|replica| {
                is_lockable(&replica.ours, replica.snapshot) && !deleted.contains(replica.snapshot.unique_id.as_str())
            });
            let destination = side.index;
            kept.map(move |replica| Lockable { snapshot: replica.snapshot, destination }).collect::<Vec<_>>()
        };
        self.sides.iter().flat_map(of_side).collect()
    }

    /// Decides what the run does. A source without evidence counts as unknown.
    #[must_use]
    pub fn decide(mut self, evidence: &BTreeMap<SnapshotId, Evidence>, state: &SyncState) -> Plan<'a> {
        let mut plan = Plan {
            stopped: self.stopped.take(),
            copies: Vec::new(),
            promotions: Vec::new(),
            removals: Vec::new(),
            lockable: Vec::new(),
            locks: Vec::new(),
            complete: 0,
            notes: std::mem::take(&mut self.notes),
            state: SyncState::reset(self.rules),
        };
        let Some(sources) = &self.sources else { return plan };
        for side in &self.sides {
            let copies = copies::plan(self.rules, sources, side, &mut plan);
            let due =
                deletions::Deletions { rules: self.rules, run: self.run, sources, side, evidence, copies: &copies };
            due.plan(state, &mut plan);
        }
        deletions::limit(self.rules, self.run, sources.is_empty, &mut plan);
        if self.rules.lock {
            plan.lockable = self.lockable(&plan);
        }
        plan
    }
}
