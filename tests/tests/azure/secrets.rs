//! Nothing that lets anyone in is ever written down: not in logs at their most talkative, not in rows or messages.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::process::{Command, Stdio};

use goldfleet_tests::azure::fixture::{AzureFixture, Backend};
use goldfleet_tests::azure::proxy::{Effect, Operation, Rule};
use goldfleet_tests::process_fixture::{Process, ProcessFixture};

const MIB: u64 = 1 << 20;

/// What gives a secret away: a signature, and the beginning of every JSON Web Token (`{"` in Base64).
const SECRETS: [&str; 4] = ["sig=", "Bearer eyJ", "eyJhbGciOi", "SharedAccessSignature"];

fn talkative(fixture: &ProcessFixture, program: &str, arguments: &[&str]) -> Process {
    let name = format!("{program}-{}.log", std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos());
    let log = File::create(fixture.path(&name)).unwrap();
    let mut command: Command = fixture.command(program, arguments);
    command.env("GOLDFLEET_LOG", "trace").env("RUST_BACKTRACE", "1");
    Process(command.stdout(Stdio::from(log.try_clone().unwrap())).stderr(log).spawn().unwrap())
}

#[test]
fn logs_rows_and_messages_contain_no_secrets() {
    let mut azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let fixture = azure.process_fixture(Backend::Azure, Backend::Azure, 4 * MIB);
    fixture.succeed(&["setup"]);
    // Things must go wrong as well: errors are where secrets slip out.
    for effect in [Effect::LoseRequest, Effect::LoseAnswer, Effect::BUSY, Effect::TIMED_OUT, Effect::FlipSourceBit] {
        let rules = azure.proxy.rules();
        rules.add(Rule::new(effect.clone()).operation(Operation::PutBlobFromUrl).times(1));
        rules.add(Rule::new(effect).operation(Operation::PutPageFromUrl).times(2));
    }
    let mut upload = talkative(&fixture, "goldfleet", &fixture.upload(&[]));
    assert!(upload.0.wait().unwrap().success());
    let dispatcher = talkative(&fixture, "goldfleet", &["dispatcher"]);
    let workers = [talkative(&fixture, "goldfleet-worker", &[]), talkative(&fixture, "goldfleet-worker", &[])];
    fixture.wait_for_job();
    azure.assert_everywhere(&fixture);
    drop((dispatcher, workers));
    let mut logs = 0;
    for file in std::fs::read_dir(fixture.path(".")).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            let log = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
            assert!(log.len() > 10_000, "{} is not talkative", file.display());
            assert_clean(&log, &file.display().to_string());
            logs += 1;
        }
    }
    assert_eq!(logs, 4);
    // All that the services keep of queues and tables, blobs apart.
    azure.azurite.stop();
    let mut stores = 0;
    for file in std::fs::read_dir(azure.azurite.folder().join("data")).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "json") {
            assert_clean(&String::from_utf8_lossy(&std::fs::read(&file).unwrap()), &file.display().to_string());
            stores += 1;
        }
    }
    assert!(stores >= 3, "only {stores} of the emulator's files");
}

fn assert_clean(text: &str, name: &str) {
    for secret in SECRETS {
        if let Some(at) = text.find(secret) {
            let around: String = text[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
            panic!("{name} holds {secret:?} after: {around}");
        }
    }
}
