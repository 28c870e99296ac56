//! Copies of incremental snapshots to other regions.

use goldfleet_tests::azure::arm::TenantState;
use serde_json::{Value, json};

use crate::arm::disks::{done, id, path, snapshot, uploaded_snapshot};
use crate::arm::fixture::{ArmFixture, Reply, world};

/// Two snapshots of a disk, `a` and the newer `b`, and `c` of another disk.
async fn sources(world: TenantState) -> ArmFixture {
    let fixture = ArmFixture::new(world).await;
    uploaded_snapshot(&fixture, "a").await;
    let newer = fixture.put(&path("snapshots/b"), &snapshot("Copy", "disks/source", "westeurope")).await;
    done(&fixture, &newer).await;
    let disk = fixture.put(&path("disks/other"), &of_disk("snapshots/a")).await;
    done(&fixture, &disk).await;
    let other = fixture.put(&path("snapshots/c"), &snapshot("Copy", "disks/other", "westeurope")).await;
    done(&fixture, &other).await;
    fixture
}

fn of_disk(source: &str) -> Value {
    let data = json!({ "createOption": "Copy", "sourceResourceId": id(source) });
    json!({ "location": "westeurope", "properties": { "creationData": data } })
}

async fn copy(fixture: &ArmFixture, name: &str, source: &str) -> Reply {
    fixture.put(&path(&format!("snapshots/{name}")), &snapshot("CopyStart", source, "eastus")).await
}

async fn properties(fixture: &ArmFixture, name: &str) -> Value {
    fixture.get(&path(&format!("snapshots/{name}"))).await.body["properties"].clone()
}

async fn arrive(fixture: &ArmFixture, name: &str) {
    for _ in 0..9 {
        if properties(fixture, name).await["completionPercent"] == json!(100.0) {
            return;
        }
    }
    panic!("{name} does not arrive");
}

#[tokio::test]
async fn copies_of_a_disk_follow_each_other_in_order() {
    let fixture = sources(world()).await;
    done(&fixture, &copy(&fixture, "copy-b", "snapshots/b").await).await;
    copy(&fixture, "copy-a", "snapshots/a").await.refused(409, "OperationNotAllowed", "in progress");
    // The copies of another disk are not affected.
    done(&fixture, &copy(&fixture, "copy-c", "snapshots/c").await).await;
    arrive(&fixture, "copy-b").await;
    copy(&fixture, "copy-a", "snapshots/a").await.refused(400, "InvalidParameter", "newer snapshot");
    // The order is that of the copies that exist.
    done(&fixture, &fixture.delete(&path("snapshots/copy-b")).await).await;
    done(&fixture, &copy(&fixture, "copy-a", "snapshots/a").await).await;
    arrive(&fixture, "copy-a").await;
    done(&fixture, &copy(&fixture, "copy-b", "snapshots/b").await).await;
    let family = async |name: &str| properties(&fixture, name).await["incrementalSnapshotFamilyId"].clone();
    assert!(family("a").await.is_string());
    assert_eq!(family("a").await, family("b").await);
    assert_eq!(family("copy-a").await, family("copy-b").await);
    assert_ne!(family("a").await, family("c").await);
    assert_ne!(family("a").await, family("copy-a").await);
}

/// Source: Azure, disks-copy-incremental-snapshot-across-regions: 100 in parallel per subscription and region.
#[tokio::test]
async fn copies_to_a_region_are_limited() {
    assert_eq!(world().copy_limit, 100);
    let mut world = world();
    world.copy_limit = 1;
    let fixture = sources(world).await;
    done(&fixture, &copy(&fixture, "copy-a", "snapshots/a").await).await;
    let refusal = copy(&fixture, "copy-c", "snapshots/c").await;
    refusal.refused(409, "OperationNotAllowed", "are being copied to eastus");
    let elsewhere = snapshot("CopyStart", "snapshots/c", "westus");
    done(&fixture, &fixture.put(&path("snapshots/copy-c-west"), &elsewhere).await).await;
    arrive(&fixture, "copy-a").await;
    done(&fixture, &copy(&fixture, "copy-c", "snapshots/c").await).await;
}

/// Source: specification, `CopyCompletionError`.
#[tokio::test]
async fn copy_of_a_deleted_source_fails() {
    let fixture = sources(world()).await;
    done(&fixture, &copy(&fixture, "copy-a", "snapshots/a").await).await;
    assert_eq!(properties(&fixture, "copy-a").await["copyCompletionError"], Value::Null);
    done(&fixture, &fixture.delete(&path("snapshots/a")).await).await;
    for _ in 0..3 {
        let found = properties(&fixture, "copy-a").await;
        assert_eq!(found["copyCompletionError"]["errorCode"], "CopySourceNotFound", "{found:#}");
        assert_eq!((&found["provisioningState"], &found["completionPercent"]), (&json!("Succeeded"), &json!(50.0)));
    }
    // A failed copy is not in progress, and has no place in the order.
    done(&fixture, &copy(&fixture, "copy-b", "snapshots/b").await).await;
    arrive(&fixture, "copy-b").await;
    done(&fixture, &fixture.delete(&path("snapshots/b")).await).await;
    assert_eq!(properties(&fixture, "copy-b").await["copyCompletionError"], Value::Null);
}

/// A copy keeps what its request repeats, and nothing else of a machine's properties except system and generation.
#[tokio::test]
async fn machine_properties_are_not_inherited() {
    let fixture = sources(world()).await;
    let machine = json!({
        "securityProfile": { "securityType": "TrustedLaunch" },
        "purchasePlan": { "name": "n", "publisher": "p", "product": "o" },
        "supportedCapabilities": { "acceleratedNetwork": true, "architecture": "x64", "diskControllerTypes": "SCSI, NVMe" },
        "supportsHibernation": true,
        "dataAccessAuthMode": "AzureActiveDirectory",
    });
    let with = |mut body: Value| {
        let members = body["properties"].as_object_mut().unwrap();
        members.extend(machine.as_object().unwrap().clone());
        body
    };
    let source = with(snapshot("Copy", "disks/source", "westeurope"));
    done(&fixture, &fixture.put(&path("snapshots/source"), &source).await).await;
    done(&fixture, &copy(&fixture, "plain", "snapshots/source").await).await;
    arrive(&fixture, "plain").await;
    let repeated = with(snapshot("CopyStart", "snapshots/source", "eastus"));
    done(&fixture, &fixture.put(&path("snapshots/repeated"), &repeated).await).await;
    let (plain, repeated) = (properties(&fixture, "plain").await, properties(&fixture, "repeated").await);
    for (name, value) in machine.as_object().unwrap() {
        assert_eq!((&plain[name], &repeated[name]), (&Value::Null, value), "{name}");
    }
    assert_eq!(plain["creationData"]["sourceUniqueId"], properties(&fixture, "source").await["uniqueId"]);
}

/// Source: Azure Policy, effect `modify`: a policy may remove tags without an error.
#[tokio::test]
async fn policy_drops_tags_silently() {
    let mut world = world();
    world.dropped_tags.insert("Goldfleet-Source".to_owned());
    let fixture = sources(world).await;
    let mut body = snapshot("CopyStart", "snapshots/a", "eastus");
    body["tags"] = json!({ "goldfleet-source": "x", "team": "platform" });
    done(&fixture, &fixture.put(&path("snapshots/copy"), &body).await).await;
    assert_eq!(fixture.get(&path("snapshots/copy")).await.body["tags"], json!({ "team": "platform" }));
}
