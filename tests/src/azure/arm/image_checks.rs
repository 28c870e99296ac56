//! The checks of Microsoft.Compute on a request for an image, before it reads a blob.

use axum::http::StatusCode;
use serde_json::Value;

use super::disks;
use super::resources::{Account, normalized_region};
use super::response::ArmAnswer;
use super::state::TenantState;

/// The requested image.
pub(super) struct Wanted<'b> {
    pub(super) subscription: &'b str,
    pub(super) region: &'b str,
    pub(super) name: &'b str,
    pub(super) properties: &'b Value,
}

/// Checks a request. Returns the blobs to inspect.
pub(super) fn check(world: &TenantState, wanted: &Wanted<'_>) -> Result<Vec<String>, ArmAnswer> {
    name(wanted.name)?;
    let profile = &wanted.properties["storageProfile"];
    let machine = &wanted.properties["sourceVirtualMachine"];
    if profile["osDisk"].is_null() && !machine.is_null() {
        sub_resource(wanted, machine, "sourceVirtualMachine", "virtualMachines")?;
        return Ok(Vec::new());
    }
    let os_disk = &profile["osDisk"];
    if os_disk.is_null() {
        return Err(ArmAnswer::missing("osDisk"));
    }
    // Source: specification, `ImageOSDisk.required`.
    for required in ["osType", "osState"] {
        if os_disk[required].is_null() {
            return Err(ArmAnswer::missing(&format!("osDisk.{required}")));
        }
    }
    let mut blobs = Vec::new();
    blobs.extend(disk(world, wanted, os_disk, "osDisk")?);
    for data_disk in profile["dataDisks"].as_array().into_iter().flatten() {
        // Source: specification, `ImageDataDisk.required`.
        if data_disk["lun"].is_null() {
            return Err(ArmAnswer::missing("dataDisk.lun"));
        }
        blobs.extend(disk(world, wanted, data_disk, "dataDisk")?);
    }
    // Source: specification, `hyperVGeneration`, and seen, Azure/azure-sdk-for-python#4891.
    if !blobs.is_empty() && wanted.properties["hyperVGeneration"].is_null() {
        return Err(ArmAnswer::missing("hyperVGeneration"));
    }
    Ok(blobs)
}

/// Source: Azure, naming rules: 1 to 80 letters, digits, `_`, `.` and `-`; the first character is a letter or digit,
/// the last a letter, digit or `_`.
fn name(name: &str) -> Result<(), ArmAnswer> {
    let inside = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let good = (1..=80).contains(&name.len())
        && name.chars().all(inside)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let message = format!("The entity name 'imageName' is invalid according to its validation rule: '{name}'.");
    if good { Ok(()) } else { Err(ArmAnswer::bad_request("InvalidParameter", message).target("imageName")) }
}

/// Checks a disk. Returns its blob.
fn disk(world: &TenantState, wanted: &Wanted<'_>, disk: &Value, at: &str) -> Result<Option<String>, ArmAnswer> {
    let sources = ["blobUri", "managedDisk", "snapshot"].into_iter().filter(|source| !disk[*source].is_null());
    let sources = sources.collect::<Vec<_>>();
    let [source] = sources[..] else {
        // The message is a guess.
        let message = format!(
            "Exactly one of the parameters '{at}.blobUri', '{at}.managedDisk' and '{at}.snapshot' is required, but there are \
             {}.",
            sources.len()
        );
        return Err(ArmAnswer::bad_request("InvalidParameter", message).target(at));
    };
    encryption_set(world, wanted, &disk["diskEncryptionSet"])?;
    match source {
        "managedDisk" => sub_resource(wanted, &disk[source], source, "disks").map(|()| None),
        // A snapshot of another subscription is checked with the other sources.
        "snapshot" if world.behaviours.image_from_other_subscription => Ok(None),
        "snapshot" => sub_resource(wanted, &disk[source], source, "snapshots").map(|()| None),
        _ => {
            let url = disk[source].as_str().unwrap_or_default();
            blob(world, wanted, url)?;
            Ok(Some(url.to_owned()))
        }
    }
}

/// Checks the URL of a blob: its form, and the account that it names.
fn blob(world: &TenantState, wanted: &Wanted<'_>, url: &str) -> Result<(), ArmAnswer> {
    let invalid = |message: String| ArmAnswer::bad_request("InvalidParameter", message).target("disk.blobUri");
    let Some(account) = world.accounts.iter().find(|account| below(url, account).is_some()) else {
        return Err(invalid(foreign(url, wanted.subscription)));
    };
    let path = below(url, account).unwrap_or_default();
    let (container, name) = path.split_once('/').unwrap_or_default();
    if container.is_empty() || name.is_empty() || path.contains(['?', '#']) {
        // The message is a guess. The specification's examples show URLs without a signature.
        return Err(invalid(format!("The value '{url}' of parameter 'disk.blobUri' is invalid.")));
    }
    // Source: seen, Azure/azure-cli#9899.
    if !name.to_ascii_lowercase().ends_with(".vhd") {
        return Err(invalid(format!("Blob name in URL {url} must end with \".vhd\" extension.")));
    }
    // Source: Azure, common error messages of virtual machines.
    if !world.takes_slashes && name.contains('/') {
        let message =
            format!("The blob name in URL {url} contains a slash. This is presently not supported for disks.");
        return Err(invalid(message));
    }
    if !account.subscription.eq_ignore_ascii_case(wanted.subscription) {
        return Err(invalid(foreign(url, wanted.subscription)));
    }
    // Source: seen, microsoft/DefendTheFlag#1 for disks (with the code BadRequest).
    if normalized_region(&account.region) != wanted.region {
        return Err(invalid(format!("The source blob {url} does not belong to the same region as the disk.")));
    }
    Ok(())
}

/// Source: seen, MicrosoftDocs/azure-docs#87994.
fn foreign(url: &str, subscription: &str) -> String {
    format!("The source blob {url} does not belong to a storage account in subscription {subscription}.")
}

/// The part of a blob's URL after the endpoint of an account.
fn below<'u>(url: &'u str, account: &Account) -> Option<&'u str> {
    let (head, rest) = url.split_at_checked(account.blob_endpoint.len())?;
    head.eq_ignore_ascii_case(&account.blob_endpoint).then_some(rest)
}

/// Checks the id of a disk, snapshot or machine.
fn sub_resource(wanted: &Wanted<'_>, value: &Value, at: &str, kind: &str) -> Result<(), ArmAnswer> {
    let id = value["id"].as_str().ok_or_else(|| ArmAnswer::missing(&format!("{at}.id")))?;
    let (lower, kind) = (id.to_ascii_lowercase(), kind.to_ascii_lowercase());
    let words = lower.trim_start_matches('/').split('/').collect::<Vec<_>>();
    let subscription = wanted.subscription.to_ascii_lowercase();
    match words[..] {
        ["subscriptions", of, "resourcegroups", _, "providers", "microsoft.compute", what, _]
            if what == kind && of == subscription =>
        {
            Ok(())
        }
        // Source: seen, Resource Manager's error for malformed ids.
        _ => {
            let message = format!("Property id '{id}' at path '{at}.id' is invalid.");
            Err(ArmAnswer::bad_request("LinkedInvalidPropertyId", message))
        }
    }
}

/// Checks that the disks and snapshots from which a new image is created exist in its region and are complete. Source:
/// seen, Azure/azure-cli#3809 for the region. The codes are guesses.
pub(super) fn sources(world: &TenantState, wanted: &Wanted<'_>) -> Result<(), ArmAnswer> {
    let profile = &wanted.properties["storageProfile"];
    let all = profile["dataDisks"].as_array().into_iter().flatten().chain([&profile["osDisk"]]);
    let ids = all.flat_map(|disk| [&disk["managedDisk"]["id"], &disk["snapshot"]["id"]]).filter_map(Value::as_str);
    for id in ids {
        let name = id.rsplit('/').next().unwrap_or(id);
        match disks::find(world, &id.to_ascii_lowercase()) {
            Some(source)
                if !world.behaviours.image_from_incremental
                    && source.properties["incremental"] == serde_json::json!(true) =>
            {
                let message = format!("The snapshot {name} is incremental.");
                return Err(ArmAnswer::bad_request("InvalidParameter", message).target("osDisk.snapshot.id"));
            }
            Some(source) if normalized_region(&source.region) == wanted.region && source.is_complete() => {}
            Some(source) if normalized_region(&source.region) == wanted.region => {
                let message = format!("The resource {name} is not complete.");
                return Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
            }
            _ => {
                let message = format!("Resource {name} is not found.");
                return Err(ArmAnswer::error(StatusCode::NOT_FOUND, "NotFound", message));
            }
        }
    }
    Ok(())
}

/// Source: Azure, customer-managed keys: the set must be in the disk's region and subscription. The codes are guesses.
fn encryption_set(world: &TenantState, wanted: &Wanted<'_>, value: &Value) -> Result<(), ArmAnswer> {
    let Some(id) = value["id"].as_str() else { return Ok(()) };
    let set = world.disk_encryption_sets.iter().find(|(known, _)| known.eq_ignore_ascii_case(id));
    let Some((_, region)) = set else {
        let name = id.rsplit('/').next().unwrap_or(id);
        return Err(ArmAnswer::error(StatusCode::NOT_FOUND, "NotFound", format!("Resource {name} is not found.")));
    };
    let prefix = format!("/subscriptions/{}/", wanted.subscription).to_ascii_lowercase();
    if !id.to_ascii_lowercase().starts_with(&prefix) || normalized_region(region) != wanted.region {
        let message = format!("The disk encryption set '{id}' is not in the subscription and region of the image.");
        return Err(ArmAnswer::bad_request("InvalidParameter", message).target("diskEncryptionSet.id"));
    }
    Ok(())
}
