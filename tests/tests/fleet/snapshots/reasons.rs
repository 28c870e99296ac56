//! What a run reports about its deletions, and the names of replicas of a copy.

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::snapshots::RunSpec;
use goldfleet_dispatcher::control::snapshots::request::{
    CopyRequest, RunOptions, copies, request, work_of_copy, work_of_sync,
};
use goldfleet_dispatcher::control::snapshots::run::plan;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_snapshots::graph::RowSpec;
use goldfleet_snapshots::rules::Speed;

use super::commands::{codes, control, run, sync};
use super::directory::Scene;
use super::scene::assert_succeeded;

/// The reason is in the plan, in the status and in the log of the job.
#[tokio::test(flavor = "multi_thread")]
async fn each_removal_has_its_reason() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1", "a2"]).await;
    assert_succeeded(&run(&scene, &control, &sync).await);
    scene.sync.delete(&scene.sync.source("a1")).await;
    let untagged = scene.properties(&scene.sync.source("a2"));
    Scene::edit(&untagged, |value| value["tags"] = serde_json::json!({ "owner": "payments" }));
    let options = RunOptions { allow_empty: true, ..RunOptions::default() };
    let work = work_of_sync(&sync, &options).unwrap();
    let first = request(&control.jobs, work.clone(), None).await.unwrap().job.id;
    assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 1, &first).await);

    let planned = plan(&control, &RunSpec::of(&work).unwrap(), &"20261129-120000-abcd".parse().unwrap()).await.unwrap();
    let reasons: Vec<String> = planned.groups.iter().flatten().filter_map(|row| row.spec.reason()).collect();
    let (gone, lost) = ("its source a1 does not exist any more", "its source a2 lost the tag that selects it");
    assert_eq!(reasons, [gone, lost]);

    let job = request(&control.jobs, work, None).await.unwrap().job.id;
    let status = scene.fleet.run(&scene.fleet.ports, 1, &job).await;
    assert_succeeded(&status);
    let mut remarks: Vec<&str> = status.remarks.iter().map(|remark| remark.text.as_str()).collect();
    remarks.sort_unstable();
    let expected =
        [(gone, "a1"), (lost, "a2")].map(|(reason, name)| format!("deleted {}: {reason}", scene.sync.replica(0, name)));
    assert_eq!(remarks, expected);
    assert!(serde_json::to_string(&status).unwrap().contains(lost));
    let events = control.ports.table.events(&job, None).await.unwrap();
    let why: Vec<String> = events.into_iter().filter_map(|event| event.why).collect();
    assert!(expected.iter().all(|text| why.contains(text)), "{why:#?}");
}

async fn copy(scene: &Scene, names: &[&str], template: &str) -> Result<Status, ControlError> {
    let rules = sync(scene);
    let control = control(scene, &rules);
    let named = |name: &&str| scene.sync.source(name).to_string().parse().unwrap();
    let ids = names.iter().map(named).collect();
    let asked = CopyRequest { ids, to: rules.to.clone(), scratch: None, speed: Speed::Standard };
    let options = RunOptions { name: Some(template.parse().unwrap()), ..RunOptions::default() };
    let [copied] = &copies(&asked)?[..] else { panic!("one group") };
    let work = work_of_copy(copied, &options)?;
    assert!(work.resume.contains(&format!(" --name '{template}'")), "{}", work.resume);
    let job = request(&control.jobs, work, None).await?.job.id;
    Ok(scene.fleet.run(&scene.fleet.ports, 1, &job).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_get_the_names_of_a_template() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1", "a2"]).await;
    assert_succeeded(&copy(&scene, &["a1"], "dr-{name}-{region}").await.unwrap());
    let replica = scene.sync.replica(0, "dr-a1-eastus");
    assert_eq!(scene.bytes(&replica), scene.bytes(&scene.sync.source("a1")));
    // A replica that exists keeps its name.
    let again = copy(&scene, &["a1"], "{name}-{date}").await.unwrap();
    assert_eq!((again.state, codes(&again)), (ReportedState::Succeeded, vec!["replica-named-otherwise"]), "{again:#?}");
    assert_eq!(scene.sync.replicas(0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_one_copy_never_share_a_name() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1"]).await;
    scene.family("two", &["b1"]).await;
    let status = copy(&scene, &["a1", "b1"], "same").await.unwrap();
    assert_eq!((status.state, codes(&status)), (ReportedState::Failed, vec!["replica-name-taken"]), "{status:#?}");
    assert_eq!(scene.sync.replicas(0).await.len(), 1);
    for bad in ["", "{nam}", "a b", "{name}.x"] {
        assert!(bad.parse::<goldfleet_snapshots::names::ReplicaName>().is_err(), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_creates_nothing() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1"]).await;
    let spec = RunSpec::of(&work_of_sync(&sync, &RunOptions::default()).unwrap()).unwrap();
    let planned = plan(&control, &spec, &"20261129-120000-abcd".parse().unwrap()).await.unwrap();
    assert!(planned.groups.iter().flatten().any(|row| matches!(row.spec, RowSpec::Copy(_))));
    assert_eq!(scene.sync.replicas(0).await.len(), 0);
}
