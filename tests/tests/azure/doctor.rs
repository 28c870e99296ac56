//! `setup` and `doctor` against the emulator and the double of Resource Manager.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use goldfleet_tests::azure::arm::{
    GalleryItem, GalleryLevel, ImageState, Lock, LockLevel, Role, RoleAssignment, TenantState,
};
use goldfleet_tests::azure::fixture::{AzureFixture, Backend, PRINCIPAL};
use goldfleet_tests::process_fixture::ProcessFixture;
use serde_json::{Value, json};

const SUBSCRIPTION: &str = "/subscriptions/00000000-0000-0000-0000-000000000001";

/// The findings that report a problem, as level, subject and code.
fn findings(fixture: &ProcessFixture) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let said = fixture.json(&["doctor"]);
    let findings = said["findings"].as_array().unwrap().iter();
    let bad = findings.filter(|finding| finding["level"] != "ok");
    for finding in bad.clone() {
        assert!(!text(&finding["remedy"]).is_empty(), "no remedy: {finding:#}");
        assert!(!text(&finding["message"]).is_empty(), "no message: {finding:#}");
    }
    bad.map(|finding| (text(&finding["level"]), text(&finding["subject"]), text(&finding["code"]))).collect()
}

fn has(findings: &[(String, String, String)], level: &str, subject: &str, code: &str) {
    let found = findings.iter().any(|(l, s, c)| l == level && s.contains(subject) && c == code);
    assert!(found, "no {level} {code} of {subject} in {findings:#?}");
}

#[test]
fn doctor_reports_missing_and_setup_creates() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let fixture = azure.process_fixture(Backend::Azure, Backend::Azure, 1 << 20);
    let before = findings(&fixture);
    has(&before, "error", "queue copy", "queue-not-found");
    has(&before, "error", "tables", "table-not-found");
    has(&before, "error", "source store", "container-not-found");
    has(&before, "warning", "target 00000000-0000-0000-0000-000000000001/eastus", "container-not-found");
    assert_eq!(findings(&fixture), before, "looking changed something");
    assert_eq!(fixture.run(&["doctor"]).status.code(), Some(1));

    fixture.succeed(&["setup"]);
    assert_eq!(findings(&fixture), []);
    let output = fixture.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("ok      target 00000000-0000-0000-0000-000000000001/westeurope: ready"), "{text}");
    fixture.succeed(&["setup"]);
}

/// The doctor finds every error that would otherwise appear in the middle of a rollout.
#[test]
fn doctor_checks_targets() {
    let azure = AzureFixture::start(2, &["westeurope", "eastus"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 1 << 20);
    fixture.succeed(&["setup"]);
    assert_eq!(findings(&fixture), []);
    let change = |change: fn(&mut TenantState)| {
        azure.manager.world().write(change);
        findings(&fixture)
    };
    let found = change(|world| world.groups.retain(|group| !group.subscription.ends_with('2')));
    has(&found, "error", "000000000002/eastus", "resource-group-not-found");
    let found = change(|world| {
        for account in &mut world.accounts {
            match account.name.as_str() {
                "goldsource" => account.default_action = "Deny".to_owned(),
                "stage2eastus" => account.public_network_access = "SecuredByPerimeter".to_owned(),
                "stage1westeurope" => account.region = "northeurope".to_owned(),
                "stage1eastus" => (account.shared_key, account.public_blobs) = (true, true),
                _ => {}
            }
        }
    });
    has(&found, "warning", "store account goldsource", "store-firewall");
    has(&found, "error", "000000000001/westeurope", "vhd-in-other-region");
    has(&found, "warning", "000000000001/eastus", "shared-key");
    has(&found, "warning", "000000000001/eastus", "public-blobs");
    let found = change(|world| {
        for account in &mut world.accounts {
            match account.name.as_str() {
                "stage1westeurope" => account.kind = "BlobStorage".to_owned(),
                // The store of its region uses its container.
                "stage1eastus" => account.sku = "Premium_LRS".to_owned(),
                "stage2westeurope" => {
                    account.hierarchical = true;
                    account.copy_scope = Some("PrivateLink".to_owned());
                }
                "stage2eastus" => account.blob_endpoint = "https://stage2eastus.z01.blob.storage.azure.net/".to_owned(),
                _ => {}
            }
        }
    });
    has(&found, "error", "000000000001/westeurope", "account-kind");
    has(&found, "error", "store account stage1eastus", "account-kind");
    assert!(!found.iter().any(|(_, s, c)| s.contains("000000000001/eastus") && c == "account-kind"), "{found:#?}");
    has(&found, "error", "000000000002/westeurope", "account-hierarchical");
    has(&found, "warning", "000000000002/westeurope", "copy-scope");
    has(&found, "error", "000000000002/eastus", "account-endpoint");
    let found = change(|world| {
        let group = |n: u32| format!("/subscriptions/00000000-0000-0000-0000-00000000000{n}/resourceGroups/images");
        let disk = format!("{}/providers/Microsoft.Compute/disks/other", group(1));
        world.locks.push(Lock::new("other", &disk, LockLevel::ReadOnly));
        world.locks.push(Lock::new("still", &group(2), LockLevel::ReadOnly));
        world.groups.push(world.groups.last().unwrap().clone());
        if let Some(group) = world.groups.last_mut() {
            group.subscription.replace_range(group.subscription.len() - 1.., "2");
        }
        world.locks.push(Lock::new("keep", SUBSCRIPTION, LockLevel::CanNotDelete));
        world.regions_of.insert("Microsoft.Compute/images".to_owned(), vec!["westeurope".to_owned()]);
    });
    has(&found, "warning", "000000000001/westeurope", "scope-locked");
    has(&found, "error", "000000000002/westeurope", "scope-locked");
    has(&found, "error", "000000000001/eastus", "region-not-available");
    let found = change(|world| {
        let subscription = world.subscriptions.iter_mut().find(|s| s.id.ends_with('2')).unwrap();
        subscription.unregistered.insert("Microsoft.Compute".to_owned());
    });
    has(&found, "error", "000000000002/westeurope", "provider-not-registered");
    let found = change(|world| {
        world.subscriptions.retain(|subscription| !subscription.id.ends_with('2'));
        world.accounts.retain(|account| account.name != "stage1eastus");
        world.regions_of.clear();
    });
    has(&found, "error", "000000000002/westeurope", "subscription-not-found");
    has(&found, "error", "000000000001/eastus", "account-not-found");
}

/// One account serves 99 targets of a region at full rate. With more targets, a plan uses more staging accounts as
/// stores, in the order of their rings. The doctor checks all of them.
#[test]
fn doctor_checks_every_planned_store() {
    let azure = AzureFixture::start(100, &["ukwest"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 1 << 20);
    let targets = std::fs::read_to_string(fixture.path("targets.toml")).unwrap();
    let first = "account = \"stage70ukwest\"\nring = 1\n";
    let targets = targets.replace("container", "ring = 1\ncontainer").replace(first, "account = \"stage70ukwest\"\n");
    std::fs::write(fixture.path("targets.toml"), targets).unwrap();
    fixture.succeed(&["setup"]);
    azure.manager.world().write(|world| {
        for account in world.accounts.iter_mut().filter(|account| account.name.starts_with("stage")) {
            account.default_action = "Deny".to_owned();
        }
    });
    let closed: Vec<String> = findings(&fixture)
        .into_iter()
        .filter(|(level, _, code)| level == "warning" && code == "store-firewall")
        .map(|(_, subject, _)| subject)
        .collect();
    assert_eq!(closed, ["store account stage1ukwest", "store account stage70ukwest"]);
    let upload = ["upload", "golden.vhd", "--image", "golden", "--version", "1", "--os", "linux", "--no-dispatch"];
    fixture.succeed(&upload);
    let plan = fixture.json(&["plan", "--image", "golden", "--version", "1"]);
    let text = |value: &Value| format!("store account {}", value.as_str().unwrap());
    let mut planned: Vec<String> =
        plan["targets"].as_array().unwrap().iter().map(|target| text(&target["from"]["account"])).collect();
    planned.sort_unstable();
    planned.dedup();
    assert_eq!(planned, closed);
}

/// For a principal that may only read, the doctor names the missing role, before anything is uploaded.
#[test]
fn doctor_names_missing_roles() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 1 << 20);
    fixture.succeed(&["setup"]);
    azure.manager.world().write(|world| {
        world.roles = vec![RoleAssignment::new(PRINCIPAL, "/", Role::reader())];
    });
    let found = findings(&fixture);
    has(&found, "error", "000000000001/westeurope", "authorization-failed");
    let said = fixture.json(&["doctor"]).to_string();
    assert!(said.contains("Microsoft.Compute/images/write"), "{said}");
    assert!(said.contains("Storage Blob Data Contributor"), "{said}");
}

/// The roles of infra/bicep are sufficient: they are assigned on a group, a container and an account, and above these
/// only for reading.
#[test]
fn doctor_finds_roles_at_every_scope() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 1 << 20);
    fixture.succeed(&["setup"]);
    let group = format!("{SUBSCRIPTION}/resourceGroups/images");
    let account = format!("{group}/providers/Microsoft.Storage/storageAccounts/stage1westeurope");
    let container = format!("{account}/blobServices/default/containers/vhds");
    let containers = "Microsoft.Storage/storageAccounts/blobServices/containers";
    let give = |reader: Role, with_keys: bool| {
        let keys: &[&str] = if with_keys { &["Microsoft.Storage/storageAccounts/listKeys/action"] } else { &[] };
        let images = Role::custom("images", &["Microsoft.Compute/images/*"], &[]);
        let blobs = Role::custom("blobs", &[&format!("{containers}/write")], &[&format!("{containers}/blobs/*")]);
        let roles = [
            (reader, "/"),
            (images, group.as_str()),
            (blobs, container.as_str()),
            (Role::custom("vhds", keys, &[]), account.as_str()),
        ];
        let roles = roles.map(|(role, scope)| RoleAssignment::new(PRINCIPAL, scope, role));
        azure.manager.world().write(|world| world.roles = roles.to_vec());
    };
    give(Role::reader(), true);
    assert_eq!(findings(&fixture), []);
    give(Role::reader(), false);
    let found = findings(&fixture);
    assert_eq!(found.len(), 1, "{found:#?}");
    has(&found, "warning", "000000000001/westeurope", "account-rights");

    let set = format!("{SUBSCRIPTION}/resourceGroups/images/providers/Microsoft.Compute/diskEncryptionSets/golden");
    let targets = std::fs::read_to_string(fixture.path("targets.toml")).unwrap();
    std::fs::write(fixture.path("targets.toml"), format!("{targets}disk_encryption_set = {set:?}\n")).unwrap();
    give(Role::reader(), true);
    assert_eq!(findings(&fixture), []);
    let blind = vec!["Microsoft.Compute/diskEncryptionSets/read".to_owned()];
    give(Role { not_actions: blind, ..Role::reader() }, true);
    has(&findings(&fixture), "error", "000000000001/westeurope", "authorization-failed");
}

/// Targets that receive snapshots need rights on snapshots and disks, and so do the configured hubs and the targets
/// that copy from them. A fleet without either is not asked for these rights.
#[test]
fn doctor_checks_hubs_and_sinks() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 1 << 20);
    fixture.succeed(&["setup"]);
    let give = |actions: &[&str]| {
        let mut roles = vec![RoleAssignment::new(PRINCIPAL, "/", Role::reader())];
        let all = Role::custom("all", actions, &["*"]);
        roles.push(RoleAssignment::new(PRINCIPAL, "/", all));
        azure.manager.world().write(|world| world.roles = roles);
    };
    let images = ["Microsoft.Compute/images/*", "Microsoft.Storage/*"];
    let snapshots = [&images[..], &["Microsoft.Compute/snapshots/*", "Microsoft.Compute/disks/*"]].concat();
    give(&images);
    assert_eq!(findings(&fixture), []);

    let targets = std::fs::read_to_string(fixture.path("targets.toml")).unwrap();
    let write = |text: &str| std::fs::write(fixture.path("targets.toml"), text).unwrap();
    write(&format!("{targets}sinks = [\"image\", \"snapshot\"]\n"));
    let found = findings(&fixture);
    assert_eq!(found.len(), 1, "{found:#?}");
    has(&found, "error", "target 00000000-0000-0000-0000-000000000001/westeurope", "authorization-failed");
    assert!(fixture.json(&["doctor"]).to_string().contains("Microsoft.Compute/snapshots/write"));
    give(&snapshots);
    assert_eq!(findings(&fixture), []);

    let hub = "[[store]]\nregion = \"westeurope\"\naccount = \"stage1westeurope\"\ncontainer = \"vhds\"\n\
               subscription = \"00000000-0000-0000-0000-000000000001\"\nresource_group = \"golden\"\n";
    write(&format!("{targets}{hub}"));
    has(&findings(&fixture), "error", "hub westeurope", "resource-group-not-found");
    write(&format!("{targets}{}", hub.replace("golden", "images")));
    assert_eq!(findings(&fixture), []);
    give(&images);
    let found = findings(&fixture);
    has(&found, "error", "hub westeurope", "authorization-failed");
    has(&found, "error", "target 00000000-0000-0000-0000-000000000001/westeurope", "authorization-failed");
}

/// The rights on sources are not in the configuration, so the command names the sources.
#[test]
fn doctor_checks_sources_and_clones_that_are_asked_for() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 1 << 20);
    fixture.succeed(&["setup"]);
    let give = |actions: &[&str]| {
        let role = Role::custom("some", actions, &["*"]);
        azure.manager.world().write(|world| {
            world.roles =
                vec![RoleAssignment::new(PRINCIPAL, "/", Role::reader()), RoleAssignment::new(PRINCIPAL, "/", role)];
        });
    };
    let group = format!("{SUBSCRIPTION}/resourceGroups/images/providers/Microsoft.Compute");
    let (image, machine) = (format!("image:{group}/images/i"), format!("vm:{group}/virtualMachines/m"));
    let place = "00000000-0000-0000-0000-000000000001/westeurope/images";
    let asked = ["doctor", "--from", &image, "--from", &machine, "--clone-to", place];
    let images = ["Microsoft.Compute/images/*", "Microsoft.Storage/*"];
    give(&images);
    let output = fixture.run(&asked);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for action in [
        "galleries/images/versions/write",
        "disks/beginGetAccess/action",
        "virtualMachines/deallocate/action",
        "restorePointCollections/write",
    ] {
        assert!(text.contains(&format!("Microsoft.Compute/{action}")), "{action}: {text}");
    }
    assert_eq!(findings(&fixture), [], "nothing is wrong without these sources");
    give(&[&images[..], &["Microsoft.Compute/*", "Microsoft.Network/*"]].concat());
    let text = String::from_utf8(fixture.run(&asked).stdout).unwrap();
    assert!(
        text.contains(&format!("ok      source {image}: ready"))
            && text.contains(&format!("ok      source {machine}: ready")),
        "{text}"
    );
}

/// Rights, regions, hub and definitions of a gallery are checked, and with the route `region` the rights to fill disks
/// in hubs; its targets need no staging account.
#[test]
fn doctor_checks_galleries_and_the_route_region() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 1 << 20);
    fixture.succeed(&["setup"]);
    let upload = ["upload", "golden.vhd", "--image", "golden", "--version", "1.0.0", "--os", "linux", "--no-dispatch"];
    fixture.succeed(&upload);
    let give = |actions: &[&str]| {
        let all = Role::custom("all", actions, &["*"]);
        let roles = vec![RoleAssignment::new(PRINCIPAL, "/", Role::reader()), RoleAssignment::new(PRINCIPAL, "/", all)];
        azure.manager.world().write(|world| world.roles = roles);
    };
    let disks = ["read", "write", "delete"].map(|action| format!("Microsoft.Compute/disks/{action}"));
    let disks: Vec<&str> = disks.iter().map(String::as_str).collect();
    let images = ["Microsoft.Compute/images/*", "Microsoft.Compute/snapshots/*", "Microsoft.Storage/*"];
    let without_galleries = [&images[..], &disks].concat();
    let galleries = [&without_galleries[..], &["Microsoft.Compute/galleries/*"]].concat();
    let all = [&galleries[..], &["Microsoft.Compute/disks/*"]].concat();

    let targets = std::fs::read_to_string(fixture.path("targets.toml")).unwrap();
    let place = "subscription = \"00000000-0000-0000-0000-000000000001\"\nresource_group = \"images\"\n";
    let gallery = format!("[[gallery]]\n{place}name = \"corp\"\nregion = \"westeurope\"\n");
    let hub =
        format!("[[store]]\nregion = \"westeurope\"\naccount = \"stage1westeurope\"\ncontainer = \"vhds\"\n{place}");
    let write = |text: &str| std::fs::write(fixture.path("targets.toml"), text).unwrap();
    let only = |code: &str, subject: &str| {
        let found = findings(&fixture);
        assert_eq!(found.len(), 1, "{found:#?}");
        has(&found, "error", subject, code);
    };
    write(&format!("{targets}{gallery}"));
    give(&without_galleries);
    only("authorization-failed", "gallery corp");
    give(&all);
    only("gallery-missing", "gallery corp");
    let id = format!("{SUBSCRIPTION}/resourceGroups/images/providers/Microsoft.Compute/galleries/corp");
    let item = |level, id: String, properties| GalleryItem {
        level,
        id,
        region: "westeurope".to_owned(),
        tags: BTreeMap::new(),
        properties,
        state: ImageState::Succeeded,
        replicas: BTreeMap::new(),
    };
    azure.manager.world().write(|world| world.galleries.push(item(GalleryLevel::Gallery, id.clone(), json!({}))));
    let found = findings(&fixture);
    has(&found, "error", "gallery corp", "definition-missing");
    has(&found, "warning", "gallery corp", "hub-missing");
    let definition = json!({
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "architecture": "Arm64",
        "identifier": { "publisher": "goldfleet", "offer": "golden", "sku": "golden" },
        "features": [{ "name": "SecurityType", "value": "TrustedLaunchSupported" }],
    });
    azure.manager.world().write(|world| {
        world.galleries.push(item(GalleryLevel::Definition, format!("{id}/images/golden"), definition));
    });
    write(&format!("{targets}{hub}{gallery}"));
    only("definition-differs", "gallery corp");
    assert!(fixture.json(&["doctor"]).to_string().contains("another architecture than the configuration"));
    write(&format!("{targets}{hub}{gallery}architecture = \"arm64\"\nregions = [{{ name = \"eastus\" }}]\n"));
    assert_eq!(findings(&fixture), []);
    azure.manager.world().write(|world| {
        let versions = "Microsoft.Compute/galleries/images/versions".to_owned();
        world.regions_of.insert(versions, vec!["westeurope".to_owned()]);
    });
    only("region-not-available", "gallery corp");
    azure.manager.world().write(|world| world.regions_of.clear());

    give(&galleries);
    let found = findings(&fixture);
    assert_eq!(found.len(), 1, "{found:#?}");
    has(&found, "warning", "hub westeurope", "authorization-failed");
    let config = std::fs::read_to_string(fixture.path("goldfleet.toml")).unwrap();
    std::fs::write(fixture.path("goldfleet.toml"), format!("{config}\n[plan]\nroute = \"region\"\n")).unwrap();
    only("authorization-failed", "hub westeurope");
    assert!(fixture.json(&["doctor"]).to_string().contains("disks/endGetAccess/action"));
    give(&all);
    write(&format!("{}{hub}", targets.replace("stage1westeurope", "nowhere")));
    assert_eq!(findings(&fixture), [], "no staging account is used");
}

/// `setup --register` registers what is missing, and nothing else. A dry run changes nothing.
#[test]
fn setup_registers_missing_providers() {
    let azure = AzureFixture::start(2, &["westeurope"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 1 << 20);
    fixture.succeed(&["setup"]);
    azure.manager.world().write(|world| {
        world.registration_reads = 0;
        let register = Role::custom("register", &["Microsoft.Compute/register/action"], &[]);
        world.roles.push(RoleAssignment::new(PRINCIPAL, "/", register));
        let subscription = world.subscriptions.iter_mut().find(|found| found.id.ends_with('2')).unwrap();
        subscription.unregistered.insert("Microsoft.Compute".to_owned());
    });
    let found = findings(&fixture);
    has(&found, "error", "000000000002/westeurope", "provider-not-registered");
    assert!(fixture.json(&["doctor"]).to_string().contains("goldfleet setup --register"));
    let what = "Microsoft.Compute in 00000000-0000-0000-0000-000000000002";
    let states = |arguments: &[&str]| {
        let said = fixture.json(arguments);
        let state =
            |line: &Value| (line["what"].as_str().unwrap().to_owned(), line["state"].as_str().unwrap().to_owned());
        said.as_array().unwrap().iter().map(state).collect::<BTreeMap<_, _>>()
    };
    let before = azure.manager.log().accepted.len();
    let dry = states(&["setup", "--register", "--dry-run"]);
    assert_eq!(dry.len(), 5, "{dry:#?}");
    assert_eq!(
        dry.iter().filter(|(_, state)| *state != "registered").collect::<Vec<_>>(),
        [(&what.to_owned(), &"not registered".to_owned())]
    );
    assert_eq!(azure.manager.log().accepted.len(), before, "a dry run changes nothing");
    // The tables of the process advance by the real clock, so the registration ends with the first poll.
    let made = states(&["setup", "--register"]);
    assert_eq!(made[what], "registered now");
    assert_eq!(made["queues"], "ready");
    let accepted = azure.manager.log().accepted;
    assert_eq!(accepted[before..].iter().filter(|each| each.id.ends_with("/Microsoft.Compute")).count(), 1);
    assert_eq!(findings(&fixture), []);
    assert_eq!(states(&["setup", "--register"])[what], "registered");
    // The role that the double then applies permits no registration.
    azure.manager.world().write(|world| {
        world.subscriptions[1].unregistered.insert("Microsoft.Compute".to_owned());
        world.roles = vec![RoleAssignment::new(PRINCIPAL, "/", Role::reader())];
    });
    let refused = fixture.run(&["setup", "--register"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8(refused.stdout).unwrap().contains("failed [authorization-failed]"));
}

/// Without Azure, the doctor checks fewer things.
#[test]
fn doctor_checks_embedded_fleet() {
    let fixture = in_a_folder("");
    let found = findings(&fixture);
    has(&found, "warning", "targets", "no-targets");
    // The first upload creates the container.
    assert_eq!(found.len(), 1, "{found:#?}");
    fixture.succeed(&["setup"]);
    assert_eq!(findings(&fixture), found);
}

/// If the cloud is a directory, little can be checked at targets. The doctor says so, and checks the rest.
#[test]
fn doctor_states_limits_of_directory_cloud() {
    let fixture = in_a_folder(&goldfleet_tests::process_fixture::targets(2, &["westeurope", "eastus"]));
    fixture.succeed(&["setup"]);
    assert_eq!(findings(&fixture), []);
    let about_the_cloud = || {
        let said = fixture.json(&["doctor"]);
        let about = said["findings"].as_array().unwrap().iter().find(|finding| finding["subject"] == "cloud").unwrap();
        about["message"].as_str().unwrap().to_owned()
    };
    let message = about_the_cloud();
    assert!(message.contains("is a folder, without subscriptions, permissions or firewalls to examine"), "{message}");
    assert!(message.contains("the account's folder is usable at 4 of 4 enabled targets"), "{message}");
    let text = String::from_utf8(fixture.run(&["doctor"]).stdout).unwrap();
    assert!(text.contains(&format!("ok      cloud: {message}")), "{text}");

    std::fs::remove_dir_all(fixture.path("cloud/stage2eastus")).unwrap();
    assert_eq!(findings(&fixture), [], "a worker would make it");
    std::fs::write(fixture.path("cloud/stage2eastus"), "in the way").unwrap();
    let found = findings(&fixture);
    assert_eq!(found.len(), 1, "{found:#?}");
    has(&found, "error", "target 00000000-0000-0000-0000-000000000002/eastus", "account-unusable");
    assert!(
        about_the_cloud().contains("the account's folder is usable at 3 of 4 enabled targets"),
        "{}",
        about_the_cloud()
    );
    assert_eq!(fixture.run(&["doctor"]).status.code(), Some(1));
}

/// A fleet on one machine, with these targets.
fn in_a_folder(targets: &str) -> ProcessFixture {
    let generation = goldfleet_model::manifest::Generation::V2;
    ProcessFixture::new(
        "[source]\nsubscription = \"00000000-0000-0000-0000-000000000000\"\nregion = \"westeurope\"\n\
         account = \"goldsource\"\ncontainer = \"golden\"\n",
        targets,
        &goldfleet_disk::GoldenSpec::spread(8 << 20, generation, 1 << 20, 1, 1),
    )
}
