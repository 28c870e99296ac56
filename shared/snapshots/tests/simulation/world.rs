//! A model of the service: snapshots, disks and locks with the rules that matter to a sync.

use std::collections::BTreeMap;

use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::remove::Lock;
use serde_json::{Value, json};

use crate::rng::Rng;

/// A snapshot of the model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Thing {
    pub(crate) id: SnapshotId,
    pub(crate) unique: String,
    pub(crate) region: String,
    /// Seconds since the beginning of the model.
    pub(crate) created: i64,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) incremental: bool,
    pub(crate) family: String,
    pub(crate) option: String,
    pub(crate) source_id: String,
    pub(crate) source_unique: String,
    /// Equal numbers are equal bytes.
    pub(crate) content: u64,
    pub(crate) percent: f64,
    pub(crate) error: Option<&'static str>,
    pub(crate) locks: Vec<Lock>,
    /// Whether someone else than the fleet created it.
    pub(crate) foreign: bool,
}

/// A temporary disk of the model.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) unique: String,
    pub(crate) region: String,
    pub(crate) created: i64,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) content: u64,
}

/// Why the service refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    Conflict,
    Busy,
    Order,
    Locked,
    Bad(&'static str),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    /// Seconds.
    pub(crate) now: i64,
    /// By id in lower case.
    pub(crate) snapshots: BTreeMap<String, Thing>,
    pub(crate) disks: BTreeMap<String, Disk>,
    next: u64,
}

/// The time of the model as the service writes it.
pub(crate) fn time(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

impl Thing {
    pub(crate) fn is_complete(&self) -> bool {
        self.error.is_none() && self.percent >= 100.0
    }

    pub(crate) fn tag(&self, name: &str) -> Option<&str> {
        self.tags.get(name).map(String::as_str)
    }

    /// The service's JSON. Resource groups are in upper case, as recorded.
    pub(crate) fn json(&self, group_in_upper_case: bool) -> Value {
        let mut id = self.id.clone();
        if group_in_upper_case {
            id.group.resource_group = id.group.resource_group.as_str().to_uppercase().parse().unwrap();
        }
        let mut properties = json!({
            "provisioningState": "Succeeded", "uniqueId": self.unique, "timeCreated": time(self.created).to_string(),
            "incremental": self.incremental, "diskSizeBytes": 1 << 30,
            "creationData": {
                "createOption": self.option, "sourceResourceId": self.source_id, "sourceUniqueId": self.source_unique,
            },
        });
        if self.incremental {
            properties["incrementalSnapshotFamilyId"] = json!(self.family);
        }
        if self.option == "CopyStart" {
            properties["completionPercent"] = json!(self.percent);
        }
        if let Some(code) = self.error {
            properties["copyCompletionError"] = json!({ "errorCode": code, "errorMessage": "the source is gone" });
        }
        json!({
            "id": id.to_string(), "name": self.id.name, "location": self.region, "tags": self.tags,
            "properties": properties,
        })
    }
}

impl World {
    pub(crate) fn unique(&mut self) -> String {
        self.next += 1;
        format!("00000000-0000-0000-0000-{:012x}", self.next)
    }

    pub(crate) fn get(&self, id: &SnapshotId) -> Option<&Thing> {
        self.snapshots.get(&id.key())
    }

    pub(crate) fn in_group<'w>(&'w self, group: &GroupRef) -> impl Iterator<Item = &'w Thing> {
        self.snapshots.values().filter(move |thing| thing.id.group == *group)
    }

    /// Creates a snapshot with the body of a request.
    pub(crate) fn put(&mut self, id: &SnapshotId, body: &Value) -> Result<(), Refusal> {
        let creation = &body["properties"]["creationData"];
        let (option, copied) = (text(&creation["createOption"]), text(&creation["sourceResourceId"]));
        let tags: BTreeMap<String, String> = serde_json::from_value(body["tags"].clone()).unwrap();
        if let Some(found) = self.snapshots.get_mut(&id.key()) {
            if found.option != option || !found.source_id.eq_ignore_ascii_case(&copied) {
                return Err(Refusal::Conflict);
            }
            found.tags = tags;
            return Ok(());
        }
        let (region, incremental) = (text(&body["location"]), body["properties"]["incremental"] == json!(true));
        let source = self.source(&copied).ok_or(Refusal::NotFound)?;
        if !source.complete {
            return Err(Refusal::Bad("the source is not complete"));
        }
        let is_late = option == "CopyStart";
        if is_late {
            self.check_copy_start(&source, id, &region)?;
        } else if source.region != region {
            return Err(Refusal::NotFound);
        } else if incremental && source.subscription != id.group.subscription.to_string() {
            return Err(Refusal::Bad("an incremental snapshot is created in the subscription of its disk"));
        }
        let (unique, place) = (self.unique(), format!("{}-{region}", id.group.subscription));
        let thing = Thing {
            id: id.clone(),
            unique,
            region,
            created: self.now,
            tags,
            incremental,
            family: if incremental { format!("{}@{place}", source.family) } else { String::new() },
            option,
            source_id: copied,
            source_unique: source.unique,
            content: source.content,
            percent: if is_late { 0.0 } else { 100.0 },
            error: None,
            locks: Vec::new(),
            foreign: false,
        };
        self.snapshots.insert(id.key(), thing);
        Ok(())
    }

    /// A copy between regions: the order of the family, one at a time, at most 100.
    fn check_copy_start(&self, source: &Source, id: &SnapshotId, region: &str) -> Result<(), Refusal> {
        if !source.incremental {
            return Err(Refusal::Bad("CopyStart needs an incremental snapshot"));
        }
        let here = |thing: &&Thing| thing.id.group.subscription == id.group.subscription && thing.region == region;
        let underway = |thing: &&Thing| thing.error.is_none() && thing.percent < 100.0;
        let family = format!("{}@{}-{region}", source.family, id.group.subscription);
        let of_family = || self.snapshots.values().filter(here).filter(|thing| thing.family == family);
        if self.snapshots.values().filter(here).filter(underway).count() >= 100 || of_family().any(|t| underway(&t)) {
            return Err(Refusal::Busy);
        }
        // Only copies from the source itself have a place in the order of its family.
        let newest = of_family().filter(|thing| thing.error.is_none()).filter_map(order_tag).max();
        if newest.is_some_and(|newest| newest > (time(source.created).to_string(), source.unique.clone())) {
            return Err(Refusal::Order);
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, id: &SnapshotId) -> Result<Option<Thing>, Refusal> {
        match self.snapshots.get(&id.key()) {
            Some(thing) if !thing.locks.is_empty() => Err(Refusal::Locked),
            _ => Ok(self.snapshots.remove(&id.key())),
        }
    }

    pub(crate) fn put_disk(&mut self, id: &str, body: &Value) -> Result<(), Refusal> {
        if self.disks.contains_key(&id.to_lowercase()) {
            return Ok(());
        }
        let copied = text(&body["properties"]["creationData"]["sourceResourceId"]);
        let source = self.source(&copied).ok_or(Refusal::NotFound)?;
        let region = text(&body["location"]);
        if source.region != region || !source.complete {
            return Err(Refusal::NotFound);
        }
        let unique = self.unique();
        let tags = serde_json::from_value(body["tags"].clone()).unwrap();
        let disk = Disk { unique, region, created: self.now, tags, content: source.content };
        self.disks.insert(id.to_lowercase(), disk);
        Ok(())
    }

    /// Copies make progress, or fail if their source is gone.
    pub(crate) fn tick(&mut self, rng: &mut Rng) {
        self.now += 1;
        let present: Vec<String> = self.snapshots.values().map(|thing| thing.unique.clone()).collect();
        for thing in self.snapshots.values_mut().filter(|thing| thing.error.is_none() && thing.percent < 100.0) {
            if !present.contains(&thing.source_unique) {
                thing.error = Some("CopySourceNotFound");
            } else {
                thing.percent = (thing.percent + rng.number(10..70) as f64).min(100.0);
            }
        }
    }

    fn source(&self, id: &str) -> Option<Source> {
        if let Some(disk) = self.disks.get(&id.to_lowercase()) {
            let subscription = id.split('/').nth(2)?.to_owned();
            return Some(Source {
                unique: disk.unique.clone(),
                region: disk.region.clone(),
                subscription,
                created: self.now,
                incremental: false,
                family: format!("family-{}", disk.unique),
                content: disk.content,
                complete: true,
            });
        }
        let thing = self.get(&id.parse().ok()?)?;
        Some(Source {
            unique: thing.unique.clone(),
            region: thing.region.clone(),
            subscription: thing.id.group.subscription.to_string(),
            created: thing.created,
            incremental: thing.incremental,
            family: thing.family.clone(),
            content: thing.content,
            complete: thing.is_complete(),
        })
    }
}

struct Source {
    unique: String,
    region: String,
    subscription: String,
    created: i64,
    incremental: bool,
    family: String,
    content: u64,
    complete: bool,
}

/// The place of a replica in the order of its family, as the service knows it.
fn order_tag(thing: &Thing) -> Option<(String, String)> {
    Some((thing.tag("goldfleet-source-time")?.to_owned(), thing.tag("goldfleet-source")?.to_owned()))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
