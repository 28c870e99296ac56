//! What must hold at every step, from the true state of the model.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::rules::Rules;
use goldfleet_snapshots::snapshot::{Condition, Snapshot};

use crate::service::Change;
use crate::world::{Thing, World, text};

/// The name and the value of the tag that selects a snapshot.
pub(crate) const TRIGGER: (&str, &str) = ("SnapReplicate", "Replicate");

pub(crate) struct Invariants {
    rules: Rules,
    /// For each source without use, by unique id: the number of runs that began since, and when the first of them did.
    absent: BTreeMap<String, (u32, i64)>,
    /// The replicas whose removal read a source that is of use, by unique id.
    kept: BTreeSet<String>,
    /// The staged replicas whose removal read a complete final replica, by unique id.
    replaced: BTreeSet<String>,
    /// The replicas that were read as incomplete after their copy was cancelled, by unique id.
    discarded: BTreeSet<String>,
    /// The replicas that this run deleted.
    deleted: BTreeSet<String>,
    max_deletes: u32,
    /// How much the clocks of runs can differ, in seconds.
    skew: i64,
    pub(crate) violations: Vec<String>,
}

impl Invariants {
    pub(crate) fn new(rules: Rules, skew: i64) -> Self {
        let max_deletes = rules.max_deletes;
        Self {
            rules,
            absent: BTreeMap::new(),
            kept: BTreeSet::new(),
            replaced: BTreeSet::new(),
            discarded: BTreeSet::new(),
            deleted: BTreeSet::new(),
            max_deletes,
            skew,
            violations: Vec::new(),
        }
    }

    /// A run begins. `max_deletes` is its limit.
    pub(crate) fn begin_run(&mut self, world: &World, max_deletes: u32) {
        self.max_deletes = max_deletes;
        self.deleted.clear();
        self.kept.clear();
        self.replaced.clear();
        self.discarded.clear();
        let sources: BTreeSet<String> =
            world.snapshots.values().filter_map(|thing| thing.tag("goldfleet-source").map(str::to_owned)).collect();
        for source in sources {
            if is_valid(world, &self.rules.source, &source) {
                self.absent.remove(&source);
            } else {
                self.absent.entry(source).or_insert((0, world.now)).0 += 1;
            }
        }
    }

    /// The removal of a replica reads its source.
    pub(crate) fn read_source(&mut self, world: &World, replica: &str, source: &str) {
        if is_valid(world, &self.rules.source, source) {
            self.kept.insert(replica.to_owned());
        } else {
            self.kept.remove(replica);
        }
    }

    /// The removal of a staged replica reads the final replica. Others may delete that one directly afterwards.
    pub(crate) fn read_final(&mut self, staged: &str, found: Option<&Snapshot>, source: &str) {
        let is_final = |found: &Snapshot| {
            found.tag("goldfleet-source") == Some(source) && found.condition() == Condition::Complete
        };
        if found.is_some_and(is_final) {
            self.replaced.insert(staged.to_owned());
        } else {
            self.replaced.remove(staged);
        }
    }

    /// The clean-up of a cancelled copy reads its replica. The copy may become complete directly afterwards.
    pub(crate) fn read_incomplete(&mut self, found: Option<&Snapshot>) {
        let incomplete = found.filter(|found| found.condition() != Condition::Complete);
        self.discarded.extend(incomplete.map(|found| found.unique_id.clone()));
    }

    /// Checks a change before it takes effect.
    pub(crate) fn before(&mut self, world: &World, change: &Change) {
        let fault = match change {
            Change::Put(id, body) => world.get(id).filter(|thing| thing.foreign).and_then(|thing| {
                let same = thing.source_id == text(&body["properties"]["creationData"]["sourceResourceId"]);
                same.then(|| format!("changed foreign snapshot {}", thing.id))
            }),
            Change::Delete(id) => match world.get(id) {
                Some(thing) if thing.locks.is_empty() => self.fault_of_deletion(world, &thing.clone()),
                _ => None,
            },
            Change::Lock(id, _) => {
                world.get(id).filter(|thing| thing.foreign).map(|thing| format!("locked foreign snapshot {}", thing.id))
            }
            Change::Unlock(id, lock) => world.get(id).and_then(|thing| {
                let found = thing.locks.iter().find(|found| found.id == *lock)?;
                (!found.name.starts_with("goldfleet-")).then(|| format!("lifted foreign lock {}", found.id))
            }),
            Change::PutDisk(..) => None,
            Change::DeleteDisk(id) => world
                .disks
                .get(&id.to_lowercase())
                .filter(|disk| disk.tags.get("goldfleet-role").map(String::as_str) != Some("temporary"))
                .map(|_| format!("deleted foreign disk {id}")),
        };
        if let Some(fault) = fault {
            self.violations.push(format!("at {}: {fault}", world.now));
        }
    }

    fn fault_of_deletion(&mut self, world: &World, thing: &Thing) -> Option<String> {
        let name = thing.id.to_string();
        if thing.foreign {
            return Some(format!("deleted foreign snapshot {name}"));
        }
        if thing.tag("goldfleet-role") == Some("temporary") || thing.error.is_some() {
            return None;
        }
        let source = thing.tag("goldfleet-source").unwrap_or_default();
        if source != thing.source_unique && thing.tag("goldfleet-via").is_none() {
            // The source was created again when the copy began, so this never was its replica.
            return None;
        }
        if self.discarded.contains(&thing.unique) {
            return None;
        }
        if !thing.is_complete() {
            return Some(format!("deleted {name} during its copy"));
        }
        let is_sibling = |other: &&Thing| !other.foreign && other.unique != thing.unique && other.is_complete();
        let siblings = || world.in_group(&thing.id.group).filter(is_sibling);
        if self.replaced.contains(&thing.unique) {
            return None;
        }
        if self.kept.contains(&thing.unique) {
            return Some(format!("deleted {name}, although its source was read and is of use"));
        }
        self.deleted.insert(thing.unique.clone());
        if self.deleted.len() > usize::try_from(self.max_deletes).unwrap() {
            return Some(format!("deleted {name}, and more replicas than max_deletes"));
        }
        match self.absent.get(source) {
            Some((runs, since)) if *runs >= 2 => {
                let grace = self.rules.grace.as_secs() - self.skew;
                (world.now - since < grace).then(|| format!("deleted {name} before the end of the grace period"))
            }
            found => {
                let newer = siblings().filter(|other| {
                    other.tag("goldfleet-staged-for").is_none()
                        && other.tag("goldfleet-source-family") == thing.tag("goldfleet-source-family")
                        && other.tag("goldfleet-source-time") > thing.tag("goldfleet-source-time")
                });
                let is_surplus =
                    self.rules.keep.is_some_and(|keep| newer.count() >= usize::try_from(keep.get()).unwrap());
                (!is_surplus).then(|| format!("deleted {name}, whose source was absent in {found:?} runs"))
            }
        }
    }
}

/// Whether the service copied another snapshot than the tags name. Such a snapshot is reported as foreign, and kept.
fn is_mislabelled(thing: &Thing) -> bool {
    thing.tag("goldfleet-via").is_none() && thing.tag("goldfleet-source") != Some(thing.source_unique.as_str())
}

/// Whether a source exists and has its tag.
pub(crate) fn is_valid(world: &World, group: &GroupRef, unique: &str) -> bool {
    world.in_group(group).any(|thing| thing.unique == unique && thing.tag(TRIGGER.0) == Some(TRIGGER.1))
}

/// What must hold after runs without faults. `unreplicated` has the name of each source that the last run reported as
/// not replicated, by destination, with the code.
pub(crate) fn at_the_end(world: &World, rules: &Rules, unreplicated: &BTreeSet<(usize, String)>) -> Vec<String> {
    let mut faults = Vec::new();
    let wanted = wanted(world, rules);
    for (index, destination) in rules.destinations.iter().enumerate() {
        for source in &wanted {
            let is_reported = unreplicated.contains(&(index, source.id.name_key()));
            let found = world.in_group(&destination.group).find(|thing| {
                !thing.foreign && thing.is_complete() && thing.tag("goldfleet-source") == Some(source.unique.as_str())
            });
            match found {
                None if is_reported => {}
                None => faults.push(format!("{} has no replica of {}", destination.key(), source.id.name)),
                Some(thing) if thing.content != source.content => {
                    faults.push(format!("{} differs from its source", thing.id));
                }
                Some(thing) if thing.id.name != source.id.name && !is_reported => {
                    faults.push(format!("{} does not have the name of its source {}", thing.id, source.id.name));
                }
                Some(thing) if thing.tag("owner") != source.tag("owner") || thing.tag(TRIGGER.0).is_some() => {
                    faults.push(format!("{} has tags {:?}", thing.id, thing.tags));
                }
                Some(_) => {}
            }
        }
    }
    for thing in world.snapshots.values().filter(|thing| !thing.foreign) {
        let source = thing.tag("goldfleet-source").unwrap_or_default();
        if thing.tag("goldfleet-role") == Some("temporary") {
            faults.push(format!("temporary {} remains", thing.id));
        } else if thing.error.is_some() {
            faults.push(format!("failed copy {} remains", thing.id));
        } else if rules.delete == goldfleet_snapshots::rules::DeletePolicy::Mirror
            && !is_mislabelled(thing)
            && !is_valid(world, &rules.source, source)
        {
            faults.push(format!("{} remains without a source", thing.id));
        }
    }
    faults.extend(world.disks.keys().map(|id| format!("temporary disk {id} remains")));
    faults
}

/// The sources to replicate: the newest of each family.
fn wanted<'w>(world: &'w World, rules: &Rules) -> Vec<&'w Thing> {
    let mut families: BTreeMap<String, Vec<&Thing>> = BTreeMap::new();
    for thing in world.in_group(&rules.source).filter(|thing| thing.tag(TRIGGER.0) == Some(TRIGGER.1)) {
        let family = if thing.incremental { thing.family.clone() } else { format!("disk-{}", thing.source_unique) };
        families.entry(family).or_default().push(thing);
    }
    let keep = rules.keep.map_or(usize::MAX, |keep| usize::try_from(keep.get()).unwrap());
    for family in families.values_mut() {
        family.sort_by(|one, other| (one.created, &one.unique).cmp(&(other.created, &other.unique)));
        family.drain(..family.len().saturating_sub(keep));
    }
    families.into_values().flatten().collect()
}
