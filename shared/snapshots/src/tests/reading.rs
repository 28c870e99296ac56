use serde_json::{Value, json};

use super::{group, listing, source};
use crate::listing::{Coverage, ListingReader, PageError};
use crate::snapshot::{Condition, Snapshot, SnapshotError};

#[test]
fn all_properties_are_read() {
    let mut item = source(1, "Ctx-1", "disk-1");
    let properties = item["properties"].as_object_mut().unwrap();
    properties.extend(
        json!({
            "osType": "Windows", "hyperVGeneration": "V2", "supportsHibernation": true,
            "purchasePlan": { "name": "plan" }, "supportedCapabilities": { "architecture": "Arm64" },
            "securityProfile": { "securityType": "TrustedLaunch" }, "networkAccessPolicy": "AllowPrivate",
            "diskAccessId": "access", "publicNetworkAccess": "Disabled", "dataAccessAuthMode": "AzureActiveDirectory",
            "encryption": { "type": "EncryptionAtRestWithCustomerKey", "diskEncryptionSetId": "set" },
            "encryptionSettingsCollection": { "enabled": true }, "somethingNew": [1, 2],
        })
        .as_object()
        .unwrap()
        .clone(),
    );
    let snapshot = Snapshot::from_json(&item).unwrap();
    assert_eq!(snapshot.region.as_str(), "westeurope");
    assert_eq!(snapshot.family(), "family-disk-1");
    assert_eq!(snapshot.machine.architecture().as_deref(), Some("Arm64"));
    assert_eq!(snapshot.machine.security_type.as_deref(), Some("TrustedLaunch"));
    assert_eq!(snapshot.tag("snapreplicate"), Some("Replicate"));
    assert!(snapshot.encryption.has_customer_key() && snapshot.disk_encryption_extension);
    assert_eq!(snapshot.export.network_access.as_deref(), Some("AllowPrivate"));
    assert_eq!(snapshot.condition(), Condition::Complete);
}

#[test]
fn an_error_names_the_field() {
    let without = |path: &str, name: &str| {
        let mut item = source(1, "Ctx-1", "disk-1");
        item.pointer_mut(path).unwrap().as_object_mut().unwrap().remove(name);
        Snapshot::from_json(&item).unwrap_err().to_string()
    };
    let with = |name: &str, value: Value| {
        let mut item = source(1, "Ctx-1", "disk-1");
        item["properties"][name] = value;
        Snapshot::from_json(&item).unwrap_err().to_string()
    };
    let missing = |field: &str| format!("field {field} is missing, and goldfleet cannot decide without it");
    assert_eq!(without("", "location"), missing("location"));
    assert_eq!(without("/properties", "uniqueId"), missing("properties.uniqueId"));
    assert_eq!(without("/properties", "timeCreated"), missing("properties.timeCreated"));
    assert_eq!(without("/properties", "provisioningState"), missing("properties.provisioningState"));
    assert_eq!(without("/properties", "creationData"), missing("properties.creationData.createOption"));
    assert_eq!(
        with("timeCreated", json!("yesterday")),
        "field properties.timeCreated is not valid: expected a time in RFC 3339 format"
    );
    assert_eq!(
        with("completionPercent", json!(101)),
        "field properties.completionPercent is not valid: expected a number from 0 to 100"
    );
    assert_eq!(with("incremental", json!("yes")), "field properties.incremental is not valid: expected true or false");
}

/// Recorded: azure-cli `test_completion_percent.yaml`. The state is Succeeded, and no content has arrived.
#[test]
fn a_copy_is_complete_only_at_100_percent() {
    let condition = |state: &str, percent: Option<f64>, option: &str, error: Option<&str>| {
        let mut item = source(1, "Ctx-1", "disk-1");
        let properties = &mut item["properties"];
        properties["provisioningState"] = json!(state);
        properties["completionPercent"] = json!(percent);
        properties["creationData"]["createOption"] = json!(option);
        properties["copyCompletionError"] = error.map_or(Value::Null, |code| json!({ "errorCode": code }));
        Snapshot::from_json(&item).unwrap().condition()
    };
    assert_eq!(condition("Succeeded", Some(0.0), "CopyStart", None), Condition::Underway { percent: Some(0.0) });
    assert_eq!(condition("Succeeded", None, "CopyStart", None), Condition::Underway { percent: None });
    assert_eq!(condition("Updating", Some(100.0), "CopyStart", None), Condition::Underway { percent: Some(100.0) });
    assert_eq!(condition("Succeeded", Some(100.0), "CopyStart", None), Condition::Complete);
    assert_eq!(condition("Succeeded", None, "Copy", None), Condition::Complete);
    let failed = condition("Succeeded", Some(40.0), "CopyStart", Some("CopySourceNotFound"));
    assert!(matches!(failed, Condition::Failed { code, .. } if code == "CopySourceNotFound"));
    // It may have been complete before an update failed, so it is not the remains of a copy.
    for percent in [None, Some(100.0)] {
        assert!(matches!(condition("Failed", percent, "Copy", None), Condition::Doubtful { .. }));
    }
    assert!(matches!(condition("Failed", Some(40.0), "CopyStart", None), Condition::Failed { .. }));
}

#[test]
fn an_unreadable_item_is_set_aside_and_the_others_are_read() {
    let mut bad = source(2, "Ctx-2", "disk-1");
    bad["properties"]["uniqueId"] = Value::Null;
    let list = listing(&group(1, "SNAPS"), &[source(1, "Ctx-1", "disk-1"), bad, json!("text")]);
    assert!(list.is_complete());
    assert_eq!(list.snapshots.keys().collect::<Vec<_>>(), ["ctx-1"]);
    assert_eq!(list.set_aside[0].id.as_ref().unwrap().name, "Ctx-2");
    assert_eq!(list.set_aside[0].error, SnapshotError::Missing("properties.uniqueId".to_owned()));
    assert!(list.is_set_aside("ctx-2") && list.has_unidentified());
}

#[test]
fn a_listing_without_its_last_page_is_incomplete() {
    let page = |number: u32, next: Option<&str>| {
        let items = [source(number, &format!("Ctx-{number}"), "disk-1")];
        json!({ "value": items, "nextLink": next }).to_string()
    };
    let mut reader = ListingReader::new(group(1, "Snaps"));
    assert_eq!(reader.page(page(1, Some("more")).as_bytes()), Ok(Some("more".to_owned())));
    let open = ListingReader::finish(reader);
    assert_eq!(open.coverage, Coverage::Incomplete("the list ended before its last page".to_owned()));

    let mut reader = ListingReader::new(group(1, "Snaps"));
    reader.page(page(1, Some("more")).as_bytes()).unwrap();
    assert_eq!(reader.page(b"{}"), Err(PageError::NoItems));
    reader.page(page(2, None).as_bytes()).unwrap();
    assert!(!reader.finish().is_complete(), "a page that cannot be read is missing");
}

#[test]
fn the_same_id_with_two_unique_ids_is_set_aside() {
    let items = [source(1, "Ctx-1", "disk-1"), source(2, "CTX-1", "disk-1"), source(2, "Ctx-1", "disk-1")];
    let list = listing(&group(1, "Snaps"), &items);
    assert!(list.snapshots.is_empty());
    assert_eq!(list.set_aside[0].error, SnapshotError::Recreated);
    // A page that is returned twice is no fault.
    let repeated = listing(&group(1, "Snaps"), &[source(1, "Ctx-1", "disk-1"), source(1, "Ctx-1", "disk-1")]);
    assert_eq!((repeated.snapshots.len(), repeated.set_aside.len()), (1, 0));
}

#[test]
fn a_snapshot_of_another_group_is_set_aside() {
    let list = listing(&group(1, "Other"), &[source(1, "Ctx-1", "disk-1")]);
    assert_eq!(list.set_aside[0].error, SnapshotError::OtherGroup);
}
