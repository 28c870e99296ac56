//! Clones: to other regions, in the same region, with changed properties, and what is refused.

use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyScope, verify};
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{DiskState, PowerState, ResourceType};
use serde_json::json;

use super::scene::{Scene, assert_succeeded, home, id, near, remote};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_machine_is_cloned_to_another_region_with_all_its_disks() {
    let scene = Scene::stopped().await;
    let (job, status) = scene.clone(&scene.to(&remote())).await;
    assert_succeeded(&status);
    let clone = scene.assert_cloned(&remote()).await;
    scene.assert_source(PowerState::Deallocated).await;

    let machine = clone.body.properties.machine().unwrap();
    assert_eq!(machine.size(), Some("Standard_D4s_v5"));
    assert_eq!(machine.license_type.as_deref(), Some("RHEL_BYOS"));
    assert_eq!(json!(machine.security_profile)["uefiSettings"]["secureBootEnabled"], true);
    assert_eq!(clone.body.tags["app"], "shop");
    assert_eq!(clone.body.other["plan"]["publisher"], "vendor");
    for not_copied in ["osProfile", "availabilitySet"] {
        assert!(!machine.other.contains_key(not_copied), "{not_copied}");
    }
    for not_copied in ["identity", "zones"] {
        assert!(!clone.body.other.contains_key(not_copied), "{not_copied}");
    }
    let interface = &machine.other["networkProfile"]["networkInterfaceConfigurations"][0];
    let subnet = &interface["properties"]["ipConfigurations"][0]["properties"]["subnet"]["id"];
    assert_eq!(subnet.as_str(), scene.to(&remote()).subnet.as_deref());
    assert!(machine.other["networkProfile"].get("networkInterfaces").is_none());

    for disk in scene.clone_disks(&remote()) {
        let found = scene.get(&disk).await.unwrap();
        let properties = found.body.properties.disk().unwrap();
        assert_eq!(properties.disk_state, Some(DiskState::Attached));
        assert_eq!(properties.other["networkAccessPolicy"], "DenyAll", "the source permits private endpoints only");
        assert!(!properties.other.contains_key("securityProfile"), "a disk that is copied rejects it");
        assert_eq!(found.body.sku.as_ref().unwrap().name, "Premium_LRS");
        assert_eq!(found.body.machine().unwrap().to_lowercase(), clone.id.to_string().to_lowercase());
    }
    let codes: Vec<&str> = status.findings.iter().map(|finding| finding.code.as_str()).collect();
    let notes = ["clone-starts", "network-not-copied", "settings-not-copied", "placement-not-copied", "export-denied"];
    assert_eq!(codes, notes);
    let kinds: Vec<String> = scene.rows(&job).await.iter().map(|row| row.kind.to_string()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "snapshot").count(), 6, "a snapshot and its copy for each disk");

    // Temporaries, which the job removed, are no fault. A disk that is missing is one.
    let control = scene.fleet.control_with_own_ports();
    let scope = VerifyScope { probes: scene.rows(&job).await, ..VerifyScope::default() };
    let report = verify(&control, None, &scope, VerifyOptions::default(), &|_| {}).await.unwrap();
    assert!(report.faults.is_empty(), "{report:?}");
    scene.ports().resources.delete(&clone.id, None).await.unwrap();
    let report = verify(&control, None, &scope, VerifyOptions::default(), &|_| {}).await.unwrap();
    assert_eq!(report.faults.len(), 1, "{report:?}");
}

/// A machine in an availability set has no zone, and neither have its disks.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_created_in_an_availability_set() {
    let scene = Scene::stopped().await;
    let group = |place: &goldfleet_machines::request::Place| {
        let (subscription, group) = (place.subscription, &place.resource_group);
        format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute")
    };
    let mut request = scene.to(&near());
    request.availability_set = Some(format!("{}/availabilitySets/web", group(&home())));
    assert_eq!(scene.refusals(&request).await, ["availability-set-elsewhere"]);
    let set = format!("{}/availabilitySets/web", group(&near()));
    request.availability_set = Some(set.clone());
    assert_succeeded(&scene.clone(&request).await.1);
    let clone = scene.assert_cloned(&near()).await;
    let machine = clone.body.properties.machine().unwrap();
    assert_eq!(machine.availability_set.as_ref().map(|set| set.id.clone()), Some(set));
    assert!(!clone.body.other.contains_key("zones"), "the source has a zone: {:?}", clone.body.other);
    for disk in scene.clone_disks(&near()) {
        assert!(!scene.get(&disk).await.unwrap().body.other.contains_key("zones"), "{disk}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_in_the_same_region_needs_no_copy_of_its_snapshots() {
    let scene = Scene::stopped().await;
    let (job, status) = scene.clone(&scene.to(&near())).await;
    assert_succeeded(&status);
    let clone = scene.assert_cloned(&near()).await;
    assert_eq!(clone.body.other["zones"], json!(["2"]), "the zone of the source");
    let rows = scene.rows(&job).await;
    assert!(rows.iter().all(|row| !matches!(row.id.step(), "copy" | "remove-copy" | "deallocate" | "start")));
}

#[tokio::test(flavor = "multi_thread")]
async fn requested_properties_replace_those_of_the_source() {
    let scene = Scene::stopped().await;
    let mut request = scene.to(&remote());
    request.size = Some("Standard_E8s_v5".to_owned());
    request.disk_sku = Some("StandardSSD_ZRS".to_owned());
    request.zone = Some("1".to_owned());
    let (_, status) = scene.clone(&request).await;
    assert_succeeded(&status);
    let clone = scene.assert_cloned(&remote()).await;
    assert_eq!(clone.body.properties.machine().unwrap().size(), Some("Standard_E8s_v5"));
    assert_eq!(clone.body.other["zones"], json!(["1"]));
    for disk in scene.clone_disks(&remote()) {
        let found = scene.get(&disk).await.unwrap();
        assert_eq!(found.body.sku.as_ref().unwrap().name, "StandardSSD_ZRS");
        assert!(!found.body.other.contains_key("zones"), "zone-redundant disks have no zone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_disks_are_cloned() {
    let scene = Scene::stopped().await;
    let mut request = scene.to(&remote());
    (request.disks_only, request.subnet) = (true, None);
    let (_, status) = scene.clone(&request).await;
    assert_succeeded(&status);
    scene.assert_disks(&remote()).await;
    scene.assert_no_temporaries().await;
    assert_eq!(scene.get(&id(&remote(), ResourceType::Machine, "copy")).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_machine_is_stopped_and_started_again_before_its_disks_are_copied() {
    let scene = Scene::running().await;
    let mut request = scene.to(&remote());
    assert_eq!(scene.refusals(&request).await, ["machine-running"]);
    request.stop = true;
    let (job, status) = scene.clone(&request).await;
    assert_succeeded(&status);
    scene.assert_cloned(&remote()).await;
    scene.assert_source(PowerState::Running).await;
    for disk in &scene.disks {
        let state = scene.get(disk).await.unwrap().body.properties.disk().unwrap().disk_state.clone();
        assert_eq!(state, Some(DiskState::Attached));
    }
    let rows = scene.rows(&job).await;
    let of = |step: &str| -> Vec<&Operation> { rows.iter().filter(|row| row.id.step() == step).collect() };
    let (stop, start) = (of("deallocate")[0], of("start")[0]);
    let output = &stop.output.as_ref().unwrap().data;
    assert_eq!((&output["ran"], &output["round"]), (&json!(true), &json!(1)));
    for snapshot in of("snapshot") {
        assert!(snapshot.started.unwrap() >= stop.updated, "no snapshot before the machine is stopped");
        assert!(start.started.unwrap() >= snapshot.updated, "no start before all snapshots exist");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_did_not_run_is_not_started() {
    let scene = Scene::stopped().await;
    let mut request = scene.to(&near());
    request.stop = true;
    let (job, status) = scene.clone(&request).await;
    assert_succeeded(&status);
    scene.assert_cloned(&near()).await;
    scene.assert_source(PowerState::Deallocated).await;
    let rows = scene.rows(&job).await;
    let stop = rows.iter().find(|row| row.id.step() == "deallocate").unwrap();
    assert_eq!(stop.output.as_ref().unwrap().data, json!({ "ran": false, "round": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_taken_or_invalid_are_refused() {
    let scene = Scene::stopped().await;
    let mut request = scene.to(&home());
    (request.name, request.disk_name) = (None, Some("{disk}".to_owned()));
    assert_eq!(scene.refusals(&request).await, ["name-invalid"; 4], "the names of the source");
    request.name = Some("a/b".to_owned());
    assert!(scene.refusals(&request).await.contains(&"name-invalid".to_owned()));
    let mut request = scene.to(&near());
    request.disk_name = Some("{machine}".to_owned());
    assert_eq!(scene.refusals(&request).await, ["name-invalid"; 2], "three disks with one name");
    request.disk_name = Some("{size}-{lun}".to_owned());
    assert_eq!(scene.refusals(&request).await, ["name-invalid"; 3]);

    let (_, status) = scene.clone(&scene.to(&near())).await;
    assert_succeeded(&status);
    let again = scene.refusals(&scene.to(&near())).await;
    assert_eq!(again, ["machine-foreign", "disk-foreign", "disk-foreign", "disk-foreign"], "another job's clone");
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_cannot_be_copied_are_refused() {
    let scene = Scene::stopped().await;
    let request = scene.to(&remote());
    let data = &scene.disks[2];
    scene.edit(data, |disk| disk["properties"]["maxShares"] = json!(2));
    assert_eq!(scene.refusals(&request).await, ["shared-disk"]);
    scene.edit(data, |disk| {
        disk["properties"]["maxShares"] = json!(1);
        disk["properties"]["encryptionSettingsCollection"] = json!({ "enabled": true });
    });
    assert_eq!(scene.refusals(&request).await, ["ade-encrypted"]);
    scene.edit(data, |disk| {
        disk["properties"]["encryptionSettingsCollection"] = json!({ "enabled": false });
        disk["properties"]["creationData"]["logicalSectorSize"] = json!(4096);
        disk["properties"]["completionPercent"] = json!(40.0);
    });
    assert_eq!(scene.refusals(&request).await, ["sector-4096", "not-hydrated"]);
    scene.edit(data, |disk| {
        disk["properties"]["creationData"].as_object_mut().unwrap().remove("logicalSectorSize");
        disk["properties"]["completionPercent"] = json!(100.0);
        disk["properties"]["encryption"] = json!({ "diskEncryptionSetId": "/subscriptions/x/des" });
    });
    assert_eq!(scene.refusals(&request).await, ["des-elsewhere"]);
    assert_eq!(scene.refusals(&scene.to(&near())).await, Vec::<String>::new(), "the set serves its own region");
    scene.edit(data, |disk| drop(disk["properties"].as_object_mut().unwrap().remove("encryption")));

    scene.edit(&scene.disks[0], |disk| disk["properties"]["hyperVGeneration"] = json!("V1"));
    assert_eq!(scene.refusals(&request).await, ["hyperv-mismatch"]);
    scene.edit(&scene.disks[0], |disk| disk["properties"]["hyperVGeneration"] = json!("V2"));
    scene.edit(&scene.machine, |machine| {
        machine["plan"] = json!({ "name": "os" });
        machine["properties"]["securityProfile"]["securityType"] = json!("ConfidentialVM");
    });
    assert_eq!(scene.refusals(&request).await, ["confidential", "plan-missing"]);
    scene.edit(&scene.machine, |machine| {
        machine.as_object_mut().unwrap().remove("plan");
        machine["properties"]["securityProfile"]["securityType"] = json!("TrustedLaunch");
        machine["properties"]["storageProfile"]["osDisk"]["diffDiskSettings"] = json!({ "option": "Local" });
        machine["properties"]["storageProfile"]["dataDisks"][0] = json!({ "lun": 0, "vhd": { "uri": "https://a/b" } });
    });
    assert_eq!(scene.refusals(&request).await, ["ephemeral-disk", "unmanaged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_job_changes_nothing_and_names_the_reason() {
    let scene = Scene::running().await;
    let (job, status) = scene.clone(&scene.to(&remote())).await;
    let failure = scene.ports().table.job(&job).await.unwrap().unwrap().value.failure.unwrap();
    assert_eq!(failure.code, "not-plannable");
    assert!(failure.message.contains("machine-running"), "{}", failure.message);
    assert!(!status.planned);
    scene.assert_source(PowerState::Running).await;
    assert_eq!(scene.resources(&remote(), ResourceType::Disk).await, []);
}
