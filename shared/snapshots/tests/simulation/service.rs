//! The service behind an unreliable network.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_snapshots::difference::Evidence;
use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::listing::{Listing, ListingReader};
use goldfleet_snapshots::remove::{Lock, Orphan, orphan};
use goldfleet_snapshots::snapshot::Snapshot;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::invariants::Invariants;
use crate::rng::Rng;
use crate::world::{Refusal, Thing, World, time};

/// A request that changes something.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Put(SnapshotId, Value),
    Delete(SnapshotId),
    PutDisk(String, Value),
    DeleteDisk(String),
    Lock(SnapshotId, Lock),
    Unlock(SnapshotId, String),
}

/// Why a call has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The request or the response was lost.
    Lost,
    Refused(Refusal),
}

/// A request that takes effect after more calls.
#[derive(Debug)]
struct Late {
    calls: u64,
    change: Change,
}

pub(crate) struct Service {
    pub(crate) world: World,
    pub(crate) rng: Rng,
    pub(crate) invariants: Invariants,
    /// Whether faults are injected.
    pub(crate) faulty: bool,
    late: Vec<Late>,
    /// The ids of what late requests created, in lower case. Their rows may have ended before.
    late_created: BTreeSet<String>,
    /// What lists return if they are behind.
    earlier: BTreeMap<String, Thing>,
    pub(crate) trace: Option<Vec<String>>,
}

impl Service {
    pub(crate) fn new(world: World, rng: Rng, invariants: Invariants, trace: bool) -> Self {
        let trace = trace.then(Vec::new);
        Self {
            world,
            rng,
            invariants,
            faulty: true,
            late: Vec::new(),
            late_created: BTreeSet::new(),
            earlier: BTreeMap::new(),
            trace,
        }
    }

    pub(crate) fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {}", self.world.now, line()));
        }
    }

    fn chance(&mut self, share: f64) -> bool {
        self.faulty && self.rng.chance(share)
    }

    /// Takes the state that lists which are behind return.
    pub(crate) fn remember(&mut self) {
        self.earlier = self.world.snapshots.clone();
    }

    pub(crate) fn settle(&mut self) {
        for late in std::mem::take(&mut self.late) {
            self.arrive(&late.change);
        }
    }

    /// A call passes: late requests come closer, copies make progress.
    fn begin(&mut self) {
        self.world.tick(&mut self.rng);
        let due: Vec<Change> = self.late.extract_if(.., |late| late.calls == 0).map(|late| late.change).collect();
        for late in &mut self.late {
            late.calls -= 1;
        }
        for change in due {
            self.arrive(&change);
        }
    }

    fn arrive(&mut self, change: &Change) {
        self.log(|| format!("late {}", short(change)));
        let id = match change {
            Change::Put(id, _) => Some(id.key()),
            Change::PutDisk(id, _) => Some(id.to_lowercase()),
            _ => None,
        };
        if self.apply(change).is_ok() {
            self.late_created.extend(id);
        }
    }

    /// Removes the temporaries that late requests created after the end of their rows. All jobs have ended.
    pub(crate) fn remove_orphans(&mut self, fleet: Uuid) {
        let now = time(self.world.now + 86_400);
        let is_orphan = |tags: &BTreeMap<String, String>, created| {
            orphan(tags, time(created), now, fleet, |_| Some(true)) == Orphan::Yes
        };
        let late = &self.late_created;
        self.world.disks.retain(|id, disk| !(late.contains(id) && is_orphan(&disk.tags, disk.created)));
        self.world.snapshots.retain(|id, thing| !(late.contains(id) && is_orphan(&thing.tags, thing.created)));
    }

    /// Sends a change.
    pub(crate) fn change(&mut self, change: Change) -> Result<(), CallError> {
        self.begin();
        let fate = if self.faulty { self.rng.number(0..40) } else { 99 };
        let result = match fate {
            0 | 1 => Err(CallError::Lost),
            2 | 3 => {
                let _ = self.apply(&change);
                Err(CallError::Lost)
            }
            4 => {
                let calls = self.rng.number(0..3);
                self.late.push(Late { calls, change: change.clone() });
                Err(CallError::Lost)
            }
            5 | 6 => {
                let _ = self.apply(&change);
                self.apply(&change).map_err(CallError::Refused)
            }
            _ => self.apply(&change).map_err(CallError::Refused),
        };
        self.log(|| format!("{} fate {fate} -> {result:?}", short(&change)));
        if let (false, Err(CallError::Refused(refusal @ (Refusal::Order | Refusal::Busy)))) = (self.faulty, result) {
            // Without faults, the gates keep the order of a family, and at most one copy of it runs.
            self.invariants.violations.push(format!("{} is refused: {refusal:?}", short(&change)));
        }
        result
    }

    fn apply(&mut self, change: &Change) -> Result<(), Refusal> {
        self.invariants.before(&self.world, change);
        match change {
            Change::Put(id, body) => self.world.put(id, body),
            Change::Delete(id) => self.world.delete(id).map(drop),
            Change::PutDisk(id, body) => self.world.put_disk(id, body),
            Change::DeleteDisk(id) => {
                self.world.disks.remove(&id.to_lowercase());
                Ok(())
            }
            Change::Lock(id, lock) => {
                let thing = self.world.snapshots.get_mut(&id.key()).ok_or(Refusal::NotFound)?;
                if !thing.locks.contains(lock) {
                    thing.locks.push(lock.clone());
                }
                Ok(())
            }
            Change::Unlock(id, lock) => {
                let thing = self.world.snapshots.get_mut(&id.key()).ok_or(Refusal::NotFound)?;
                thing.locks.retain(|found| !found.id.eq_ignore_ascii_case(lock));
                Ok(())
            }
        }
    }

    /// Gets a snapshot. None is 404.
    pub(crate) fn get(&mut self, id: &SnapshotId) -> Result<Option<Snapshot>, CallError> {
        self.begin();
        if self.chance(0.05) {
            return Err(CallError::Lost);
        }
        Ok(self.world.get(id).map(|thing| Snapshot::from_json(&thing.json(false)).unwrap()))
    }

    pub(crate) fn disk_tags(&mut self, id: &str) -> Result<Option<BTreeMap<String, String>>, CallError> {
        self.begin();
        if self.chance(0.05) {
            return Err(CallError::Lost);
        }
        Ok(self.world.disks.get(&id.to_lowercase()).map(|disk| disk.tags.clone()))
    }

    pub(crate) fn locks(&mut self, id: &SnapshotId) -> Result<Vec<Lock>, CallError> {
        self.begin();
        if self.chance(0.05) {
            return Err(CallError::Lost);
        }
        Ok(self.world.get(id).map(|thing| thing.locks.clone()).unwrap_or_default())
    }

    pub(crate) fn evidence(&mut self, id: &SnapshotId) -> Evidence {
        match self.get(id) {
            Ok(Some(found)) => Evidence::Present { unique_id: found.unique_id, tags: found.tags },
            Ok(None) => Evidence::Absent,
            Err(error) => Evidence::Unknown(format!("{error:?}")),
        }
    }

    /// Lists a group. The list can fail, end early with or without a sign, be behind, repeat a page, or contain an item
    /// that cannot be read.
    pub(crate) fn list(&mut self, group: &GroupRef) -> Listing {
        self.begin();
        let is_behind = self.chance(0.08);
        let from = if is_behind { &self.earlier } else { &self.world.snapshots };
        let mut items: Vec<Value> =
            from.values().filter(|thing| thing.id.group == *group).map(|thing| thing.json(true)).collect();
        if self.chance(0.04) && !items.is_empty() {
            let index = self.rng.index(items.len());
            let fields: &[&str] = &["timeCreated", "uniqueId", "provisioningState"];
            let field = self.rng.pick(fields).unwrap();
            items[index]["properties"].as_object_mut().unwrap().remove(field);
        }
        if self.chance(0.02) && !items.is_empty() {
            let index = self.rng.index(items.len());
            items[index]["id"] = Value::Null;
        }
        let mut pages: Vec<Vec<Value>> = items.chunks(3).map(<[Value]>::to_vec).collect();
        if pages.is_empty() {
            pages.push(Vec::new());
        }
        if self.chance(0.05) {
            let index = self.rng.index(pages.len());
            pages.insert(index, pages[index].clone());
        }
        let fate = if self.faulty { self.rng.number(0..40) } else { 99 };
        let kept = if matches!(fate, 0..=3) { self.rng.index(pages.len() + 1).max(1) } else { pages.len() };
        let mut reader = ListingReader::new(group.clone());
        for (number, page) in pages.iter().take(kept).enumerate() {
            // The service does not always know that its list is incomplete.
            let is_last = number + 1 == if fate == 0 { kept } else { pages.len() };
            let link = if is_last { Value::Null } else { json!("https://next") };
            reader.page(json!({ "value": page, "nextLink": link }).to_string().as_bytes()).unwrap();
        }
        match fate {
            2 => reader.fail("the connection was reset"),
            3 => drop(reader.page(b"<html>")),
            _ => {}
        }
        let listing = reader.finish();
        self.log(|| {
            let names: Vec<&String> = listing.snapshots.keys().collect();
            format!("list {group} behind {is_behind} fate {fate}: {:?} {names:?}", listing.coverage)
        });
        listing
    }
}

fn short(change: &Change) -> String {
    match change {
        Change::Put(id, body) => format!("PUT {} {}", id.name, body["properties"]["creationData"]),
        Change::PutDisk(id, _) => format!("PUT disk {id}"),
        other => format!("{other:?}"),
    }
}
