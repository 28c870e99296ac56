//! A sync on a cloud: source disks with random content, destinations, and runs that the real engine performs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::request::new_job;
use goldfleet_dispatcher::control::routes::snapshots::operation;
use goldfleet_dispatcher::control::snapshots::ROUTE;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_model::document::Document;
use goldfleet_model::ids::{JobId, SubscriptionId};
use goldfleet_model::job::{Job, JobState, Subject, Work};
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{
    CreationData, DiskProperties, Properties, ResourceBody, ResourceId, ResourceType, SnapshotProperties,
};
use goldfleet_ports::Ports;
use goldfleet_ports::disk_access::{Access, AccessRequest, MAX_ACCESS};
use goldfleet_ports::resources::{PutMode, PutRequest, Resource, ResourceQuery, list_all};
use goldfleet_snapshots::difference::{Difference, Evidence};
use goldfleet_snapshots::graph::Graph;
use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::listing::{Listing, ListingReader};
use goldfleet_snapshots::rules::{DeletePolicy, Destination, Rules, Run, Speed};
use goldfleet_snapshots::select::{Pattern, Selection};
use goldfleet_snapshots::snapshot::Snapshot;
use goldfleet_snapshots::state::SyncState;
use goldfleet_snapshots::tags::{self, ReplicaTags};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

/// The smallest disk that the service permits.
pub(crate) const SIZE: u64 = 20 << 20;

pub(crate) const TRIGGER: (&str, &str) = ("SnapReplicate", "Replicate");

pub(crate) fn group(subscription: u32, name: &str) -> GroupRef {
    GroupRef { subscription: SubscriptionId::nth_for_tests(subscription), resource_group: name.parse().unwrap() }
}

pub(crate) fn id(group: &GroupRef, resource_type: ResourceType, name: &str) -> ResourceId {
    ResourceId {
        subscription: group.subscription,
        resource_group: group.resource_group.clone(),
        resource_type,
        name: name.parse().unwrap(),
    }
}

/// A sync of one source group in westeurope.
pub(crate) struct Sync {
    pub(crate) ports: Ports,
    pub(crate) rules: Rules,
    /// The size of disks in bytes.
    pub(crate) size: u64,
    state: SyncState,
    runs: i64,
}

/// A run that is in the job table.
pub(crate) struct Planned {
    pub(crate) job: JobId,
    pub(crate) rows: usize,
    pub(crate) notes: Vec<&'static str>,
}

impl Sync {
    /// A sync to a group of the same region, and to groups of two other regions in other subscriptions.
    pub(crate) fn new(ports: &Ports) -> Self {
        let destination = |subscription, name, region: &str| Destination {
            group: group(subscription, name),
            region: region.parse().unwrap(),
            encryption_set: None,
            other_tenant: false,
            disk_access: None,
        };
        let rules = Rules {
            name: "ctx".to_owned(),
            fleet: Uuid::from_u128(7),
            source: group(1, "Snaps"),
            selection: Selection {
                tags: BTreeMap::from([(TRIGGER.0.to_owned(), Pattern::of_value(TRIGGER.1).unwrap())]),
                ..Selection::default()
            },
            destinations: vec![
                destination(1, "local", "westeurope"),
                destination(2, "remote", "eastus"),
                destination(3, "remote", "northeurope"),
            ],
            scratch: Some(group(1, "scratch")),
            delete: DeletePolicy::Mirror,
            keep: None,
            max_deletes: 100,
            grace: SignedDuration::from_hours(1),
            lock: false,
            speed: Speed::Standard,
            replica_name: None,
            measured: BTreeMap::new(),
        };
        Self { ports: ports.clone(), rules, size: SIZE, state: SyncState::default(), runs: 0 }
    }

    /// As [`Sync::new`], with the destination of this index only.
    pub(crate) fn to(ports: &Ports, destination: usize) -> Self {
        let mut sync = Self::new(ports);
        sync.rules.destinations = vec![sync.rules.destinations[destination].clone()];
        sync
    }

    pub(crate) fn source(&self, name: &str) -> ResourceId {
        id(&self.rules.source, ResourceType::Snapshot, name)
    }

    /// The replica of a source at a destination.
    pub(crate) fn replica(&self, destination: usize, name: &str) -> ResourceId {
        id(&self.rules.destinations[destination].group, ResourceType::Snapshot, name)
    }

    /// Creates a disk without content.
    pub(crate) async fn disk(&self, name: &str) -> ResourceId {
        let id = id(&self.rules.source, ResourceType::Disk, name);
        let properties = Properties::Disk(DiskProperties::new(CreationData::upload(self.size)));
        self.put(&id, ResourceBody::new("westeurope".parse().unwrap(), properties)).await;
        let access = AccessRequest { id: id.clone(), tenant: None, access: Access::Write, duration: MAX_ACCESS };
        self.ports.disk_access.begin(&access).await.unwrap();
        self.ports.disk_access.end(&id, None).await.unwrap();
        id
    }

    /// Creates a snapshot that the sync selects.
    pub(crate) async fn snapshot(&self, disk: &ResourceId, name: &str, incremental: bool) {
        let properties = Properties::Snapshot(SnapshotProperties::new(CreationData::copy(disk), incremental));
        let tags = BTreeMap::from([TRIGGER, ("owner", "payments")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        let body = ResourceBody::new("westeurope".parse().unwrap(), properties).with_tags(tags);
        self.put(&self.source(name), body).await;
    }

    pub(crate) async fn put(&self, id: &ResourceId, body: ResourceBody) {
        let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::Create, body };
        self.ports.resources.put(&request).await.unwrap();
    }

    pub(crate) async fn delete(&self, id: &ResourceId) {
        self.ports.resources.delete(id, None).await.unwrap();
    }

    pub(crate) async fn get(&self, id: &ResourceId) -> Option<Resource> {
        self.ports.resources.get(id, None).await.unwrap()
    }

    pub(crate) async fn resources(&self, group: &GroupRef, resource_type: ResourceType) -> Vec<Resource> {
        let query = ResourceQuery {
            resource_type,
            subscription: group.subscription,
            resource_group: Some(group.resource_group.clone()),
            parent: None,
            tags: BTreeMap::new(),
            tenant: None,
        };
        list_all(self.ports.resources.as_ref(), self.ports.clock.as_ref(), &query).await.unwrap().resources
    }

    async fn listing(&self, group: &GroupRef) -> Listing {
        let found = self.resources(group, ResourceType::Snapshot).await;
        let items: Vec<Value> = found.iter().map(Resource::to_json).collect();
        let mut reader = ListingReader::new(group.clone());
        reader.page(json!({ "value": items }).to_string().as_bytes()).unwrap();
        reader.finish()
    }

    async fn evidence(&self, source: &SnapshotId) -> Evidence {
        match self.get(&source.to_string().parse().unwrap()).await {
            None => Evidence::Absent,
            Some(found) => {
                let found = Snapshot::from_json(&found.to_json()).unwrap();
                Evidence::Present { unique_id: found.unique_id, tags: found.tags }
            }
        }
    }

    /// Plans the next run, a day after the last one, and writes it to the job table.
    pub(crate) async fn plan(&mut self, control: &ControlContext) -> Planned {
        self.runs += 1;
        let now = self.ports.clock.now();
        let job = JobId::new(now, u64::try_from(self.runs).unwrap());
        let shifted = now.checked_add(SignedDuration::from_hours(24 * self.runs)).unwrap();
        let run = Run { job: job.clone(), now: shifted, allow_empty: true, max_deletes: None };
        let source = self.listing(&self.rules.source).await;
        let mut destinations = Vec::new();
        for destination in &self.rules.destinations {
            destinations.push(self.listing(&destination.group).await);
        }
        let difference = Difference::new(&self.rules, &run, &source, &destinations);
        let mut evidence = BTreeMap::new();
        for id in difference.lookups() {
            evidence.insert(id.clone(), self.evidence(&id).await);
        }
        let plan = difference.decide(&evidence, &self.state);
        assert_eq!(plan.stopped, None);
        let row = job_of(&job, now);
        let graph = Graph::new(&plan, &self.rules, &run);
        let rows: Vec<Operation> = graph.groups().flatten().map(|one| operation(&row, one, now)).collect();
        let planned = Job { operations: Some(rows.len() as u64), ..row };
        self.ports.table.insert_job(&planned).await.unwrap();
        for batch in rows.chunk_by(|one, other| one.id.group() == other.id.group()) {
            self.ports.table.insert_operations(batch).await.unwrap();
        }
        control.jobs.enqueue_job(&job).await.unwrap();
        let notes = plan.notes.iter().map(|note| note.code).collect();
        let planned = Planned { job, rows: rows.len(), notes };
        self.state = plan.state;
        planned
    }

    /// The rows of a job.
    pub(crate) async fn rows(&self, job: &JobId) -> Vec<Operation> {
        self.ports.table.operations(job).await.unwrap().into_iter().map(|row| row.value).collect()
    }

    /// The codes of the rows that failed or were blocked, with their steps.
    pub(crate) async fn failures(&self, job: &JobId) -> BTreeSet<(String, String)> {
        let rows = self.rows(job).await;
        let failed = rows.into_iter().filter(|row| row.state.ended_badly());
        failed.filter_map(|row| Some((row.id.step().to_owned(), row.failure?.code))).collect()
    }

    /// The replicas at a destination: the names of their sources, with the resources.
    pub(crate) async fn replicas(&self, destination: usize) -> Vec<(String, Resource)> {
        let group = &self.rules.destinations[destination].group;
        let found = self.resources(group, ResourceType::Snapshot).await;
        let named = found.into_iter().filter_map(|found| {
            let own = ReplicaTags::in_tags(&found.body.tags)?;
            Some((own.source_name, found))
        });
        named.collect()
    }

    /// Asserts that no temporary exists in the scratch group and at the destinations.
    pub(crate) async fn assert_no_temporaries(&self) {
        let groups = self.rules.scratch.iter().chain(self.rules.destinations.iter().map(|to| &to.group));
        for group in groups {
            for resource_type in [ResourceType::Disk, ResourceType::Snapshot] {
                let left = self.resources(group, resource_type).await;
                let left: Vec<_> =
                    left.iter().filter(|found| tags::is_temporary_of(&found.body.tags, self.rules.fleet)).collect();
                assert!(left.is_empty(), "{left:#?}");
            }
        }
    }
}

/// A job in the state after its planning.
fn job_of(id: &JobId, now: Timestamp) -> Job {
    let (route, title, resume) = (ROUTE.to_owned(), "sync ctx".to_owned(), "goldfleet snapshots sync ctx".to_owned());
    let work = Work { route, title, resume, spec: Document::default() };
    Job { state: JobState::Running, plan: 1, ..new_job(id.clone(), Subject::Work { work }, Vec::new(), now) }
}

/// Asserts that a job and all its operations succeeded.
pub(crate) fn assert_succeeded(status: &Status) {
    assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
}

/// A time after which a test reports that nothing happens.
pub(crate) const TOO_LONG: Duration = Duration::from_secs(60);
