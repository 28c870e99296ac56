//! `beginGetAccess` and `endGetAccess`. Source: specification, DiskRP 2025-01-02, `Disks_GrantAccess` and
//! `Disks_RevokeAccess`, and azure-sdk-for-python `test_grant_access.yaml`: 202 without body, both headers, the URL in
//! `properties.output.accessSAS` of the operation and in `accessSAS` of the result.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

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
    let (change, output) = match verb {
        AccessVerb::Begin => {
            let asked = body::parse(&call.body)?;
            schema::GRANT_ACCESS.check(&asked)?;
            (Change::SetState(begun(&asked, &disk.properties["diskState"])?), Some(json!({ "accessSAS": url() })))
        }
        AccessVerb::End => (Change::SetState(ended(&disk.properties["diskState"])), None),
    };
    let settings = operations::settings(world, &call.route.name);
    operations::refused_at_once(&settings)?;
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
        _ => "Unattached",
    }
}

/// A URL in the recorded form.
fn url() -> String {
    let id = || Uuid::new_v4().simple().to_string();
    format!(
        "https://md-{}.z1.blob.storage.azure.net/{}/abcd?sv=2018-03-28&sr=b&si={}&sig={}",
        &id()[..12],
        &id()[..12],
        Uuid::new_v4(),
        id()
    )
}
