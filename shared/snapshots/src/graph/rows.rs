//! The rows of each group.

use goldfleet_model::graph::{After, GateCondition};
use goldfleet_model::ids::Region;
use goldfleet_model::operation::{GroupId, OperationId};

use super::Graph;
use super::edges::{ready, used};
use super::row::{CopySpec, CreateSpec, EndExportSpec, ExportSpec, Exported, Row, RowSpec};
use crate::body;
use crate::id::{GroupRef, SnapshotId};
use crate::names;
use crate::plan::{Copy, Lockable, Method, Promotion, Reason, Removal};
use crate::remove::{Because, DiscardSpec, Lock, LockSpec, RemoveSpec, TemporarySpec};
use crate::rules::Destination;
use crate::snapshot::Snapshot;
use crate::tags::{self, ReplicaTags};

/// The step that creates a replica.
const STEP: &str = "snapshot";

impl Graph<'_, '_> {
    /// The groups that create and remove the temporaries of a full snapshot.
    pub(super) fn temporaries(&self, source: &str, copies: &[usize]) -> Vec<Vec<Row>> {
        let Some(scratch) = &self.rules.scratch else { return Vec::new() };
        let source_snapshot = self.plan.copies[copies[0]].source;
        let region = &source_snapshot.region;
        let tags = tags::of_temporary(self.rules.fleet, &self.run.job, source);
        let snapshot = self.temporary(source_snapshot, scratch);
        let disk = disk_id(scratch, &self.temporary_name(source_snapshot, scratch, "disk"));
        let group = |what: &str| group_of(what, &snapshot, region);
        let create = |id: &str, copied: &str, copied_unique_id, is_snapshot| {
            let body = body::of_temporary(source_snapshot, copied, is_snapshot, &tags);
            RowSpec::Create(CreateSpec {
                id: id.to_owned(),
                copied_unique_id,
                body,
                requires_stopped: None,
                once: false,
                copied_from: None,
                restored: None,
            })
        };
        let (fleet, job) = (self.rules.fleet, &self.run.job);
        let remove = |id: String| RowSpec::RemoveTemporary(TemporarySpec { fleet, id, job: job.clone() });
        let row = |group: &GroupId, step, kind, spec| row(group, step, kind, scratch, region, spec);

        let begin = group("scratch");
        let mut created = vec![
            row(&begin, "disk", "disk", create(&disk, &source_snapshot.id.to_string(), Some(source.to_owned()), false)),
            row(&begin, "snapshot", "snapshot", create(&snapshot.to_string(), &disk, None, true)),
        ];
        for row in &mut created {
            row.opens.push(ready(source));
        }
        let end = group("scratch-end");
        let mut removed = vec![
            row(&end, "snapshot", "remove", remove(snapshot.to_string())),
            row(&end, "disk", "remove", remove(disk)),
        ];
        for row in &mut removed {
            row.always = true;
        }
        let count = u32::try_from(copies.len()).unwrap_or(u32::MAX);
        removed[0].after = vec![
            After { gate: ready(source), on: GateCondition::Ended, count: 2 },
            After { gate: used(source), on: GateCondition::Ended, count },
        ];
        [created, removed].map(chained).into()
    }

    /// The rows of a copy.
    pub(super) fn copy(&self, index: usize) -> Vec<Row> {
        let copy = &self.plan.copies[index];
        let source = copy.source;
        let mut tags = ReplicaTags::of(source, self.rules.fleet, &self.rules.name);
        if copy.staged {
            let region = &self.rules.destinations[copy.destination].region;
            tags.staged_for = Some(self.rules.name_of(source, region));
        }
        let scratch = self.rules.scratch.as_ref().filter(|_| copy.method == Method::Scratch);
        let (copied, unique_id) = match scratch {
            Some(scratch) => (self.temporary(source, scratch), None),
            None => (source.id.clone(), Some(source.unique_id.clone())),
        };
        let spec = Replica { source, destination: copy.destination, name: &copy.name, method: copy.method, tags };
        let mut row = self.replica(spec, copied, unique_id, copy.remains.clone());
        let edges = &self.edges[index];
        row.opens.clone_from(&edges.opens);
        if copy.method == Method::Export {
            return self.export(copy, row, &edges.after);
        }
        row.after.clone_from(&edges.after);
        // What an earlier job began is not discarded by this one. A copy in the same region is complete at once.
        let discard = (copy.method.is_limited() && !copy.underway).then(|| self.discard(copy, &row));
        chained(std::iter::once(row).chain(discard).collect())
    }

    /// The rows of a copy to another tenant: a disk is filled, the replica is created from it, and the disk is deleted
    /// in any case.
    fn export(&self, copy: &Copy<'_>, mut replica: Row, after: &[After]) -> Vec<Row> {
        let (source, destination) = (copy.source, &self.rules.destinations[copy.destination]);
        let Destination { group: place, region, .. } = destination;
        let disk = disk_id(place, &self.temporary_name_at(source, place, region, "export"));
        let tags = tags::of_temporary(self.rules.fleet, &self.run.job, &source.unique_id);
        let size = source.size.unwrap_or_default();
        let spec = ExportSpec {
            fleet: self.rules.fleet,
            sync: self.rules.name.clone(),
            replica: SnapshotId::new(place.clone(), &copy.name),
            source: source.id.clone(),
            source_unique_id: source.unique_id.clone(),
            size,
            disk: disk.clone(),
            body: body::of_export(source, size, destination, &tags),
        };
        let group = replica.id.group().clone();
        let mut fill = row(&group, "export", "export", place, region, RowSpec::Export(Box::new(spec)));
        fill.after = after.to_vec();
        if let RowSpec::Copy(spec) = &mut replica.spec {
            spec.body["properties"]["creationData"]["sourceResourceId"] = disk.clone().into();
            spec.exported = Some(Exported { disk: disk.clone(), filled_by: fill.id.clone() });
        }
        let end = EndExportSpec {
            disk: TemporarySpec { fleet: self.rules.fleet, id: disk, job: self.run.job.clone() },
            source: source.id.clone(),
            source_unique_id: source.unique_id.clone(),
            exported_by: fill.id.clone(),
        };
        let remove = row(&group, "remove", "remove", place, region, RowSpec::EndExport(Box::new(end)));
        chained(vec![fill, replica, Row { always: true, ..remove }])
    }

    /// The row that deletes the replica of a copy that was cancelled before it was complete.
    fn discard(&self, copy: &Copy<'_>, of: &Row) -> Row {
        let destination = &self.rules.destinations[copy.destination];
        let spec = RowSpec::Discard(DiscardSpec {
            fleet: self.rules.fleet,
            sync: self.rules.name.clone(),
            id: SnapshotId::new(destination.group.clone(), &copy.name),
            source_unique_id: copy.source.unique_id.clone(),
            job: self.run.job.clone(),
            copy: of.id.clone(),
        });
        let discard = row(of.id.group(), "discard", "remove", &destination.group, &destination.region, spec);
        Row { always: true, ..discard }
    }

    /// The rows that give a staged replica its final name.
    pub(super) fn promotion(&self, promotion: &Promotion<'_>) -> Vec<Row> {
        let Promotion { source, destination, staged, name, replaces, remains, .. } = promotion;
        let mut tags = ReplicaTags::of(source, self.rules.fleet, &self.rules.name);
        tags.via = Some(staged.unique_id.clone());
        // The staged replica is incremental if it came from another region.
        let method = Method::Copy;
        let spec = Replica { source, destination: *destination, name, method, tags };
        let mut last = self.replica(spec, staged.id.clone(), Some(staged.unique_id.clone()), remains.clone());
        if let RowSpec::Copy(copy) = &mut last.spec {
            copy.body["properties"]["incremental"] = staged.incremental.into();
        }
        let group = last.id.group().clone();
        let done = SnapshotId::new(self.rules.destinations[*destination].group.clone(), name);
        let cleanup = Removal {
            snapshot: staged,
            destination: *destination,
            source: source.id.clone(),
            source_unique_id: source.unique_id.clone(),
            reason: Reason::Staged(done),
            newer: Vec::new(),
        };
        let removal = |removal: &Removal<'_>, step: &str| Row {
            id: OperationId::new(group.clone(), step),
            ..self.removal(removal)
        };
        let replaced = replaces.as_ref().map(|old| removal(old, "remove-replaced"));
        chained(replaced.into_iter().chain([last, removal(&cleanup, "remove-staged")]).collect())
    }

    /// The row of a removal.
    pub(super) fn removal(&self, removal: &Removal<'_>) -> Row {
        let destination = &self.rules.destinations[removal.destination];
        let because = match &removal.reason {
            Reason::Replica(cause) => Because::Replica(*cause),
            Reason::Staged(done) => Because::Staged(done.clone()),
            Reason::Remains => Because::Remains,
        };
        let spec = RowSpec::Remove(Box::new(RemoveSpec {
            fleet: self.rules.fleet,
            sync: self.rules.name.clone(),
            tags: self.rules.selection.tag_patterns(),
            id: removal.snapshot.id.clone(),
            unique_id: removal.snapshot.unique_id.clone(),
            source: removal.source.clone(),
            source_unique_id: removal.source_unique_id.clone(),
            because,
            newer: removal.newer.clone(),
            lift_lock: self.rules.lock,
            made_by: None,
        }));
        let group = group_of("remove", &removal.snapshot.id, &destination.region);
        row(&group, "remove", "remove", &destination.group, &destination.region, spec)
    }

    /// The row that locks a replica.
    pub(super) fn lock(&self, lock: &Lockable<'_>) -> Row {
        let destination = &self.rules.destinations[lock.destination];
        let spec = RowSpec::Lock(LockSpec {
            fleet: self.rules.fleet,
            sync: self.rules.name.clone(),
            id: lock.snapshot.id.clone(),
            unique_id: lock.snapshot.unique_id.clone(),
        });
        let group = group_of("lock", &lock.snapshot.id, &destination.region);
        row(&group, "lock", "lock", &destination.group, &destination.region, spec)
    }

    fn replica(
        &self,
        replica: Replica<'_>,
        copied: SnapshotId,
        copied_unique_id: Option<String>,
        remains: Option<String>,
    ) -> Row {
        let Replica { source, destination, name, method, tags } = replica;
        let destination = &self.rules.destinations[destination];
        let id = SnapshotId::new(destination.group.clone(), name);
        let own = tags.to_map(&self.run.job);
        let body = body::of_replica(source, &copied.to_string(), method, self.rules, destination, own);
        let spec = CopySpec {
            fleet: self.rules.fleet,
            sync: self.rules.name.clone(),
            id: id.clone(),
            source_unique_id: source.unique_id.clone(),
            size: source.size,
            copied,
            copied_unique_id,
            body,
            remains,
            lock: self.rules.lock.then(|| Lock::name_of(&self.rules.name)),
            exported: None,
        };
        let group = group_of("snapshot", &id, &destination.region);
        let spec = RowSpec::Copy(Box::new(spec));
        row(&group, STEP, "snapshot", &destination.group, &destination.region, spec)
    }

    fn temporary(&self, source: &Snapshot, scratch: &GroupRef) -> SnapshotId {
        SnapshotId::new(scratch.clone(), &self.temporary_name(source, scratch, "snapshot"))
    }

    fn temporary_name(&self, source: &Snapshot, scratch: &GroupRef, part: &str) -> String {
        self.temporary_name_at(source, scratch, &source.region, part)
    }

    fn temporary_name_at(&self, source: &Snapshot, group: &GroupRef, region: &Region, part: &str) -> String {
        names::of_temporary(self.rules.fleet, &self.run.job, &source.unique_id, group, region, part)
    }
}

/// A replica to create.
struct Replica<'s> {
    source: &'s Snapshot,
    destination: usize,
    name: &'s str,
    method: Method,
    tags: ReplicaTags,
}

fn disk_id(group: &GroupRef, name: &str) -> String {
    let GroupRef { subscription, resource_group } = group;
    format!("/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/Microsoft.Compute/disks/{name}")
}

/// The group of what has this id.
fn group_of(what: &str, id: &SnapshotId, region: &Region) -> GroupId {
    let subscription = id.group.subscription.to_string();
    let group = id.group.resource_group.as_str().to_lowercase();
    // The name makes logs readable. The hash alone distinguishes two groups.
    GroupId::of(
        &format!("{what}-{region}-{}", id.name_key()),
        &["", &subscription, region.as_str(), &group, &id.name_key()],
    )
}

fn row(group: &GroupId, step: &str, kind: &'static str, place: &GroupRef, region: &Region, spec: RowSpec) -> Row {
    Row {
        id: OperationId::new(group.clone(), step),
        kind,
        position: 0,
        region: region.clone(),
        label: format!("{}/{region}", place.subscription),
        after: Vec::new(),
        opens: Vec::new(),
        always: false,
        spec,
    }
}

/// Numbers the rows of a group.
fn chained(rows: Vec<Row>) -> Vec<Row> {
    (0..).zip(rows).map(|(position, row)| Row { position, ..row }).collect()
}
