//! Which replicas a run creates at a destination.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::side::{Holder, Replica, Side};
use super::sources::Sources;
use crate::id::SnapshotId;
use crate::names;
use crate::plan::{Copy, Method, Plan, Promotion, Reason, Removal, Severity};
use crate::rules::{DeletePolicy, Rules};
use crate::snapshot::{Condition, Snapshot};

/// What the rules for deletion need to know about the copies at a destination.
#[derive(Default)]
pub(super) struct Copies {
    /// The replicas whose name a source needs, by unique id: the index of the promotion that waits for the name, or
    /// none if no complete replica of that source exists.
    pub(super) needed: HashMap<String, Option<usize>>,
    /// The names that sources without a replica get, in lower case.
    names: HashSet<String>,
    /// The replica on which the first copy of a family is based, by family: its unique id.
    pub(super) bases: BTreeMap<String, String>,
}

/// Adds the copies and promotions at a destination.
pub(super) fn plan<'a>(rules: &'a Rules, sources: &Sources<'a>, side: &Side<'a>, plan: &mut Plan<'a>) -> Copies {
    let mut copies = Copies::default();
    for (family, snapshots) in &sources.families {
        let first = plan.copies.len();
        for source in snapshots {
            let step = Step { rules, side, source, family };
            step.plan(plan, &mut copies);
        }
        // A copy between regions transfers the difference to the replica before it.
        let of_family = &plan.copies[first..];
        if let Some(oldest) = of_family.iter().find(|copy| copy.method == Method::CopyStart).map(|copy| copy.source) {
            let before = side.of_family(family).filter(|replica| replica.order() < oldest.order());
            if let Some(base) = before.max_by(|one, other| one.order().cmp(&other.order())) {
                copies.bases.insert(family.clone(), base.snapshot.unique_id.clone());
            }
        }
        let has_base = copies.bases.contains_key(family);
        for (number, copy) in plan.copies[first..].iter_mut().enumerate() {
            copy.has_base = copy.method == Method::CopyStart && (has_base || number > 0);
        }
    }
    remains(rules, side, plan);
    copies
}

/// Adds the removal of failed copies that no copy of this run clears.
fn remains<'a>(rules: &Rules, side: &Side<'a>, plan: &mut Plan<'a>) {
    let of_copies = plan.copies.iter().filter_map(|copy| copy.remains.clone());
    let of_promotions = plan.promotions.iter().filter_map(|promotion| promotion.remains.clone());
    let of_removals = plan.removals.iter().map(|removal| removal.snapshot.unique_id.clone());
    let cleared: HashSet<String> = of_copies.chain(of_promotions).chain(of_removals).collect();
    for replica in side.replicas.iter().filter(|replica| replica.has_failed()) {
        let Some(source) = replica.source_id(rules) else { continue };
        if !cleared.contains(&replica.snapshot.unique_id) {
            plan.removals.push(Removal {
                snapshot: replica.snapshot,
                destination: side.index,
                source,
                source_unique_id: replica.tags().source.clone(),
                reason: Reason::Remains,
                newer: Vec::new(),
            });
        }
    }
}

/// One source at one destination.
struct Step<'s, 'a> {
    rules: &'a Rules,
    side: &'s Side<'a>,
    source: &'a Snapshot,
    family: &'s str,
}

impl<'a> Step<'_, 'a> {
    fn plan(&self, plan: &mut Plan<'a>, copies: &mut Copies) {
        let (mut staged, mut finals) = (None, None);
        for replica in self.side.of_source(&self.source.unique_id) {
            let best = if replica.is_staged() { &mut staged } else { &mut finals };
            if best.is_none_or(|other| rank(replica) < rank(other)) {
                *best = Some(replica);
            }
        }
        self.report_duplicates(plan);
        match (finals, staged) {
            (Some(replica), staged) if replica.is_complete() => {
                plan.complete += 1;
                self.report_other_name(replica, plan);
                if let Some(staged) = staged {
                    plan.removals.push(self.removal_of_staged(staged, &replica.snapshot.id));
                }
            }
            (_, Some(staged)) if staged.is_complete() => self.promote(staged, plan, copies),
            (Some(replica), _) | (None, Some(replica)) => self.resume(replica, plan),
            (None, None) => self.create(plan, copies),
        }
    }

    /// Two replicas of one source: a copy that someone made with its tags, or a name that changed.
    fn report_duplicates(&self, plan: &mut Plan<'a>) {
        let of_source = self.side.of_source(&self.source.unique_id);
        let finals = of_source.filter(|replica| !replica.is_staged() && !replica.has_failed());
        for duplicate in finals.skip(1) {
            let message = "another replica of the same source exists; goldfleet keeps both".to_owned();
            plan.notes.push(self.side.note("replica-duplicate", Severity::Warning, &duplicate.snapshot.id, message));
        }
    }

    /// The names of a request do not apply to replicas that exist.
    fn report_other_name(&self, replica: &Replica<'a>, plan: &mut Plan<'a>) {
        let found = &replica.snapshot.id;
        if self.rules.replica_name.is_some() && found.name_key() != self.final_name().to_ascii_lowercase() {
            let message =
                "a complete replica of the snapshot has this name already, so no other one is made".to_owned();
            plan.notes.push(self.side.note("replica-named-otherwise", Severity::Warning, found, message));
        }
    }

    /// A replica that is not complete.
    fn resume(&self, replica: &Replica<'a>, plan: &mut Plan<'a>) {
        let remains = match &replica.condition {
            Condition::Complete | Condition::Underway { .. } => None,
            Condition::Failed { .. } => Some(replica.snapshot.unique_id.clone()),
            Condition::Doubtful { state } => {
                let message = format!("the service reports state {state} for the replica: inspect it, then delete it");
                plan.notes.push(self.side.note("replica-doubtful", Severity::Failure, &replica.snapshot.id, message));
                return;
            }
        };
        let Some(method) = self.method(plan) else { return };
        let is_new = remains.is_some();
        if is_new && self.is_late(method, plan) {
            return;
        }
        plan.copies.push(Copy {
            source: self.source,
            destination: self.side.index,
            name: replica.snapshot.id.name.clone(),
            staged: replica.is_staged(),
            method,
            underway: !is_new,
            has_base: false,
            remains,
        });
    }

    /// A source without a replica.
    fn create(&self, plan: &mut Plan<'a>, copies: &mut Copies) {
        let Some(method) = self.method(plan) else { return };
        let name = self.final_name();
        if !copies.names.insert(name.to_ascii_lowercase()) {
            let message = format!(
                "the replica of another snapshot of this run gets the name {name} too: use {{name}} in the template"
            );
            plan.notes.push(self.side.note("replica-name-taken", Severity::Failure, &self.source.id, message));
            return;
        }
        // The snapshot with the name may be the replica, and have lost its tags. Then the order is only a consequence.
        if let Holder::Other(reason) = self.side.holder(&name, self.rules) {
            return self.report_foreign(&name, &reason, plan);
        }
        if self.is_late(method, plan) {
            return;
        }
        let copy = |name, staged, remains| Copy {
            source: self.source,
            destination: self.side.index,
            name,
            staged,
            method,
            underway: false,
            has_base: false,
            remains,
        };
        match self.side.holder(&name, self.rules) {
            Holder::Nobody => plan.copies.push(copy(name, false, None)),
            Holder::Ours(old) if old.has_failed() => {
                plan.copies.push(copy(name, false, Some(old.snapshot.unique_id.clone())));
            }
            Holder::Ours(old) => {
                copies.needed.insert(old.snapshot.unique_id.clone(), None);
                self.report_outdated(old, plan);
                let staged = self.staged_name();
                match self.side.holder(&staged, self.rules) {
                    _ if self.rules.delete == DeletePolicy::Never => {}
                    Holder::Nobody => plan.copies.push(copy(staged, true, None)),
                    Holder::Ours(other) => self.report_taken(&staged, "it is a replica of another source", other, plan),
                    Holder::Other(reason) => self.report_foreign(&staged, &reason, plan),
                }
            }
            Holder::Other(reason) => self.report_foreign(&name, &reason, plan),
        }
    }

    /// A staged replica that is complete gets its final name if that is free or can become free.
    fn promote(&self, staged: &Replica<'a>, plan: &mut Plan<'a>, copies: &mut Copies) {
        let name = staged.tags().staged_for.clone().unwrap_or_else(|| self.final_name());
        let mut held = false;
        let remains = match self.side.holder(&name, self.rules) {
            Holder::Nobody => None,
            Holder::Other(reason) => return self.report_foreign(&name, &reason, plan),
            Holder::Ours(found) if found.has_failed() => Some(found.snapshot.unique_id.clone()),
            // The copy under the final name began in an earlier run.
            Holder::Ours(found) if found.tags().source == self.source.unique_id => match found.condition {
                Condition::Doubtful { .. } => return self.resume(found, plan),
                _ => None,
            },
            Holder::Ours(old) => {
                copies.needed.insert(old.snapshot.unique_id.clone(), Some(plan.promotions.len()));
                self.report_outdated(old, plan);
                held = true;
                None
            }
        };
        plan.complete += 1;
        plan.promotions.push(Promotion {
            source: self.source,
            destination: self.side.index,
            staged: staged.snapshot,
            name,
            replaces: None,
            held,
            remains,
        });
    }

    fn removal_of_staged(&self, staged: &Replica<'a>, done: &SnapshotId) -> Removal<'a> {
        Removal {
            snapshot: staged.snapshot,
            destination: self.side.index,
            source: self.source.id.clone(),
            source_unique_id: self.source.unique_id.clone(),
            reason: Reason::Staged(done.clone()),
            newer: Vec::new(),
        }
    }

    fn method(&self, plan: &mut Plan<'a>) -> Option<Method> {
        match self.side.method(self.source, self.rules) {
            Ok(method) => Some(method),
            Err((code, message)) => {
                plan.notes.push(self.side.note(code, Severity::Failure, &self.source.id, message));
                None
            }
        }
    }

    /// Whether it is too late to copy the source, because a newer one of its family was copied.
    fn is_late(&self, method: Method, plan: &mut Plan<'a>) -> bool {
        let order = self.source.order();
        let mut newer = self.side.of_family(self.family).filter(|replica| replica.order() > order);
        let mut older = self.side.of_family(self.family).filter(|replica| replica.order() < order);
        if self.rules.keep.is_some() && newer.next().is_some() && older.next().is_none() {
            let message = "older than the replicas that 'keep' retains, so it is not copied again".to_owned();
            plan.notes.push(self.side.note("not-kept", Severity::Info, &self.source.id, message));
            return true;
        }
        let mut newer = self.side.of_family(self.family).filter(|replica| replica.order() > order);
        let is_late = method == Method::CopyStart && newer.next().is_some();
        if is_late {
            let message = "a newer snapshot of the same disk was copied before, and the service copies the snapshots \
                           of a disk only in the order of their creation";
            plan.notes.push(self.side.note("snapshot-order", Severity::Failure, &self.source.id, message.to_owned()));
        }
        is_late
    }

    fn final_name(&self) -> String {
        self.rules.name_of(self.source, &self.side.destination.region)
    }

    fn staged_name(&self) -> String {
        let destination = self.side.destination;
        names::of_staged(self.rules.fleet, &self.source.unique_id, &destination.group, &destination.region)
    }

    fn report_outdated(&self, old: &Replica<'a>, plan: &mut Plan<'a>) {
        let (severity, what) = match self.rules.delete {
            DeletePolicy::Never => (Severity::Failure, "delete the old replica, or set delete = \"mirror\""),
            DeletePolicy::Mirror => (Severity::Info, "it is replaced after the new replica is complete"),
        };
        let message = format!("the source was created again, and the replica is of the earlier source: {what}");
        plan.notes.push(self.side.note("replica-outdated", severity, &old.snapshot.id, message));
    }

    fn report_foreign(&self, name: &str, reason: &str, plan: &mut Plan<'a>) {
        let id = SnapshotId::new(self.side.destination.group.clone(), name);
        let message = format!("a snapshot with the name of the replica exists, and {reason}: rename or delete it");
        plan.notes.push(self.side.note("snapshot-foreign", Severity::Failure, &id, message));
    }

    fn report_taken(&self, name: &str, reason: &str, other: &Replica<'a>, plan: &mut Plan<'a>) {
        let message = format!("the name {name} is taken: {reason}");
        plan.notes.push(self.side.note("snapshot-foreign", Severity::Failure, &other.snapshot.id, message));
    }
}

/// The most useful of several replicas has the lowest rank.
fn rank(replica: &Replica<'_>) -> u8 {
    match replica.condition {
        Condition::Complete => 0,
        Condition::Underway { .. } => 1,
        Condition::Failed { .. } => 2,
        Condition::Doubtful { .. } => 3,
    }
}
