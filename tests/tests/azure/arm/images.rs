use std::sync::Arc;

use goldfleet_tests::azure::arm::{Account, BlobChecks, BlobInfo, Blobs, LongRunning};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::arm::disks;
use crate::arm::fixture::{ArmFixture, BLOB, ONE, TWO, body, body_with, image, image_of, world};

/// The body is Microsoft's example `Image_CreateFromABlob` (ComputeRP 2025-04-01), with the generation that the service
/// requires since 2019.
#[tokio::test]
async fn published_example_is_accepted() {
    let world = world().account(Account::new(ONE, "images", "mystorageaccount", "westus"));
    let fixture = ArmFixture::new(world).await;
    let body = json!({
        "location": "West US",
        "properties": {
            "storageProfile": {
                "osDisk": {
                    "osType": "Linux",
                    "blobUri": "https://mystorageaccount.blob.core.windows.net/osimages/osimage.vhd",
                    "osState": "Generalized"
                },
                "zoneResilient": true
            },
            "hyperVGeneration": "V1"
        }
    });
    let reply = fixture.put(&image("myImage"), &body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let expected = json!({
        "properties": {
            "storageProfile": {
                "osDisk": {
                    "osType": "Linux",
                    "osState": "Generalized",
                    "blobUri": "https://mystorageaccount.blob.core.windows.net/osimages/osimage.vhd",
                    "caching": "ReadWrite"
                },
                "dataDisks": [],
                "zoneResilient": true
            },
            "hyperVGeneration": "V1",
            "provisioningState": "Creating"
        },
        "type": "Microsoft.Compute/images",
        "location": "westus",
        "tags": {},
        "id": format!("/subscriptions/{ONE}/resourceGroups/images/providers/Microsoft.Compute/images/myImage"),
        "name": "myImage"
    });
    assert_eq!(reply.body, expected);
    assert_eq!(fixture.manager.log().accepted[0].body, body);
}

#[tokio::test]
async fn image_create_update_delete() {
    let fixture = ArmFixture::new(world()).await;
    let path = image("golden-1");
    fixture.get(&path).await.refused(404, "ResourceNotFound", "'Microsoft.Compute/images/golden-1'");
    let made = fixture.put(&path, &body()).await;
    assert_eq!(made.status, 201);
    assert_eq!(fixture.finish(&made).await["status"], "Succeeded");
    let there = fixture.get(&path).await;
    assert_eq!((there.status, &there.body["properties"]["provisioningState"]), (200, &json!("Succeeded")));

    let again = fixture.put(&path, &body_with("/tags", json!({ "goldfleet-job": "2" }))).await;
    assert_eq!((again.status, &again.body["properties"]["provisioningState"]), (200, &json!("Updating")));
    assert_eq!(fixture.finish(&again).await["status"], "Succeeded");
    assert_eq!(fixture.manager.images()[0]["tags"], json!({ "goldfleet-job": "2" }));

    let patch = json!({ "tags": { "department": "HR" } });
    let patched = fixture.send(Method::PATCH, &path, Some(&patch)).await;
    assert_eq!((patched.status, &patched.body["tags"]), (200, &patch["tags"]));

    let removed = fixture.delete(&path).await;
    assert_eq!((removed.status, &removed.body), (202, &Value::Null));
    assert_eq!(fixture.get(&path).await.body["properties"]["provisioningState"], "Deleting");
    assert_eq!(fixture.finish(&removed).await["status"], "Succeeded");
    assert_eq!(fixture.get(&path).await.status, 404);
    assert_eq!(fixture.delete(&path).await.status, 204);
}

#[tokio::test]
async fn names_and_paths_are_case_insensitive() {
    let fixture = ArmFixture::new(world()).await;
    let made = fixture.put(&image("Golden"), &body()).await;
    fixture.finish(&made).await;
    let other = format!(
        "/SUBSCRIPTIONS/{ONE}/resourcegroups/IMAGES/providers/microsoft.compute/Images/gOLDEN?api-version=2025-04-01"
    );
    assert_eq!(fixture.get(&other).await.body["name"], "Golden");
    assert_eq!(fixture.put(&other, &body()).await.status, 200);
    assert_eq!(fixture.manager.images().len(), 1);
    assert_eq!(fixture.manager.images()[0]["name"], "Golden");
}

#[tokio::test]
async fn image_source_and_region_are_immutable() {
    let fixture = ArmFixture::new(world()).await;
    let made = fixture.put(&image("golden"), &body()).await;
    fixture.finish(&made).await;
    let changes = [
        ("/properties/storageProfile/osDisk/blobUri", json!(BLOB.replace("golden", "other")), "osDisk.blobUri"),
        ("/properties/storageProfile/osDisk/osType", json!("Windows"), "osDisk.osType"),
        ("/properties/hyperVGeneration", json!("V1"), "hyperVGeneration"),
    ];
    for (pointer, value, target) in changes {
        let reply = fixture.put(&image("golden"), &body_with(pointer, value)).await;
        reply.refused(409, "PropertyChangeNotAllowed", &format!("Changing property '{target}' is not allowed."));
        assert_eq!(reply.body["error"]["target"], target);
    }
    let moved = body_with("/location", json!("eastus"));
    fixture.put(&image("golden"), &moved).await.refused(409, "InvalidResourceLocation", "already exists in location");
    assert_eq!(fixture.manager.images()[0]["properties"]["storageProfile"]["osDisk"]["blobUri"], BLOB);
    let patch = json!({ "properties": { "hyperVGeneration": "V1" } });
    let patched = fixture.send(Method::PATCH, &image("golden"), Some(&patch)).await;
    patched.refused(409, "PropertyChangeNotAllowed", "'hyperVGeneration'");
}

#[tokio::test]
async fn missing_required_members_are_named() {
    let fixture = ArmFixture::new(world()).await;
    let disk = "/properties/storageProfile/osDisk";
    let cases = [
        (format!("{disk}/osType"), "osDisk.osType"),
        (format!("{disk}/osState"), "osDisk.osState"),
        ("/properties/hyperVGeneration".to_owned(), "hyperVGeneration"),
        (disk.to_owned(), "osDisk"),
    ];
    for (pointer, name) in cases {
        let reply = fixture.put(&image("golden"), &body_with(&pointer, Value::Null)).await;
        reply.refused(400, "InvalidParameter", &format!("Required parameter '{name}' is missing (null)."));
        assert_eq!(reply.body["error"]["target"], name);
    }
    let reply = fixture.put(&image("golden"), &body_with("/location", Value::Null)).await;
    reply.refused(400, "LocationRequired", "location property is required");
    let none = fixture.put(&image("golden"), &body_with(&format!("{disk}/blobUri"), Value::Null)).await;
    none.refused(400, "InvalidParameter", "Exactly one of");
    let id = format!("/subscriptions/{ONE}/resourceGroups/images/providers/Microsoft.Compute/snapshots/s");
    let both = fixture.put(&image("golden"), &body_with(&format!("{disk}/snapshot"), json!({ "id": id }))).await;
    both.refused(400, "InvalidParameter", "Exactly one of");
    assert!(fixture.manager.images().is_empty());
}

#[tokio::test]
async fn snapshot_source_needs_no_generation() {
    let fixture = ArmFixture::new(world()).await;
    let id = |subscription| {
        format!("/subscriptions/{subscription}/resourceGroups/images/providers/Microsoft.Compute/snapshots/s")
    };
    let body = |id: &str| {
        let disk = json!({ "osType": "linux", "osState": "generalized", "snapshot": { "id": id } });
        json!({ "location": "westeurope", "properties": { "storageProfile": { "osDisk": disk } } })
    };
    fixture.put(&image("golden"), &body(&id(ONE))).await.refused(404, "NotFound", "Resource s is not found");
    disks::uploaded_snapshot(&fixture, "s").await;
    let made = fixture.put(&image("golden"), &body(&id(ONE))).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["properties"]["storageProfile"]["osDisk"]["osType"], "Linux");
    fixture.put(&image("other"), &body(&id(TWO))).await.refused(400, "LinkedInvalidPropertyId", "snapshot.id");
}

#[tokio::test]
async fn unknown_and_invalid_members_are_rejected() {
    let fixture = ArmFixture::new(world()).await;
    let cases = [
        ("/AccountType", json!("x"), "InvalidRequestContent", "'AccountType' on object of type 'ResourceDefinition'"),
        (
            "/properties/storageProfile/osDisk/hyperVGeneration",
            json!("V1"),
            "InvalidRequestContent",
            "'hyperVGeneration' on object of type 'OSDisk'. Path 'properties.storageProfile.osDisk.hyperVGeneration'",
        ),
        ("/tags/number", json!(1), "InvalidRequestContent", "Error converting value"),
        ("/properties/hyperVGeneration", json!("V3"), "InvalidParameter", "'V3'"),
        ("/properties/storageProfile/osDisk/blobUri", json!(1), "InvalidRequestContent", "Error converting value 1"),
    ];
    for (pointer, value, code, message) in cases {
        fixture.put(&image("golden"), &body_with(pointer, value)).await.refused(400, code, message);
    }
    let request = fixture.request(Method::PUT, &image("golden")).bearer_auth(&fixture.token).body("{");
    crate::arm::fixture::reply(request).await.refused(400, "InvalidRequestContent", "could not be deserialized");
    fixture.put(&image("-golden"), &body()).await.refused(400, "InvalidParameter", "imageName");
}

#[tokio::test]
async fn blob_must_be_in_subscription_and_region() {
    let world = world().account(Account::new(ONE, "images", "far", "eastus"));
    let fixture = ArmFixture::new(world).await;
    let blob = |url: &str| body_with("/properties/storageProfile/osDisk/blobUri", json!(url));
    let cases = [
        (
            "https://stage2.blob.core.windows.net/vhds/golden.vhd",
            "does not belong to a storage account in subscription",
        ),
        (
            "https://nobody.blob.core.windows.net/vhds/golden.vhd",
            "does not belong to a storage account in subscription",
        ),
        ("https://far.blob.core.windows.net/vhds/golden.vhd", "does not belong to the same region"),
        ("https://stage1.blob.core.windows.net/vhds/golden.img", "must end with \".vhd\" extension"),
        ("https://stage1.blob.core.windows.net/golden.vhd", "is invalid"),
        ("https://stage1.blob.core.windows.net/vhds/golden.vhd?sig=x.vhd", "is invalid"),
    ];
    for (url, message) in cases {
        fixture.put(&image("golden"), &blob(url)).await.refused(400, "InvalidParameter", message);
    }
    let nowhere = body_with("/location", json!("atlantis"));
    let reply = fixture.put(&image("golden"), &nowhere).await;
    reply.refused(400, "LocationNotAvailableForResourceType", "westeurope");
    let slash = blob("https://stage1.blob.core.windows.net/vhds/a/golden.vhd");
    fixture.put(&image("golden"), &slash).await.refused(400, "InvalidParameter", "contains a slash");
    fixture.manager.world().write(|world| world.takes_slashes = true);
    assert_eq!(fixture.put(&image("golden"), &slash).await.status, 201);
}

#[tokio::test]
async fn invalid_blob_fails_operation() {
    let good = BlobInfo::VHD;
    let cases = [
        (BlobInfo::MISSING, "is not accessible"),
        (BlobInfo { is_page_blob: false, ..good }, "Only blobs formatted as VHDs"),
        (BlobInfo { length: 512, ..good }, "Only blobs formatted as VHDs"),
        (BlobInfo { footer_ok: false, ..good }, "Disk is expected to have cookie value 'conectix'"),
        (BlobInfo { length: good.length + 512, ..good }, "unsupported virtual size"),
    ];
    for (info, message) in cases {
        let blobs = Blobs::new(move |url| {
            assert_eq!(url, BLOB);
            Box::pin(async move { info })
        });
        let fixture = ArmFixture::new(world().blobs(blobs)).await;
        let begun = fixture.put(&image("golden"), &body()).await;
        assert_eq!(begun.status, 201);
        let ended = fixture.finish(&begun).await;
        assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("Failed"), &json!("InvalidParameter")));
        assert!(ended["error"]["message"].as_str().unwrap().contains(message), "{ended}");
        fixture.get(begun.header("location")).await.refused(400, "InvalidParameter", message);
        assert!(fixture.manager.images().is_empty());
        fixture.manager.world().write(|world| world.blob_checks = BlobChecks::AtOnce);
        fixture.put(&image("golden"), &body()).await.refused(400, "InvalidParameter", message);
    }
}

/// While the double inspects the blob, another request creates the image from another blob. The first request is
/// rejected.
#[tokio::test]
async fn two_sources_are_rejected() {
    let (asked, made) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let seen = [Arc::clone(&asked), Arc::clone(&made)];
    let blobs = Blobs::new(move |url| {
        let [asked, made] = seen.clone();
        Box::pin(async move {
            if url == BLOB {
                asked.notify_one();
                made.notified().await;
            }
            BlobInfo::VHD
        })
    });
    let fixture = ArmFixture::new(world().blobs(blobs)).await;
    let other = body_with("/properties/storageProfile/osDisk/blobUri", json!(BLOB.replace("golden", "other")));
    let (path, first) = (image("golden"), body());
    let second = async {
        asked.notified().await;
        let reply = fixture.put(&path, &other).await;
        made.notify_one();
        reply
    };
    let (slow, fast) = tokio::join!(fixture.put(&path, &first), second);
    assert_eq!(fast.status, 201);
    slow.refused(409, "PropertyChangeNotAllowed", "osDisk.blobUri");
}

#[tokio::test]
async fn failed_image_can_be_recreated() {
    let settings = LongRunning { leaves_failed: true, ..LongRunning::default() };
    let fixture = ArmFixture::new(world().blobs(Blobs::all(BlobInfo::MISSING)).long_running(settings)).await;
    let begun = fixture.put(&image("golden"), &body()).await;
    fixture.finish(&begun).await;
    assert_eq!(fixture.manager.images()[0]["properties"]["provisioningState"], "Failed");
    fixture.manager.world().write(|world| world.blobs = Blobs::default());
    let again = fixture.put(&image("golden"), &body()).await;
    assert_eq!((again.status, &fixture.finish(&again).await["status"]), (200, &json!("Succeeded")));
    // The existing image has a separate copy of the data.
    fixture.manager.world().write(|world| world.blobs = Blobs::all(BlobInfo::MISSING));
    let retagged = fixture.put(&image("golden"), &body_with("/tags", json!({}))).await;
    assert_eq!(fixture.finish(&retagged).await["status"], "Succeeded");
}

#[tokio::test]
async fn encryption_set_must_exist_in_region() {
    let set = |subscription, name| {
        format!("/subscriptions/{subscription}/resourceGroups/k/providers/Microsoft.Compute/diskEncryptionSets/{name}")
    };
    let world = world()
        .disk_encryption_set(&set(ONE, "near"), "West Europe")
        .disk_encryption_set(&set(ONE, "far"), "eastus")
        .disk_encryption_set(&set(TWO, "foreign"), "westeurope");
    let fixture = ArmFixture::new(world).await;
    let with = |id: String| body_with("/properties/storageProfile/osDisk/diskEncryptionSet", json!({ "id": id }));
    assert_eq!(fixture.put(&image("golden"), &with(set(ONE, "NEAR"))).await.status, 201);
    fixture.put(&image("a"), &with(set(ONE, "far"))).await.refused(400, "InvalidParameter", "subscription and region");
    fixture.put(&image("b"), &with(set(TWO, "foreign"))).await.refused(
        400,
        "InvalidParameter",
        "subscription and region",
    );
    fixture.put(&image("c"), &with(set(ONE, "none"))).await.refused(404, "NotFound", "Resource none is not found.");
}

#[tokio::test]
async fn images_are_listed_by_group() {
    let fixture = ArmFixture::new(world().group(ONE, "others", "westeurope")).await;
    for name in ["a", "b", "c"] {
        fixture.put(&image(name), &body()).await;
    }
    let list = |group: &str| {
        let at = if group.is_empty() { String::new() } else { format!("/resourceGroups/{group}") };
        format!("/subscriptions/{ONE}{at}/providers/Microsoft.Compute/images?api-version=2025-04-01")
    };
    for (group, count) in [("images", 3), ("others", 0), ("", 3)] {
        assert_eq!(fixture.get(&list(group)).await.body["value"].as_array().unwrap().len(), count, "{group}");
    }
    fixture.get(&list("none")).await.refused(404, "ResourceGroupNotFound", "'none'");
    let mut foreign = body_with("/properties/storageProfile/osDisk/blobUri", json!(BLOB.replace('1', "2")));
    foreign["location"] = json!("eastus");
    assert_eq!(fixture.put(&image_of(TWO, "a"), &foreign).await.status, 201);
    assert_eq!(fixture.get(&list("")).await.body["value"].as_array().unwrap().len(), 3);

    fixture.manager.world().write(|world| world.page = Some(2));
    let first = fixture.get(&list("images")).await.body;
    assert_eq!(first["value"].as_array().unwrap().len(), 2);
    let second = fixture.get(first["nextLink"].as_str().unwrap()).await.body;
    assert_eq!((second["value"][0]["name"].as_str(), second.get("nextLink")), (Some("c"), None));
}
