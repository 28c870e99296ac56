//! Tests of plans and of the graph.

use std::collections::BTreeSet;

use goldfleet_model::graph::GateCondition;
use goldfleet_model::resource::{ResourceBody, ResourceId, ResourceType};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::graph::{DISKS, FROZEN, KINDS, STOPPED, groups};
use crate::plan::{ClonePlan, Cloner};
use crate::request::CloneRequest;
use crate::source::{Source, SourceDisk};
use crate::spec::{Row, RowSpec};

const PROD: &str =
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/prod/providers/Microsoft.Compute";

fn resource(resource_type: ResourceType, name: &str, value: Value) -> (ResourceId, ResourceBody) {
    let id = format!("{PROD}/{}/{name}", resource_type.segment()).parse().unwrap();
    (id, ResourceBody::from_json(resource_type, value).unwrap())
}

fn disk(name: &str, lun: Option<u32>) -> SourceDisk {
    let value = json!({
        "location": "westeurope", "sku": { "name": "Premium_LRS" }, "zones": ["1"],
        "tags": { "owner": "payments", "goldfleet-job": "another" },
        "properties": {
            "creationData": { "createOption": "Empty" }, "uniqueId": format!("ID-{name}"), "diskSizeGB": 64, "tier": "P30",
            "encryption": { "type": "EncryptionAtRestWithPlatformAndCustomerKeys", "diskEncryptionSetId": "/set" },
        },
    });
    let (id, body) = resource(ResourceType::Disk, name, value);
    let attachment = goldfleet_model::resource::MachineDisk::attach(id.to_string(), lun);
    SourceDisk { id, body, attachment }
}

fn source() -> Source {
    let disks = vec![disk("os", None), disk("data", Some(3))];
    let data = json!({ "lun": 3, "createOption": "Attach", "managedDisk": { "id": disks[1].id } });
    let value = json!({
        "location": "westeurope", "zones": ["1"],
        "properties": {
            "vmId": "VM-1", "hardwareProfile": { "vmSize": "Standard_D4s_v5" },
            "storageProfile": {
                "osDisk": { "osType": "Linux", "createOption": "Attach", "managedDisk": { "id": disks[0].id } },
                "dataDisks": [data],
            },
            "instanceView": { "statuses": [{ "code": "PowerState/running" }] },
        },
    });
    let (id, body) = resource(ResourceType::Machine, "web", value);
    Source { id, body, disks }
}

fn request(to: &str) -> CloneRequest {
    serde_json::from_value(json!({
        "source": format!("{PROD}/virtualMachines/web"),
        "to": {
            "subscription": "00000000-0000-0000-0000-000000000001", "region": to, "resource_group": "clones",
        },
        "subnet": "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/n/providers/Microsoft.Network/\
                   virtualNetworks/v/subnets/s",
        "stop": true,
    }))
    .unwrap()
}

/// The codes of the refusals, each once.
fn codes(request: &CloneRequest, source: &Source) -> Vec<String> {
    let refusals = ClonePlan::new(request, source).map(|_| ()).unwrap_err();
    let codes: BTreeSet<String> = refusals.into_iter().map(|refusal| refusal.code).collect();
    codes.into_iter().collect()
}

fn rows(request: &CloneRequest, source: &Source) -> Vec<Vec<Row>> {
    let by = Cloner { fleet: Uuid::from_u128(7), job: "20261129-120000-abcd".parse().unwrap() };
    groups(&ClonePlan::new(request, source).unwrap(), &by)
}

fn body(row: &Row) -> Value {
    match &row.spec {
        RowSpec::Resource(goldfleet_snapshots::graph::RowSpec::Create(spec)) => spec.body.clone(),
        RowSpec::Machine(spec) => spec.body.clone(),
        _ => Value::Null,
    }
}

#[test]
fn the_start_waits_for_all_snapshots_and_runs_in_any_case() {
    let (source, request) = (source(), CloneRequest { disk_encryption_set: des(), ..request("eastus") });
    let groups = rows(&request, &source);
    let steps: Vec<Vec<&str>> = groups.iter().map(|rows| rows.iter().map(|row| row.id.step()).collect()).collect();
    let of_disk = vec!["snapshot", "copy", "disk", "remove-copy", "remove-snapshot"];
    assert_eq!(steps, [vec!["deallocate", "start"], of_disk.clone(), of_disk, vec!["machine"]]);
    let start = &groups[0][1];
    assert!(start.always);
    let waits =
        |row: &Row| row.after.iter().map(|after| (after.gate.to_string(), after.on, after.count)).collect::<Vec<_>>();
    assert_eq!(waits(start), [(FROZEN.to_owned(), GateCondition::Ended, 2)]);
    for disk in &groups[1..3] {
        assert_eq!(waits(&disk[0]), [(STOPPED.to_owned(), GateCondition::Opened, 1)]);
        assert!(disk[3].always && disk[4].always && !disk[2].always);
        assert!((0..).zip(disk).all(|(n, row)| row.position == n));
    }
    assert_eq!(waits(&groups[3][0]), [(DISKS.to_owned(), GateCondition::Opened, 2)]);
    assert!(groups.iter().flatten().all(|row| KINDS.contains(&row.kind)));
}

fn des() -> Option<String> {
    let group = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/keys/providers/Microsoft.Compute";
    Some(format!("{group}/diskEncryptionSets/east"))
}

#[test]
fn each_copy_has_the_encryption_set_of_its_region() {
    let (source, request) = (source(), CloneRequest { disk_encryption_set: des(), ..request("eastus") });
    let groups = rows(&request, &source);
    let set = |row: &Row| body(row)["properties"]["encryption"]["diskEncryptionSetId"].as_str().map(str::to_owned);
    assert_eq!(set(&groups[1][0]).as_deref(), Some("/set"));
    assert_eq!((set(&groups[1][1]), set(&groups[1][2])), (des(), des()));
    assert_eq!(body(&groups[1][1])["properties"]["encryption"]["type"], "EncryptionAtRestWithPlatformAndCustomerKeys");
    assert_eq!(codes(&CloneRequest { disk_encryption_set: None, ..request }, &source), ["des-elsewhere"]);
}

#[test]
fn tier_zone_and_tags_are_kept_or_changed() {
    let source = source();
    let near = request("westeurope");
    let made = body(&rows(&near, &source)[1][1]);
    assert_eq!(
        (&made["properties"]["tier"], &made["zones"], &made["sku"]["name"]),
        (&json!("P30"), &json!(["1"]), &json!("Premium_LRS"))
    );
    assert_eq!(made["properties"]["diskSizeGB"], 64);
    assert_eq!(made["tags"]["owner"], "payments");
    assert_eq!(made["tags"]["goldfleet-job"], "20261129-120000-abcd", "the tags of another job are not copied");
    let other = CloneRequest { disk_sku: Some("Standard_LRS".to_owned()), ..near.clone() };
    let made = body(&rows(&other, &source)[1][1]);
    assert_eq!((made["properties"].get("tier"), &made["sku"]["name"]), (None, &json!("Standard_LRS")));
    let set = format!("{}/availabilitySets/set", PROD.replace("prod", "clones"));
    let in_set = CloneRequest { availability_set: Some(set.clone()), ..near };
    let groups = rows(&in_set, &source);
    assert_eq!(body(&groups[3][0])["properties"]["availabilitySet"]["id"], set);
    assert!(body(&groups[3][0]).get("zones").is_none(), "a machine in a set has no zone");
}

#[test]
fn places_that_a_machine_cannot_use_are_refused() {
    let source = source();
    let refused = |change: fn(&mut CloneRequest)| {
        let mut request = request("westeurope");
        change(&mut request);
        codes(&request, &source)
    };
    let elsewhere = |request: &mut CloneRequest| {
        request.subnet = Some(request.subnet.take().unwrap().replace("000001", "000002"));
    };
    assert_eq!(refused(elsewhere), ["subnet-elsewhere"]);
    assert_eq!(refused(|request| request.subnet = Some("apps".to_owned())), ["name-invalid"]);
    let in_prod = |request: &mut CloneRequest| request.availability_set = Some(format!("{PROD}/availabilitySets/set"));
    assert_eq!(refused(in_prod), ["availability-set-elsewhere"]);
    let ultra = |request: &mut CloneRequest| request.disk_sku = Some("UltraSSD_LRS".to_owned());
    assert_eq!(refused(ultra), ["disk-sku-invalid"]);
    assert_eq!(refused(|request| request.stop = false), ["machine-running"]);
}

#[test]
fn temporaries_are_in_the_subscription_of_the_source() {
    let source = source();
    let mut request = CloneRequest { disk_encryption_set: None, ..request("westeurope") };
    let place = |request: &CloneRequest| match &rows(request, &source)[1][0].spec {
        RowSpec::Resource(goldfleet_snapshots::graph::RowSpec::Create(spec)) => spec.id.clone(),
        other => panic!("{other:?}"),
    };
    assert!(place(&request).contains("/resourceGroups/clones/"), "the group of the source is not written");
    request.to.subscription = "00000000-0000-0000-0000-000000000002".parse().unwrap();
    request.subnet = request.subnet.map(|subnet| subnet.replacen("000001", "000002", 1));
    request.disk_encryption_set = Some(des().unwrap().replacen("000001", "000002", 1));
    assert!(
        place(&request).contains("000001/resourceGroups/prod/"),
        "an incremental snapshot is in the subscription of its disk"
    );
}
