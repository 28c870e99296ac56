//! Which snapshots a sync selects, and where their replicas are.

use std::collections::{HashMap, HashSet};

use goldfleet_config::Sync;
use goldfleet_snapshots::listing::{Coverage, Listing, SetAside};
use goldfleet_snapshots::replica::{Owner, owner_at};
use goldfleet_snapshots::rules::{Destination, Rules};
use goldfleet_snapshots::select::Selected;
use goldfleet_snapshots::snapshot::{Condition, Snapshot};
use goldfleet_snapshots::tags::ReplicaTags;
use jiff::Timestamp;
use serde::Serialize;

use super::RunSpec;
use super::run::{list_sides, rules};
use crate::control::context::{ControlContext, ControlError};

/// A sync with its snapshots.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyncOverview {
    /// The sync.
    pub sync: String,
    /// The source group, `SUBSCRIPTION/GROUP`.
    pub from: String,
    /// The snapshots that are selected, and replicas whose source is not.
    pub snapshots: Vec<SnapshotLine>,
    /// Groups that could not be listed completely, with the reason. Their contents are not known.
    pub unlisted: Vec<Unlisted>,
    /// Snapshots that cannot be read. They are not copied, and never changed.
    pub unreadable: Vec<UnreadableSnapshot>,
}

/// A snapshot that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableSnapshot {
    /// Its group, `SUBSCRIPTION/GROUP`.
    pub group: String,
    /// Its id, if that can be read.
    pub id: Option<String>,
    /// Why it cannot be read.
    pub reason: String,
}

/// A group that could not be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unlisted {
    /// The group, `SUBSCRIPTION/GROUP`.
    pub group: String,
    /// Why.
    pub reason: String,
}

/// A snapshot and its replica at one destination.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SnapshotLine {
    /// The name of the source.
    pub snapshot: String,
    /// When the source was created.
    pub created: Timestamp,
    /// The size of the disk in bytes, if it is known.
    pub size: Option<u64>,
    /// Whether only the difference to an earlier snapshot is stored.
    pub incremental: bool,
    /// The destination, `SUBSCRIPTION/REGION/GROUP`.
    pub destination: String,
    /// The state of the replica.
    pub state: ReplicaState,
    /// The part of the replica's content that arrived, 0 to 100, while it is being copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// The id of the replica, if it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
}

/// The state of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaState {
    /// It is complete.
    Complete,
    /// It is being copied.
    Copying,
    /// It does not exist.
    Missing,
    /// Its copy failed, or the service reports a failure.
    Failed,
    /// It exists, and its source does not.
    WithoutSource,
    /// It exists, and the filters do not select its source.
    NotSelected,
    /// It does not exist, and its source is older than those that `keep` retains.
    NotKept,
    /// Another snapshot has its name: it belongs to someone else, or is the replica of an earlier source.
    NameTaken,
    /// The destination could not be listed.
    Unknown,
}

impl ReplicaState {
    /// The state for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Copying => "copying",
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::WithoutSource => "without source",
            Self::NotSelected => "not selected",
            Self::NotKept => "not kept",
            Self::NameTaken => "name taken",
            Self::Unknown => "unknown",
        }
    }
}

/// Reads both sides of a sync.
///
/// # Errors
/// If the table cannot be read. A group that cannot be listed is in [`SyncOverview::unlisted`].
pub async fn overview(control: &ControlContext, sync: &Sync) -> Result<SyncOverview, ControlError> {
    let spec = RunSpec { sync: sync.clone(), allow_empty: false, max_deletes: None, name: None };
    let rules = rules(&control.ports, &control.config, &spec).await?;
    let sides = list_sides(control, &rules).await;
    let now = control.ports.clock.now();
    let selected: Vec<&Snapshot> = sides
        .source
        .snapshots
        .values()
        .filter(|snapshot| rules.selection.apply(snapshot, now) == Selected::Yes)
        .collect();
    let kept = kept(&rules, &selected);
    let mut snapshots = Vec::new();
    for (destination, listing) in rules.destinations.iter().zip(&sides.destinations) {
        snapshots.extend(lines(&rules, destination, listing, &sides.source, &selected, &kept));
    }
    snapshots.sort_by(|a, b| (&a.created, &a.snapshot, &a.destination).cmp(&(&b.created, &b.snapshot, &b.destination)));
    let all = std::iter::once(&sides.source).chain(&sides.destinations);
    let unreadable = all.clone().flat_map(|listing| {
        let item = |item: &SetAside| UnreadableSnapshot {
            group: listing.group.to_string(),
            id: item.id.as_ref().map(ToString::to_string),
            reason: item.error.to_string(),
        };
        listing.set_aside.iter().map(item)
    });
    let unreadable = unreadable.collect();
    let unlisted = all.filter_map(|listing| match &listing.coverage {
        Coverage::Complete => None,
        Coverage::Incomplete(reason) => Some(Unlisted { group: listing.group.to_string(), reason: reason.clone() }),
    });
    Ok(SyncOverview {
        sync: sync.name.clone(),
        from: rules.source.to_string(),
        snapshots,
        unlisted: unlisted.collect(),
        unreadable,
    })
}

/// The unique ids of the selected snapshots that `keep` retains: the newest of each family.
fn kept<'s>(rules: &Rules, selected: &[&'s Snapshot]) -> HashSet<&'s str> {
    let mut families: HashMap<String, Vec<&Snapshot>> = HashMap::new();
    for snapshot in selected {
        families.entry(snapshot.family()).or_default().push(snapshot);
    }
    let most = rules.keep.map_or(usize::MAX, |keep| usize::try_from(keep.get()).unwrap_or(usize::MAX));
    let newest = families.into_values().flat_map(|mut family| {
        family.sort_by(|a, b| b.order().cmp(&a.order()));
        family.truncate(most);
        family
    });
    newest.map(|snapshot| snapshot.unique_id.as_str()).collect()
}

/// The lines of one destination.
fn lines(
    rules: &Rules,
    destination: &Destination,
    listing: &Listing,
    source: &Listing,
    selected: &[&Snapshot],
    kept: &HashSet<&str>,
) -> Vec<SnapshotLine> {
    let replicas: Vec<(&Snapshot, ReplicaTags, Condition)> = listing
        .snapshots
        .values()
        .filter_map(|found| match owner_at(found, rules, destination) {
            Owner::Ours(ours) => Some((found, ours.tags.clone(), ours.condition(found))),
            Owner::OtherSync(_) | Owner::Foreign(_) => None,
        })
        .collect();
    let by_source: HashMap<&str, &(&Snapshot, ReplicaTags, Condition)> =
        replicas.iter().map(|replica| (replica.1.source.as_str(), replica)).collect();
    let line = |source: &Snapshot, replica: Option<&Snapshot>, state, percent| SnapshotLine {
        snapshot: source.id.name.clone(),
        created: source.created,
        size: source.size,
        incremental: source.incremental,
        destination: place_of(destination),
        state,
        percent,
        replica: replica.map(|replica| replica.id.to_string()),
    };
    let mut lines = Vec::new();
    for source in selected {
        lines.push(match by_source.get(source.unique_id.as_str()) {
            Some((replica, _, condition)) => {
                let (state, percent) = state_of(condition);
                line(source, Some(replica), state, percent)
            }
            None if !listing.is_complete() => line(source, None, ReplicaState::Unknown, None),
            None => match listing.snapshots.get(&rules.name_of(source, &destination.region).to_lowercase()) {
                Some(other) => line(source, Some(other), ReplicaState::NameTaken, None),
                None if !kept.contains(source.unique_id.as_str()) => line(source, None, ReplicaState::NotKept, None),
                None => line(source, None, ReplicaState::Missing, None),
            },
        });
    }
    let known: HashSet<&str> = selected.iter().map(|source| source.unique_id.as_str()).collect();
    let existing: HashSet<&str> = source.snapshots.values().map(|source| source.unique_id.as_str()).collect();
    let others = replicas.iter().filter(|(_, own, _)| !known.contains(own.source.as_str()));
    lines.extend(others.map(|(replica, own, _)| {
        let state = if existing.contains(own.source.as_str()) {
            ReplicaState::NotSelected
        } else if source.is_complete() && !source.is_set_aside(&own.source_name.to_lowercase()) {
            ReplicaState::WithoutSource
        } else {
            ReplicaState::Unknown
        };
        SnapshotLine {
            snapshot: own.source_name.clone(),
            created: own.source_time,
            ..line(replica, Some(replica), state, None)
        }
    }));
    lines
}

fn place_of(destination: &Destination) -> String {
    format!("{}/{}/{}", destination.group.subscription, destination.region, destination.group.resource_group)
}

fn state_of(condition: &Condition) -> (ReplicaState, Option<f64>) {
    match condition {
        Condition::Complete => (ReplicaState::Complete, None),
        Condition::Underway { percent } => (ReplicaState::Copying, *percent),
        Condition::Failed { .. } | Condition::Doubtful { .. } => (ReplicaState::Failed, None),
    }
}
