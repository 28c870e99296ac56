//! The command `vm clone`.

use goldfleet_dispatcher::cli::arguments::{Arguments, Command, VmCommand};
use goldfleet_dispatcher::cli::error::CommandError;
use goldfleet_dispatcher::cli::machine_jobs;
use goldfleet_dispatcher::cli::output::{Answers, Console};
use goldfleet_dispatcher::control::machines::request::command;
use goldfleet_machines::request::CloneRequest;
use goldfleet_model::resource::{PowerState, ResourceType};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::scene::{Scene, id, near};

/// Runs a command line. Returns the exit code or the error, and both outputs.
async fn run(scene: &Scene, line: &str, answers: Answers) -> (Result<u8, CommandError>, String, String) {
    use clap::Parser as _;
    let arguments = Arguments::try_parse_from(shlex::split(line).unwrap()).unwrap_or_else(|error| panic!("{error}"));
    let Command::Vm(VmCommand::Clone(clone)) = arguments.command else { panic!("{line}") };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut console = Console { answers, ..Console::plain(arguments.output, &mut out, &mut notes) };
    let control = scene.fleet.control_with_own_ports();
    let ended = machine_jobs::run(&control, &VmCommand::Clone(clone), &mut console, &CancellationToken::new()).await;
    (ended, String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap())
}

/// The command line of a clone without its confirmation.
fn line(request: &CloneRequest, more: &str) -> String {
    format!("{} {more}", command(request).replace(" --yes", ""))
}

async fn exists(scene: &Scene) -> bool {
    scene.get(&id(&near(), ResourceType::Machine, "copy")).await.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_what_it_will_do_and_asks() {
    let scene = Scene::stopped().await;
    let request = scene.to(&near());
    let (ended, out, notes) = run(&scene, &line(&request, "--dry-run"), Answers::Nobody).await;
    assert_eq!(ended.unwrap(), 0);
    for shown in ["virtualMachines/copy", "web-data-b", "copy-5", "Premium_LRS", "clone-starts", "are not copied"] {
        assert!(out.contains(shown), "{shown}: {out}");
    }
    assert!(notes.contains("dry run"), "{notes}");

    let (ended, _, _) = run(&scene, &line(&request, ""), Answers::Nobody).await;
    let error = ended.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    assert!(error.to_string().contains("--yes"), "{error}");
    let (ended, _, notes) = run(&scene, &line(&request, ""), Answers::Always(false)).await;
    assert!(matches!(ended.unwrap_err(), CommandError::Declined));
    assert!(notes.contains("clone-starts"), "shown before the question: {notes}");
    assert!(scene.ports().table.jobs().await.unwrap().is_empty());

    let (ended, out, _) = run(&scene, &line(&request, "--wait --note T-1"), Answers::Always(true)).await;
    assert_eq!(ended.unwrap(), 0, "{out}");
    assert!(out.contains("clone of machine web"), "{out}");
    scene.assert_cloned(&near()).await;
    let job = scene.ports().table.jobs().await.unwrap().remove(0).value;
    assert_eq!(job.note.as_deref(), Some("T-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_code_and_remedy_and_exits_with_2() {
    let scene = Scene::running().await;
    let request = scene.to(&near());
    let (ended, out, notes) = run(&scene, &line(&request, "--yes"), Answers::Nobody).await;
    assert_eq!(ended.unwrap(), 2);
    assert!(out.contains("[machine-running]") && out.contains("--stop"), "{out}");
    assert!(notes.contains("nothing was changed"), "{notes}");
    assert!(scene.ports().table.jobs().await.unwrap().is_empty());
    scene.assert_source(PowerState::Running).await;
    assert!(!exists(&scene).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_output_is_the_plan_or_the_job() {
    let scene = Scene::running().await;
    let mut request = scene.to(&near());
    request.stop = true;
    let (ended, out, _) = run(&scene, &line(&request, "--dry-run -o json"), Answers::Nobody).await;
    assert_eq!(ended.unwrap(), 0);
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&plan["refused"], &plan["source_runs"]), (&Value::from(false), &Value::from(true)));
    assert_eq!(plan["operations"], 2 + 3 * 3 + 1);
    assert_eq!(plan["disks"][2]["lun"], "5");
    assert!(plan["machine"].as_str().unwrap().ends_with("/virtualMachines/copy"));

    let (ended, out, notes) = run(&scene, &line(&request, "--yes -o json"), Answers::Nobody).await;
    assert_eq!(ended.unwrap(), 0, "{notes}");
    let first: Value = serde_json::from_str(&out).unwrap();
    let (ended, out, notes) = run(&scene, &line(&request, "--yes -o json"), Answers::Nobody).await;
    assert_eq!(ended.unwrap(), 0);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["job"], first["job"], "one clone, one job");
    assert!(notes.contains("already does this"), "{notes}");
}
