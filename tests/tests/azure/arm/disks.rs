//! Disks and snapshots, in the shapes that were recorded from Azure.

use goldfleet_tests::azure::arm::{LongRunning, TenantState};
use reqwest::Method;
use serde_json::{Value, json};

use crate::arm::fixture::{ArmFixture, ONE, Reply, TENANT, TWO, world};

const VERSION: &str = "api-version=2025-01-02";

pub(crate) fn path(resource: &str) -> String {
    format!("/subscriptions/{ONE}/resourceGroups/images/providers/Microsoft.Compute/{resource}?{VERSION}")
}

pub(crate) fn id(resource: &str) -> String {
    path(resource).split('?').next().unwrap().to_owned()
}

fn upload() -> Value {
    let data = json!({ "createOption": "Upload", "uploadSizeBytes": (20 << 20) + 512 });
    json!({ "location": "westeurope", "sku": { "name": "Standard_LRS" }, "properties": { "creationData": data } })
}

pub(crate) fn snapshot(option: &str, source: &str, location: &str) -> Value {
    let data = json!({ "createOption": option, "sourceResourceId": id(source) });
    json!({ "location": location, "properties": { "creationData": data, "incremental": true } })
}

/// Follows the operation of an accepted request at one of its addresses until it ends.
async fn ended(fixture: &ArmFixture, accepted: &Reply, header: &str) -> Reply {
    let url = accepted.header(header).replace(&fixture.manager.endpoint(), "");
    for _ in 0..9 {
        let reply = fixture.get(&url).await;
        if reply.status == 200 && reply.body["status"] != "InProgress" {
            return reply;
        }
    }
    panic!("the operation does not end: {accepted:?}")
}

pub(crate) async fn done(fixture: &ArmFixture, accepted: &Reply) -> Reply {
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let reply = ended(fixture, accepted, "azure-asyncoperation").await;
    assert_eq!(reply.body["status"], "Succeeded", "{reply:?}");
    reply
}

async fn post(fixture: &ArmFixture, disk: &str, action: &str, body: Option<&Value>) -> Reply {
    fixture.send(Method::POST, &path(&format!("{disk}/{action}")), body).await
}

/// Creates a complete disk `disks/source` and the incremental snapshot `name` of it.
pub(crate) async fn uploaded_snapshot(fixture: &ArmFixture, name: &str) {
    let made = fixture.put(&path("disks/source"), &upload()).await;
    done(fixture, &made).await;
    let write = json!({ "access": "Write", "durationInSeconds": 60 });
    done(fixture, &post(fixture, "disks/source", "beginGetAccess", Some(&write)).await).await;
    done(fixture, &post(fixture, "disks/source", "endGetAccess", None).await).await;
    let made = fixture.put(&path(&format!("snapshots/{name}")), &snapshot("Copy", "disks/source", "westeurope")).await;
    done(fixture, &made).await;
}

/// Source: azure-cli, `test_vm_disk_upload.yaml`: 202 with both headers; the operation has the whole disk.
#[tokio::test]
async fn upload_disk_is_created_as_recorded() {
    let without_wait = LongRunning { retry_after: None, ..LongRunning::default() };
    let fixture = ArmFixture::new(world().long_running(without_wait)).await;
    let made = fixture.put(&path("disks/d"), &upload()).await;
    assert_eq!((made.status, &made.body["properties"]["provisioningState"]), (202, &json!("Updating")), "{made:?}");
    assert_eq!(made.header("retry-after"), "");
    for header in ["azure-asyncoperation", "location"] {
        assert!(made.header(header).contains("/locations/westeurope/DiskOperations/"), "{made:?}");
    }
    assert_ne!(made.header("azure-asyncoperation"), made.header("location"));
    let output = done(&fixture, &made).await.body["properties"]["output"].clone();
    assert_eq!(output["properties"]["diskState"], "ReadyToUpload");
    assert!(output["properties"]["diskSizeGB"].is_null(), "{output:#}");
    let result = ended(&fixture, &made, "location").await;
    assert_eq!(result.body["properties"]["provisioningState"], "Succeeded");
}

/// Source: azure-sdk-for-python, `test_grant_access.yaml`: 202 without a body; the URL is in the operation and in its
/// result.
#[tokio::test]
async fn access_is_given_as_recorded() {
    let fixture = ArmFixture::new(world()).await;
    uploaded_snapshot(&fixture, "s").await;
    let read = json!({ "access": "Read", "durationInSeconds": 1 });
    let begun = post(&fixture, "snapshots/s", "beginGetAccess", Some(&read)).await;
    assert_eq!((begun.status, &begun.body), (202, &Value::Null), "{begun:?}");
    let status = done(&fixture, &begun).await;
    let url = status.body["properties"]["output"]["accessSAS"].as_str().unwrap().to_owned();
    // The account of the recorded URL is a folder at the address of the double.
    assert!(url.starts_with(&format!("{}/md-", fixture.manager.endpoint())) && url.contains("&sig="), "{url}");
    assert_eq!(ended(&fixture, &begun, "location").await.body, json!({ "accessSAS": url }));
    assert_eq!(fixture.get(&path("snapshots/s")).await.body["properties"]["diskState"], "ActiveSAS");
    let removal = fixture.delete(&path("snapshots/s")).await;
    removal.refused(409, "OperationNotAllowed", "active shared access signature");
    done(&fixture, &post(&fixture, "snapshots/s", "endGetAccess", None).await).await;
    done(&fixture, &fixture.delete(&path("snapshots/s")).await).await;
    assert_eq!(fixture.get(&path("snapshots/s")).await.status, 404);
}

/// Source: azure-cli, `test_completion_percent.yaml`: the operation succeeds before the content has arrived.
#[tokio::test]
async fn copy_succeeds_before_it_is_complete() {
    let fixture = ArmFixture::new(world()).await;
    uploaded_snapshot(&fixture, "source").await;
    let made = fixture.put(&path("snapshots/copy"), &snapshot("CopyStart", "snapshots/source", "eastus")).await;
    let output = done(&fixture, &made).await.body["properties"]["output"].clone();
    assert!(output["properties"]["completionPercent"].is_null(), "{output:#}");
    let mut percents = Vec::new();
    for _ in 0..3 {
        let found = fixture.get(&path("snapshots/copy")).await.body;
        assert_eq!(found["properties"]["provisioningState"], "Succeeded");
        percents.push(found["properties"]["completionPercent"].clone());
    }
    assert_eq!(percents, [json!(0.0), json!(50.0), json!(100.0)]);
}

/// Source: azure-cli, `test_vm_custom_image_management.yaml` (upper case), galleries (display names).
#[tokio::test]
async fn lists_have_recorded_spelling() {
    let fixture = ArmFixture::new(world()).await;
    uploaded_snapshot(&fixture, "s").await;
    fixture.manager.world().write(|world: &mut TenantState| world.display_regions = true);
    let list = format!("/subscriptions/{ONE}/providers/Microsoft.Compute/snapshots?{VERSION}");
    let found = fixture.get(&list).await.body["value"][0].clone();
    assert_eq!((&found["name"], &found["location"]), (&json!("s"), &json!("West Europe")));
    assert!(found["id"].as_str().unwrap().contains("/resourceGroups/IMAGES/"), "{found:#}");
    let disks = format!("/subscriptions/{TWO}/providers/Microsoft.Compute/disks?{VERSION}");
    assert_eq!(fixture.get(&disks).await.body["value"], json!([]));
}

#[tokio::test]
async fn invalid_copies_are_rejected() {
    let fixture = ArmFixture::new(world()).await;
    uploaded_snapshot(&fixture, "s").await;
    let put = async |body: &Value| fixture.put(&path("snapshots/new"), body).await;
    put(&snapshot("Copy", "snapshots/none", "westeurope")).await.refused(404, "NotFound", "Resource none is not found");
    put(&snapshot("Copy", "snapshots/s", "eastus")).await.refused(404, "NotFound", "Resource s is not found");
    put(&snapshot("CopyStart", "disks/source", "eastus")).await.refused(400, "InvalidParameter", "incremental");
    let mut unknown = snapshot("Copy", "snapshots/s", "westeurope");
    unknown["properties"]["completionPercent"] = json!(1);
    put(&unknown).await.refused(400, "InvalidRequestContent", "completionPercent");
    let mut small = upload();
    small["properties"]["creationData"]["uploadSizeBytes"] = json!(512);
    fixture.put(&path("disks/small"), &small).await.refused(400, "InvalidParameter", "uploadSizeBytes");
    let changed = fixture.put(&path("snapshots/s"), &snapshot("Copy", "snapshots/s", "westeurope")).await;
    changed.refused(409, "PropertyChangeNotAllowed", "sourceResourceId");
    let other = "33333333-3333-3333-3333-333333333333";
    fixture.manager.world().write(|world| {
        let source = world.disks.iter_mut().find(|disk| disk.name == "s").unwrap();
        source.subscription = other.to_owned();
        *world = world.clone().subscription(other, other);
        assert_ne!(other, TENANT);
    });
    let mut foreign = snapshot("Copy", "snapshots/s", "westeurope");
    foreign["properties"]["creationData"]["sourceResourceId"] = json!(id("snapshots/s").replace(ONE, other));
    put(&foreign).await.refused(403, "LinkedAuthorizationFailed", "another tenant");
    let disk = fixture.manager.disks();
    assert_eq!(disk.len(), 2, "{disk:#?}");
}
