//! Runs as commands and the schedule request them: planned by the dispatcher from the rules in the job.

use std::collections::BTreeMap;
use std::sync::Arc;

use goldfleet_config::{Config, HumanDuration, Sync, SyncDestination};
use goldfleet_dispatcher::control::context::{ControlContext, ControlError};
use goldfleet_dispatcher::control::orphans::{OrphanOptions, OrphanResult, orphans};
use goldfleet_dispatcher::control::snapshots::overview::{ReplicaState, overview};
use goldfleet_dispatcher::control::snapshots::request::{
    CopyRequest, RunOptions, copies, request, work_of_copy, work_of_sync,
};
use goldfleet_dispatcher::control::snapshots::schedule::request_if_due;
use goldfleet_dispatcher::control::snapshots::state::{StoredState, record_name};
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_model::document::Document;
use goldfleet_model::ids::JobId;
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_snapshots::rules::{DeletePolicy, Speed};
use goldfleet_snapshots::tags;
use serde_json::json;

use super::directory::Scene;
use super::scene::{SIZE, TRIGGER, assert_succeeded, id};

/// The rules of the scene as the configuration has them.
pub(super) fn sync(scene: &Scene) -> Sync {
    let rules = &scene.sync.rules;
    let to = |index: usize| {
        let to = &rules.destinations[index];
        SyncDestination {
            subscription: to.group.subscription,
            region: to.region.clone(),
            resource_group: to.group.resource_group.clone(),
            disk_encryption_set: None,
            disk_access: None,
        }
    };
    Sync {
        name: "Citrix".to_owned(),
        from: rules.source.clone(),
        tags: BTreeMap::from([(TRIGGER.0.to_owned(), TRIGGER.1.to_owned())]),
        exclude_tags: BTreeMap::new(),
        names: Vec::new(),
        exclude_names: Vec::new(),
        families: Vec::new(),
        min_age: None,
        max_age: None,
        to: (0..rules.destinations.len()).map(to).collect(),
        delete: DeletePolicy::Mirror,
        keep: None,
        max_deletes: 5,
        grace: HumanDuration::seconds(0),
        every: Some(HumanDuration::seconds(3600)),
        lock: false,
        speed: Speed::Standard,
        scratch: rules.scratch.clone(),
    }
}

/// The context of a process whose configuration has the sync.
pub(super) fn control(scene: &Scene, sync: &Sync) -> ControlContext {
    let control = scene.fleet.control_with_own_ports();
    let config = Config { sync: vec![sync.clone()], ..(*control.config).clone() };
    ControlContext { config: Arc::new(config), ..control }
}

pub(super) async fn run(scene: &Scene, control: &ControlContext, sync: &Sync) -> Status {
    let work = work_of_sync(sync, &RunOptions::default()).unwrap();
    let job = request(&control.jobs, work, None).await.unwrap().job.id;
    scene.fleet.run(&scene.fleet.ports, 1, &job).await
}

pub(super) fn codes(status: &Status) -> Vec<&str> {
    status.findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_copies_deletes_after_two_runs_and_ends_without_work() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1", "a2"]).await;
    scene.full("full").await;
    assert_succeeded(&run(&scene, &control, &sync).await);
    scene.assert_equal().await;

    let idle = run(&scene, &control, &sync).await;
    assert_succeeded(&idle);
    assert_eq!((idle.findings.len(), idle.failures.len(), idle.planned), (0, 0, true), "{idle:#?}");

    scene.sync.delete(&scene.sync.source("full")).await;
    let first = run(&scene, &control, &sync).await;
    assert_succeeded(&first);
    assert_eq!(codes(&first), ["deletion-pending"]);
    assert_eq!(scene.sync.replicas(0).await.len(), 3);
    let second = run(&scene, &control, &sync).await;
    assert_succeeded(&second);
    assert_eq!(scene.sync.replicas(0).await.len(), 2);
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_copied_fails_the_job_and_no_other_snapshot() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1", "a2"]).await;
    let taken = scene.foreign("a1").await;
    let before = scene.bytes(&taken);
    let status = run(&scene, &control, &sync).await;
    assert_eq!(status.state, ReportedState::Failed, "{status:#?}");
    assert!(codes(&status).contains(&"snapshot-foreign"), "{status:#?}");
    assert_eq!(status.failures, [], "no operation failed");
    assert_eq!(scene.bytes(&taken), before);
    let found = overview(&control, &sync).await.unwrap();
    let state = |name: &str| found.snapshots.iter().find(|line| line.snapshot == name).unwrap().state;
    assert_eq!((state("a1"), state("a2")), (ReplicaState::NameTaken, ReplicaState::Complete), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_run_is_joined_or_refused_and_never_overlapped() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1"]).await;
    let work = |options| work_of_sync(&sync, &options).unwrap();
    let first = request(&control.jobs, work(RunOptions::default()), Some("ticket 7".to_owned())).await.unwrap();
    assert!(first.new && first.job.note.as_deref() == Some("ticket 7"));
    let again = request(&control.jobs, work(RunOptions::default()), None).await.unwrap();
    assert!(!again.new && again.job.id == first.job.id);
    let other = RunOptions { allow_empty: true, ..RunOptions::default() };
    let refused = request(&control.jobs, work(other), None).await.unwrap_err();
    assert!(matches!(refused, ControlError::Refused(_)) && refused.to_string().contains(first.job.id.as_str()));

    // The schedule skips the slot, and does not ask again in it.
    assert_eq!(request_if_due(&control.jobs, &sync).await.unwrap(), None);
    assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 1, &first.job.id).await);
    assert_eq!(request_if_due(&control.jobs, &sync).await.unwrap(), None);
}

/// Two dispatchers request one run. In the next slot they request another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_has_one_run() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let (one, other) = (control(&scene, &sync), control(&scene, &sync));
    scene.family("one", &["a1"]).await;
    let (first, second) = tokio::join!(request_if_due(&one.jobs, &sync), request_if_due(&other.jobs, &sync));
    let requested: Vec<JobId> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
    assert!(!requested.is_empty() && requested.iter().all(|job| *job == requested[0]), "{requested:?}");
    assert_eq!(scene.fleet.ports.table.jobs().await.unwrap().len(), 1);
    assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 1, &requested[0]).await);
    scene.assert_equal().await;

    let (records, name) = (&scene.fleet.ports.records, record_name("sync-schedule", &sync.name).unwrap());
    let row = records.get(&name).await.unwrap().unwrap();
    let yesterday = Document { data: json!({ "slot": "2020-01-01T00:00:00Z" }), ..row.value };
    records.put(&name, &yesterday, Some(&row.etag)).await.unwrap();
    // The job of this slot exists: the dispatcher that requested it was killed before it wrote the record.
    assert_eq!(request_if_due(&one.jobs, &sync).await.unwrap().as_ref(), Some(&requested[0]));
    assert_eq!(scene.fleet.ports.table.jobs().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_on_request_take_the_named_snapshots_and_forget_nothing_of_syncs() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1", "a2", "a3"]).await;
    let named = |name: &str| scene.sync.source(name).to_string().parse().unwrap();
    let asked =
        CopyRequest { ids: vec![named("a1"), named("a3")], to: sync.to.clone(), scratch: None, speed: Speed::Standard };
    let [rules] = &copies(&asked).unwrap()[..] else { panic!("one group") };
    let work = work_of_copy(rules, &RunOptions::default()).unwrap();
    assert!(work.resume.starts_with("goldfleet snapshots copy '/subscriptions/"), "{}", work.resume);
    let job = request(&control.jobs, work, None).await.unwrap().job.id;
    assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 1, &job).await);
    let mut copied: Vec<String> = scene.sync.replicas(0).await.into_iter().map(|(name, _)| name).collect();
    copied.sort();
    assert_eq!(copied, ["a1", "a3"]);
    let state = StoredState::read(scene.fleet.ports.records.as_ref(), "copy").await.unwrap();
    assert!(state.state.absences.is_empty());

    let many = CopyRequest { ids: vec![named("a1"); 201], ..asked.clone() };
    assert!(copies(&many).unwrap_err().to_string().contains("at most 200"));
    let own = SyncDestination { resource_group: sync.from.resource_group.clone(), ..sync.to[0].clone() };
    let into_itself = SyncDestination { subscription: sync.from.subscription, ..own };
    assert!(copies(&CopyRequest { to: vec![into_itself], ..asked }).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_deleted_only_with_proof() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1"]).await;
    let ended = work_of_sync(&sync, &RunOptions::default()).unwrap();
    let ended = request(&control.jobs, ended, None).await.unwrap().job.id;
    assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 1, &ended).await);
    let fleet = scene.fleet.ports.table.fleet().await.unwrap().to_string();
    let other_fleet = uuid::Uuid::from_u128(9).to_string();
    let unknown = "20200101-000000-abcd";

    let old = "2020-01-01T00:00:00Z";
    let orphan = temporary(&scene, "orphan", &fleet, "temporary", ended.as_str(), Some(old)).await;
    let recent = temporary(&scene, "recent", &fleet, "temporary", ended.as_str(), None).await;
    let foreign = temporary(&scene, "foreign", &other_fleet, "temporary", ended.as_str(), Some(old)).await;
    let replica = temporary(&scene, "replica", &fleet, "replica", ended.as_str(), Some(old)).await;
    let lost = temporary(&scene, "lost", &fleet, "temporary", unknown, Some(old)).await;

    let listed = orphans(&control, &OrphanOptions::default()).await.unwrap();
    let results = |report: &goldfleet_dispatcher::control::orphans::OrphanReport| {
        let result = |name: &str| {
            let line = report.temporaries.iter().find(|line| line.id.ends_with(&format!("/{name}")));
            line.map(|line| line.result)
        };
        ["orphan", "recent", "foreign", "replica", "lost"].map(result)
    };
    let (in_use, unknown_job) = (Some(OrphanResult::InUse), Some(OrphanResult::UnknownJob));
    assert_eq!(results(&listed), [Some(OrphanResult::Orphan), in_use, None, None, unknown_job], "{listed:#?}");
    assert!(scene.sync.get(&orphan).await.is_some(), "a list deletes nothing");

    let deleted = orphans(&control, &OrphanOptions { delete: true, ended: None }).await.unwrap();
    assert_eq!(results(&deleted), [Some(OrphanResult::Deleted), in_use, None, None, unknown_job], "{deleted:#?}");
    assert!(scene.sync.get(&orphan).await.is_none());
    for kept in [&recent, &foreign, &replica, &lost] {
        assert!(scene.sync.get(kept).await.is_some(), "{kept}");
    }
    let named = OrphanOptions { delete: true, ended: Some(unknown.parse().unwrap()) };
    assert_eq!(results(&orphans(&control, &named).await.unwrap())[4], Some(OrphanResult::Deleted));
}

/// A snapshot in the scratch group with these tags.
async fn temporary(scene: &Scene, name: &str, fleet: &str, role: &str, job: &str, created: Option<&str>) -> ResourceId {
    let disk = scene.sync.disk(&format!("disk-of-{name}")).await;
    scene.sync.snapshot(&disk, name, false).await;
    let (from, to) =
        (scene.sync.source(name), id(scene.sync.rules.scratch.as_ref().unwrap(), ResourceType::Snapshot, name));
    std::fs::create_dir_all(scene.content(&to).parent().unwrap()).unwrap();
    for file in [Scene::content, Scene::properties] {
        std::fs::rename(file(scene, &from), file(scene, &to)).unwrap();
    }
    assert_eq!(std::fs::metadata(scene.content(&to)).unwrap().len(), SIZE);
    Scene::edit(&scene.properties(&to), |value| {
        value["tags"] = json!({ tags::FLEET: fleet, tags::ROLE: role, tags::JOB: job });
        if let Some(created) = created {
            value["properties"]["timeCreated"] = created.into();
        }
    });
    to
}

/// Someone changes the tag with the source of a replica. Nothing proves any more whose replica it is, so it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_source_tag_was_changed_is_kept() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1", "a2"]).await;
    assert_succeeded(&run(&scene, &control, &sync).await);
    let replica = scene.sync.replica(0, "a1");
    let before = scene.bytes(&replica);
    Scene::edit(&scene.properties(&replica), |value| value["tags"][tags::SOURCE] = "x".into());
    for _ in 0..3 {
        let status = run(&scene, &control, &sync).await;
        assert_eq!((status.state, codes(&status)), (ReportedState::Failed, vec!["snapshot-foreign"]), "{status:#?}");
        assert_eq!(scene.bytes(&replica), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_snapshot_that_does_not_exist_fails() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1"]).await;
    let named = |name: &str| scene.sync.source(name).to_string().parse().unwrap();
    let asked = CopyRequest {
        ids: vec![named("a1"), named("mistyped")],
        to: sync.to.clone(),
        scratch: sync.scratch.clone(),
        speed: Speed::Enhanced,
    };
    let [rules] = &copies(&asked).unwrap()[..] else { panic!("one group") };
    let work = work_of_copy(rules, &RunOptions::default()).unwrap();
    assert!(work.resume.contains(" --scratch ") && work.resume.ends_with(" --enhanced"), "{}", work.resume);
    let job = request(&control.jobs, work, None).await.unwrap().job.id;
    let status = scene.fleet.run(&scene.fleet.ports, 1, &job).await;
    assert_eq!((status.state, codes(&status)), (ReportedState::Failed, vec!["copy-source-not-found"]), "{status:#?}");
    assert_eq!(scene.sync.replicas(0).await.len(), 1, "the other snapshot is copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_why_a_replica_is_missing_or_without_use() {
    let mut scene = Scene::to(1);
    let rules = sync(&scene);
    let control = control(&scene, &rules);
    scene.family("one", &["a1", "a2", "a3"]).await;
    let states = async |sync: &Sync| {
        let found = overview(&control, sync).await.unwrap();
        let line = |line: &goldfleet_dispatcher::control::snapshots::overview::SnapshotLine| {
            (line.snapshot.clone(), line.state)
        };
        found.snapshots.iter().map(line).collect::<BTreeMap<String, ReplicaState>>()
    };
    let all = |state| ["a1", "a2", "a3"].map(|name| (name.to_owned(), state)).into_iter().collect::<BTreeMap<_, _>>();
    assert_eq!(states(&rules).await, all(ReplicaState::Missing));
    let newest = Sync { keep: std::num::NonZeroU32::new(1), ..rules.clone() };
    assert_eq!(states(&newest).await["a1"], ReplicaState::NotKept);
    assert_succeeded(&run(&scene, &control, &rules).await);
    assert_eq!(states(&rules).await, all(ReplicaState::Complete));
    let excluding = Sync { exclude_names: vec!["a2".to_owned()], ..rules.clone() };
    assert_eq!(states(&excluding).await["a2"], ReplicaState::NotSelected);
    scene.sync.delete(&scene.sync.source("a3")).await;
    assert_eq!(states(&rules).await["a3"], ReplicaState::WithoutSource);
}
