//! The user who is signed in to the Azure CLI, and the names of subscriptions. A script takes the place of `az`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use goldfleet_tests::azure::fixture::{AzureFixture, Backend, PRINCIPAL, TENANT};
use goldfleet_tests::process_fixture::ProcessFixture;
use serde_json::{Value, json};

const ALICE: &str = "alice@contoso.com";

/// What `az account get-access-token` prints for Alice.
fn token(audience: &str) -> String {
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = json!({
        "aud": audience, "iss": format!("https://sts.windows.net/{TENANT}/"), "tid": TENANT, "oid": PRINCIPAL, "upn": ALICE,
        "iat": now, "nbf": now - 300, "exp": now + 3600,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token = format!("{}.{}.none", part(&json!({ "alg": "none", "typ": "JWT" })), part(&claims));
    json!({ "accessToken": token, "expires_on": now + 3600, "tokenType": "Bearer", "tenant": TENANT }).to_string()
}

/// A directory whose programs sign in with `az`.
fn signed_in(azure: &AzureFixture, coordination: Backend) -> ProcessFixture {
    let fixture = azure.process_fixture(coordination, Backend::Azure, 1 << 20);
    let path = |name: &str| fixture.path(name).display().to_string();
    std::fs::write(path("storage.json"), token("https://storage.azure.com")).unwrap();
    std::fs::write(path("manager.json"), token("https://management.azure.com")).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *storage*) cat {:?} ;; *) cat {:?} ;; esac\n",
        path("storage.json"),
        path("manager.json")
    );
    std::fs::write(path("az"), script).unwrap();
    std::fs::set_permissions(path("az"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = std::fs::read_to_string(path("goldfleet.toml")).unwrap();
    std::fs::write(path("goldfleet.toml"), config.replace("\"emulator\"", "\"azure-cli\"")).unwrap();
    fixture
}

/// Runs a program that finds `az`.
fn run(fixture: &ProcessFixture, arguments: &[&str]) -> Output {
    let path = format!("{}:{}", fixture.path(".").display(), std::env::var("PATH").unwrap());
    fixture.command("goldfleet", arguments).env("PATH", path).output().unwrap()
}

fn json(fixture: &ProcessFixture, arguments: &[&str]) -> Value {
    let output = run(fixture, &[arguments, &["--output", "json"]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {error}"))
}

/// Jobs, events and versions record the principal, wherever queues and tables are.
#[test]
fn the_signed_in_principal_is_the_operator() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let is_alice = |who: &Value| who.as_str().unwrap().starts_with(&format!("{ALICE} ("));
    for (coordination, version) in [(Backend::Azure, "1"), (Backend::Local, "2")] {
        let fixture = signed_in(&azure, coordination);
        if coordination == Backend::Azure {
            assert!(run(&fixture, &["setup"]).status.success());
        }
        let upload = ["upload", "golden.vhd", "--image", "golden", "--version", version, "--os", "linux"];
        let output = run(&fixture, &upload);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let images = json(&fixture, &["images"])["images"].clone();
        let uploaded = images.as_array().unwrap().iter().find(|image| image["version"] == version).unwrap();
        assert!(is_alice(&uploaded["by"]), "{coordination:?}: {uploaded:#}");
        let status = json(&fixture, &["status"]);
        assert!(is_alice(&status["requested_by"]), "{coordination:?}: {status:#}");
        // With embedded coordination, a cancel needs no token.
        if coordination == Backend::Azure {
            assert!(run(&fixture, &["cancel", status["job"].as_str().unwrap()]).status.success());
            let events = json(&fixture, &["logs"]);
            assert!(is_alice(&events[0]["who"]), "{events:#}");
        }
    }
}

/// Targets are generated with the display names of their subscriptions. A name in the list is not replaced.
#[test]
fn generated_targets_have_the_names_of_their_subscriptions() {
    let azure = AzureFixture::start(2, &["westeurope"]);
    azure.manager.world().write(|world| {
        for subscription in &mut world.subscriptions {
            subscription.name = format!("Payments {}", subscription.id.chars().last().unwrap());
        }
    });
    let fixture = signed_in(&azure, Backend::Local);
    std::fs::remove_file(fixture.path("targets.toml")).unwrap();
    let id = |n: u32| format!("00000000-0000-0000-0000-{n:012}");
    // The third subscription cannot be read, and its target has no name.
    std::fs::write(fixture.path("ids"), format!("{}\n{}\tBilling\n{}\n", id(1), id(2), id(3))).unwrap();
    let generate = ["targets", "generate", "--subscriptions", "ids", "--regions", "westeurope", "--prefix", "stage"];
    let output = run(&fixture, &generate);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let targets = json(&fixture, &["targets", "list"]);
    let names: Vec<&Value> = targets.as_array().unwrap().iter().map(|target| &target["name"]).collect();
    assert_eq!(names, [&json!("Payments 1"), &json!("Billing"), &Value::Null], "{targets:#}");
}
