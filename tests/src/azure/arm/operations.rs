//! Long-running operations. Source: Azure, 'Track asynchronous Azure operations': `Azure-AsyncOperation` returns the
//! status, `Location` the result; addresses are opaque. For images both are below `capsOperations`,
//! which the double also uses for machines, for disks and snapshots below `DiskOperations`, with a signature.

use std::time::Duration;

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::disk_access;
use super::disks::{self, Disk};
use super::galleries;
use super::images::{self, Image, ImageState};
use super::machines::{self, Machine};
use super::pipeline::Call;
use super::response::{ArmAnswer, HandlerResult};
use super::route::Kind;
use super::state::TenantState;

/// The headers by which a client can follow an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// Both.
    #[default]
    Both,
    /// `Location`, which the specification promises.
    Location,
    /// `Azure-AsyncOperation`.
    AsyncOperation,
    /// None: the state is only visible at the image itself.
    None,
}

/// How an operation ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OperationEnd {
    /// It succeeds, unless the blob is invalid.
    #[default]
    Succeeds,
    /// It fails with an error.
    Fails {
        /// Its code.
        code: String,
        /// Its message.
        message: String,
    },
    /// It is canceled.
    Canceled,
    /// It succeeds, but the image does not exist.
    Vanishes,
}

/// The behaviour of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongRunning {
    /// The number of polls (or GETs of the image) that find the operation in progress.
    pub polls: u32,
    /// The minimum duration.
    pub duration: Duration,
    /// The seconds of `Retry-After`. None for no header.
    pub retry_after: Option<u64>,
    /// The headers.
    pub links: Links,
    /// The result.
    pub end: OperationEnd,
    /// Whether the first response (200 or 201 with `Succeeded`) completes the change, without an operation.
    /// [`OperationEnd::Fails`] is then a response with 400; the other results need an operation.
    pub at_once: bool,
    /// Whether an image whose creation failed is kept as `Failed`. If not, it does not exist. What Azure does is not
    /// known for all failures.
    pub leaves_failed: bool,
    /// The number of GETs of the image that still return its state before the accepted change. Source: Azure states
    /// that after a 202 the state may be the previous one; for other responses it is a guess.
    pub stale: u32,
    /// The approximate length of the signed addresses in bytes, up to several thousand.
    pub address_bytes: usize,
}

impl Default for LongRunning {
    /// One poll in progress, no minimum duration.
    fn default() -> Self {
        Self {
            polls: 1,
            duration: Duration::ZERO,
            retry_after: Some(0),
            links: Links::Both,
            end: OperationEnd::Succeeds,
            at_once: false,
            leaves_failed: false,
            stale: 0,
            address_bytes: 600,
        }
    }
}

/// What happens to a change while another change of the same image is in progress. Source: both were seen for
/// Microsoft.Compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Collision {
    /// The earlier operation is canceled with `OperationPreempted`.
    #[default]
    Preempts,
    /// The new request is rejected with 409.
    Conflicts,
}

/// The change that an operation makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Create,
    Update,
    Delete,
    /// The state of a disk or snapshot changes to this one, because access to it begins or ends.
    SetState(&'static str),
    /// A virtual machine starts, or is deallocated.
    Power(bool),
}

/// Why an operation fails, and with which status.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: &'static str,
    pub(super) code: String,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(code: &str, message: &str) -> Self {
        Self { status: "Failed", code: code.to_owned(), message: message.to_owned() }
    }

    fn canceled(code: &str, message: &str) -> Self {
        Self { status: "Canceled", ..Self::new(code, message) }
    }
}

#[derive(Debug, Clone)]
struct Operation {
    id: Uuid,
    key: String,
    change: Change,
    polls: u32,
    ready: Timestamp,
    started: Timestamp,
    ended: Option<Timestamp>,
    failure: Option<Failure>,
    vanishes: bool,
    leaves_failed: bool,
    retry_after: Option<u64>,
    /// The result of an action. None if the result is the resource.
    output: Option<Value>,
    /// Path and query of the addresses.
    status_at: String,
    result_at: String,
}

/// All operations, including ended ones, because their addresses stay valid.
#[derive(Debug, Clone, Default)]
pub(super) struct Operations(Vec<Operation>);

/// An operation that has just ended.
#[derive(Debug)]
pub(super) struct Ended {
    key: String,
    change: Change,
    failed: bool,
    vanishes: bool,
    leaves_failed: bool,
}

impl Ended {
    pub(super) fn apply(self, world: &mut TenantState) {
        let gone = match self.change {
            Change::Create => self.vanishes || (self.failed && !self.leaves_failed),
            Change::Update => self.vanishes,
            Change::Delete => !self.failed,
            Change::SetState(_) => {
                if !self.failed {
                    disk_access::set_state(world, &self.key, self.change);
                }
                return;
            }
            Change::Power(running) => {
                if !self.failed {
                    machines::set_power(world, &self.key, running);
                }
                return;
            }
        };
        if gone {
            machines::remove(world, &self.key);
            galleries::remove(world, &self.key);
            world.images.retain(|image| image.key() != self.key);
            disks::remove(world, &self.key);
        }
        let state = if self.failed { ImageState::Failed } else { ImageState::Succeeded };
        if let Some(image) = world.images.iter_mut().find(|image| image.key() == self.key) {
            image.state = state;
        }
        if let Some(disk) = disks::find_mut(world, &self.key) {
            disk.state = state;
        }
        if let Some(machine) = world.machines.iter_mut().find(|machine| machine.key() == self.key) {
            machine.state = state;
        }
        galleries::set_state(world, &self.key, state);
    }
}

impl Operations {
    /// Ends operations that were polled often enough and whose duration has passed.
    pub(super) fn finish_due(&mut self, now: Timestamp) -> Vec<Ended> {
        let due = self.0.iter_mut().filter(|op| op.ended.is_none() && op.polls == 0 && op.ready <= now);
        let end = |op: &mut Operation| {
            op.ended = Some(now);
            let (key, change, failed) = (op.key.clone(), op.change, op.failure.is_some());
            Ended { key, change, failed, vanishes: op.vanishes, leaves_failed: op.leaves_failed }
        };
        due.map(end).collect()
    }

    /// Counts a poll at the image with this key.
    pub(super) fn count_poll(&mut self, key: &str) {
        self.0.iter_mut().filter(|op| op.key == key).for_each(|op| op.polls = op.polls.saturating_sub(1));
    }

    /// Starts an operation on an image, given by its key and region. Returns the headers to follow the operation by.
    pub(super) fn begin(
        &mut self,
        call: &Call,
        settings: &LongRunning,
        (key, region): (&str, &str),
        change: Change,
        failure: Option<Failure>,
    ) -> Vec<(&'static str, String)> {
        let id = Uuid::new_v4();
        let subscription = call.route.subscription.as_deref().unwrap_or_default();
        let (segment, version) = match call.route.kind {
            Kind::Disk(_) | Kind::Access(..) => ("DiskOperations", "2025-01-02"),
            _ => ("capsOperations", "2025-04-01"),
        };
        let path =
            format!("/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}/{segment}/{id}");
        let at =
            |monitor: &str| format!("{path}?p={}&api-version={version}{monitor}&{}", Uuid::new_v4(), signed(settings));
        let failure = match &settings.end {
            OperationEnd::Fails { code, message } => Some(Failure::new(code, message)),
            OperationEnd::Canceled => Some(Failure::canceled("OperationCanceled", "The operation was canceled.")),
            OperationEnd::Succeeds | OperationEnd::Vanishes => failure,
        };
        let takes = SignedDuration::try_from(settings.duration).unwrap_or(SignedDuration::MAX);
        let operation = Operation {
            id,
            key: key.to_owned(),
            change,
            polls: settings.polls,
            ready: call.now.checked_add(takes).unwrap_or(Timestamp::MAX),
            started: call.now,
            ended: None,
            failure,
            vanishes: settings.end == OperationEnd::Vanishes,
            leaves_failed: settings.leaves_failed,
            retry_after: settings.retry_after,
            output: None,
            status_at: at(""),
            result_at: at("&monitor=true"),
        };
        let mut headers = Vec::new();
        if matches!(settings.links, Links::Both | Links::AsyncOperation) {
            headers.push(("azure-asyncoperation", format!("{}{}", call.endpoint, operation.status_at)));
        }
        if matches!(settings.links, Links::Both | Links::Location) {
            headers.push(("location", format!("{}{}", call.endpoint, operation.result_at)));
        }
        headers.extend(settings.retry_after.map(|seconds| ("retry-after", seconds.to_string())));
        self.0.push(operation);
        headers
    }
}

impl Operations {
    /// Sets the result of the operation that was just started.
    pub(super) fn set_output(&mut self, output: Option<Value>) {
        if let Some(operation) = self.0.last_mut() {
            operation.output = output;
        }
    }
}

/// The query of a signed address, with the configured length. Source: seen: `t`, `c`, `s` and `h`.
fn signed(settings: &LongRunning) -> String {
    let certificate = std::iter::repeat_with(|| Uuid::new_v4().simple().to_string());
    let certificate = certificate.take(settings.address_bytes.saturating_sub(400) / 32).collect::<String>();
    let part = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    format!("t=638&c=MII{certificate}&s={}-{}_{}&h={}", part(), part(), part(), part())
}

/// The behaviour of operations on an image.
pub(super) fn settings(world: &TenantState, image: &str) -> LongRunning {
    let own = world.long_running_of.iter().find(|(name, _)| name.eq_ignore_ascii_case(image));
    own.map_or(&world.long_running, |(_, own)| own).clone()
}

/// The error of a change that fails without an operation.
pub(super) fn refused_at_once(settings: &LongRunning) -> Result<(), ArmAnswer> {
    match &settings.end {
        OperationEnd::Fails { code, message } if settings.at_once => Err(ArmAnswer::bad_request(code, message)),
        _ => Ok(()),
    }
}

/// Applies the collision rule to a change of an image: preempts the earlier change, or rejects the new one.
pub(super) fn resolve_collision(
    world: &mut TenantState,
    key: &str,
    change: Change,
    now: Timestamp,
) -> Result<(), ArmAnswer> {
    let conflicts = world.collision == Collision::Conflicts;
    let running = world.operations.0.iter_mut().filter(|op| op.key == key && op.ended.is_none());
    for operation in running {
        match (operation.change, change) {
            // Both can end with the result that the image does not exist.
            (Change::Delete, Change::Delete) => {}
            (earlier, _) if conflicts || earlier == Change::Delete => return Err(under_way(key)),
            _ => {
                let message = "The operation has been preempted by a more recent operation.";
                operation.failure = Some(Failure::canceled("OperationPreempted", message));
                operation.ended = Some(now);
            }
        }
    }
    Ok(())
}

fn under_way(key: &str) -> ArmAnswer {
    // The code and the message are guesses.
    let message = format!("The request conflicts with another operation that is in progress on the resource '{key}'.");
    ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message)
}

/// Returns the status of an operation.
pub(super) fn poll(world: &mut TenantState, call: &Call) -> HandlerResult {
    let at = &call.path_and_query;
    let found = world.operations.0.iter_mut().find(|op| op.status_at == *at || op.result_at == *at);
    let Some(operation) = found else {
        return Err(ArmAnswer::error(
            StatusCode::NOT_FOUND,
            "NotFound",
            "The entity was not found in this Azure location.",
        ));
    };
    operation.polls = operation.polls.saturating_sub(1);
    let operation = operation.clone();
    if operation.status_at == *at { Ok(status(world, &operation)) } else { result(world, call, &operation) }
}

fn status(world: &TenantState, operation: &Operation) -> ArmAnswer {
    let mut body = json!({ "name": operation.id, "startTime": operation.started.to_string(), "status": "InProgress" });
    let Some(ended) = operation.ended else { return retry(ArmAnswer::ok(body), operation) };
    body["endTime"] = json!(ended.to_string());
    body["status"] = json!(operation.failure.as_ref().map_or("Succeeded", |failure| failure.status));
    if let Some(failure) = &operation.failure {
        body["error"] = json!({ "code": failure.code, "message": failure.message });
    } else if let Some(output) = operation.output.clone().or_else(|| disks::find(world, &operation.key).map(Disk::json))
    {
        // Source: recorded, for disks and snapshots only. It has no `completionPercent`.
        body["properties"] = json!({ "output": output });
        if let Some(properties) = body.pointer_mut("/properties/output/properties").and_then(Value::as_object_mut) {
            properties.remove("completionPercent");
        }
    }
    ArmAnswer::ok(body)
}

fn result(world: &TenantState, call: &Call, operation: &Operation) -> HandlerResult {
    if operation.ended.is_none() {
        let location = format!("{}{}", call.endpoint, operation.result_at);
        return Ok(retry(ArmAnswer::empty(StatusCode::ACCEPTED), operation).header("location", location));
    }
    if let Some(failure) = &operation.failure {
        let status = if failure.status == "Canceled" { StatusCode::CONFLICT } else { StatusCode::BAD_REQUEST };
        return Err(ArmAnswer::error(status, &failure.code, &failure.message));
    }
    if let Some(output) = &operation.output {
        return Ok(ArmAnswer::ok(output.clone()));
    }
    if let Change::SetState(_) | Change::Power(_) = operation.change {
        return Ok(ArmAnswer::empty(StatusCode::OK));
    }
    if operation.change == Change::Delete {
        return Ok(ArmAnswer::empty(StatusCode::NO_CONTENT));
    }
    let image: Option<Value> = images::find(world, &operation.key).map(Image::json);
    let resource = image.or_else(|| disks::find(world, &operation.key).map(Disk::json));
    let resource = resource.or_else(|| machines::find(world, &operation.key).map(Machine::json));
    let resource = resource.or_else(|| galleries::find(world, &operation.key).map(|item| item.json(world)));
    resource.map(ArmAnswer::ok).ok_or_else(|| {
        ArmAnswer::error(
            StatusCode::NOT_FOUND,
            "ResourceNotFound",
            format!("The Resource '{}' was not found.", operation.key),
        )
    })
}

fn retry(answer: ArmAnswer, operation: &Operation) -> ArmAnswer {
    match operation.retry_after {
        Some(seconds) => answer.header("retry-after", seconds.to_string()),
        None => answer,
    }
}
