//! `beginGetAccess` and `endGetAccess`. Source: specification, DiskRP 2025-01-02, `Disks_GrantAccess` and
//! `Disks_RevokeAccess`, and azure-sdk-for-python `test_grant_access.yaml`: 202 without body, both headers, the URL in
//! `properties.output.accessSAS` of the operation and in `accessSAS` of the result.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::behaviours::Renewal;
use super::disks::{self, DiskKind};
use super::operations::{self, Change};
use super::pipeline::Call;
use super::response::{ArmAnswer, HandlerResult};
use super::route::AccessVerb;
use super::state::TenantState;
use super::{body, schema};

pub(super) fn post(world: &mut TenantState, call: &Call, kind: DiskKind, verb: AccessVerb) -> HandlerResult {
    let key = disks::key(call);
    let disk = disks::find(world, &key).ok_or_else(|| disks::not_found(call, kind))?;
    let region = disk.region.clone();
    let (change, seconds) = match verb {
        AccessVerb::Begin => {
            let asked = body::parse(&call.body)?;
            schema::GRANT_ACCESS.check(&asked)?;
            let exists = world.disk_data.has_access(&key, call.now);
            if exists && world.behaviours.renewal == Renewal::Refused {
                let message = "There is an active shared access signature outstanding.";
                return Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
            }
            let state = Change::SetState(begun(&asked, &disk.properties["diskState"])?);
            (state, asked["durationInSeconds"].as_i64().map(|seconds| (seconds, asked["access"] == json!("Write"))))
        }
        AccessVerb::End => (Change::SetState(ended(&disk.properties["diskState"])), None),
    };
    let settings = operations::settings(world, &call.route.name);
    operations::refused_at_once(&settings)?;
    let output = match seconds {
        Some((seconds, writes)) => {
            let terms = (seconds, writes, world.behaviours.renewal);
            Some(json!({ "accessSAS": world.disk_data.give(&call.endpoint, &key, call.now, terms) }))
        }
        None => {
            world.disk_data.end(&key);
            None
        }
    };
    if settings.at_once {
        set_state(world, &key, change);
        return Ok(output.map_or_else(|| ArmAnswer::empty(StatusCode::OK), ArmAnswer::ok));
    }
    let mut answer = ArmAnswer::empty(StatusCode::ACCEPTED);
    answer.headers = world.operations.begin(call, &settings, (&key, &region), change, None);
    world.operations.set_output(output);
    Ok(answer)
}

/// Sets the state of a disk or snapshot, as a change of its access demands.
pub(super) fn set_state(world: &mut TenantState, key: &str, change: Change) {
    if let (Change::SetState(state), Some(disk)) = (change, disks::find_mut(world, key)) {
        disk.properties["diskState"] = json!(state);
    }
}

/// The state after access began. The codes are guesses.
fn begun(asked: &Value, state: &Value) -> Result<&'static str, ArmAnswer> {
    if asked["durationInSeconds"].as_i64().is_none_or(|seconds| seconds <= 0) {
        return Err(ArmAnswer::missing("durationInSeconds"));
    }
    if matches!(state.as_str(), Some("Attached" | "Reserved")) {
        // Source: Azure, download a VHD: the machine must be stopped. The double is stricter for one that is.
        let message = "Access is not given to a disk that is attached to a virtual machine.";
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
    }
    let awaits_upload = matches!(state.as_str(), Some("ReadyToUpload" | "ActiveUpload"));
    match (asked["access"].as_str(), awaits_upload) {
        (Some("Write"), true) => Ok("ActiveUpload"),
        (Some("Read"), false) => Ok("ActiveSAS"),
        (Some("Write"), false) => {
            let message = "Write access is only given to a disk that was created with the option Upload.";
            Err(ArmAnswer::bad_request("InvalidParameter", message).target("access"))
        }
        (Some("Read"), true) => {
            let message = "Read access is not given to a disk in the state of an upload.";
            Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message))
        }
        _ => Err(ArmAnswer::missing("access")),
    }
}

/// The state after access ended.
fn ended(state: &Value) -> &'static str {
    match state.as_str() {
        Some("ReadyToUpload") => "ReadyToUpload",
        Some("Attached") => "Attached",
        Some("Reserved") => "Reserved",
        _ => "Unattached",
    }
}
