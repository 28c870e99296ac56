//! The format of the rows of the job table.
//!
//! A row holds its value as JSON in `Body`, `Body1`, … and repeats some fields as separate properties for operators and
//! filters. A property holds at most 64 KiB: 32 Ki characters of UTF-16, or 64 KiB of bytes (source: Table service data
//! model).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::event::Event;
use goldfleet_model::graph::GateKey;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{GateRole, GroupId, KindId, Operation, OperationId, OperationState};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::listing::UnreadableRow;
use goldfleet_ports::{ETag, Versioned};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::SHARDS;
use crate::table::{Entity, Key};

/// The maximum number of JSON characters in one property, if each of them takes two UTF-16 units.
const TEXT_PART: usize = 16 * 1024;

/// The maximum number of bytes in one property.
const BINARY_PART: usize = 64 * 1024;

/// The filter for all jobs. In ASCII a slash follows a dot, so the range contains all keys that begin with `j.`.
pub(super) const JOBS: &str = "PartitionKey eq 'job' and RowKey ge 'j.' and RowKey lt 'j/'";

/// The filter for all uploads.
pub(super) const UPLOADS: &str = "PartitionKey eq 'upload'";

/// The filter for the operations of a partition.
pub(super) const OPERATIONS: &str = "RowKey ge 'o.' and RowKey lt 'o/'";

/// The property that holds an operation's planning attempt.
const PLAN: &str = "Plan";

/// The property that holds the state time of an operation, in nanoseconds since 1970.
const TIME: &str = "StateTime";

/// The properties that a census reads.
pub(super) const CENSUS: &str = "Kind,State,StateTime";

/// The filter for the operations and index entries of a partition that planning attempts before `plan` wrote.
pub(super) fn of_earlier_plans(plan: u32) -> String {
    format!("RowKey ge 'g:' and RowKey lt 'o/' and {PLAN} lt {plan}")
}

/// The filter for the operations of a partition that a planning attempt wrote.
pub(super) fn of_plan(plan: u32) -> String {
    format!("{OPERATIONS} and {PLAN} eq {plan}")
}

/// The filter for operations in this state whose state time is before `before`.
pub(super) fn in_state_before(plan: u32, state: OperationState, before: Timestamp) -> String {
    format!("{} and State eq '{state}' and {TIME} lt {}L", of_plan(plan), nanoseconds(before))
}

/// The filter for operations in this state whose state time is after `after`.
pub(super) fn in_state_after(plan: u32, state: OperationState, after: Timestamp) -> String {
    format!("{} and State eq '{state}' and {TIME} gt {}L", of_plan(plan), nanoseconds(after))
}

/// The beginning of the keys of the index entries of a role, for all gates.
fn role_prefix(plan: u32, role: GateRole) -> String {
    format!("g:{plan:010}:{role}:")
}

/// The key and the entity of an index entry: the operation has this role at this gate. The entry is in the partition
/// of its operation, so that one transaction writes both.
pub(super) fn role_entry(operation: &Operation, gate: &GateKey, role: GateRole) -> (Key, Entity) {
    let prefix = role_prefix(operation.plan, role);
    let partition = partition(&operation.job, shard(operation.id.group()));
    let entity = [(PLAN.to_owned(), json!(operation.plan))].into_iter().collect();
    (Key::new(partition, format!("{prefix}{gate}:{}", operation.id)), entity)
}

/// The filter for the index entries of a role at a gate. In ASCII a semicolon follows a colon.
pub(super) fn role_filter(plan: u32, role: GateRole, gate: &GateKey) -> String {
    let prefix = role_prefix(plan, role);
    format!("RowKey ge '{prefix}{gate}:' and RowKey lt '{prefix}{gate};'")
}

/// The filter for the index entries of a role behind those of the gate `last`.
pub(super) fn role_filter_behind(plan: u32, role: GateRole, last: Option<&GateKey>) -> String {
    let prefix = role_prefix(plan, role);
    let from = last.map_or_else(|| prefix.clone(), |gate| format!("{prefix}{gate};"));
    let end = prefix.trim_end_matches(':');
    format!("RowKey ge '{from}' and RowKey lt '{end};'")
}

/// The gate and the operation of an index entry.
pub(super) fn to_role(row: &Entity) -> PortResult<(GateKey, OperationId)> {
    let parts = || {
        let mut parts = row.get("RowKey")?.as_str()?.splitn(5, ':').skip(3);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    parts().ok_or_else(|| corrupt_row(row, "its key is not that of an index entry"))
}

/// The kind, state and state time of an operation whose row was read in part. None if one of them cannot be read: then
/// the row cannot be read either.
pub(super) fn to_count(row: &Entity) -> Option<(KindId, OperationState, Timestamp)> {
    let text = |name| row.get(name).and_then(Value::as_str);
    let time = Timestamp::from_nanosecond(text(TIME)?.parse().ok()?).ok()?;
    Some((text("Kind")?.parse().ok()?, text("State")?.parse().ok()?, time))
}

/// The operation of a row whose key was read. None if the key is not that of an operation.
pub(super) fn to_operation_id(row: &Entity) -> Option<OperationId> {
    row.get("RowKey")?.as_str()?.strip_prefix("o.")?.parse().ok()
}

/// A time as a property. Times outside the years 1677 to 2262 become the nearest one.
fn nanoseconds(time: Timestamp) -> i64 {
    let nanoseconds = time.as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

/// The filter for the events of a partition.
pub(super) const EVENTS: &str = "RowKey ge 'e.' and RowKey lt 'e/'";

pub(super) fn job_key(job: &JobId) -> Key {
    Key::new("job", format!("j.{job}"))
}

pub(super) fn upload_key(upload: &JobId) -> Key {
    Key::new("upload", format!("u.{upload}"))
}

pub(super) fn fleet_key() -> Key {
    Key::new("fleet", "fleet")
}

pub(super) fn of_fleet(id: Uuid) -> Entity {
    [("Id".to_owned(), json!(id.to_string()))].into_iter().collect()
}

pub(super) fn to_fleet(row: &Entity) -> PortResult<Uuid> {
    let id = || row.get("Id")?.as_str()?.parse().ok();
    id().ok_or_else(|| corrupt_row(row, "its id is not a UUID"))
}

pub(super) fn operation_key(job: &JobId, id: &OperationId) -> Key {
    Key::new(partition(job, shard(id.group())), format!("o.{id}"))
}

/// The filter for the rows of a group, which are adjacent.
pub(super) fn group_filter(job: &JobId, id: &OperationId) -> String {
    let group = id.group();
    let partition = partition(job, shard(group));
    format!("PartitionKey eq '{partition}' and RowKey ge 'o.{group}.' and RowKey lt 'o.{group}/'")
}

/// The partitions of a job.
pub(super) fn partitions(job: &JobId) -> impl Iterator<Item = String> {
    (0..SHARDS).map(move |shard| partition(job, shard))
}

fn partition(job: &JobId, shard: u32) -> String {
    format!("{job}.{shard:02}")
}

/// The partition of a group: FNV-1a, which spreads the groups well enough. Every version of the program must use the
/// same function.
fn shard(group: &GroupId) -> u32 {
    let hash =
        group.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % SHARDS
}

/// Events are ordered by the time of writing according to the writers' clocks. The time in an event is not unique.
pub(super) fn event_key(event: &Event, now: Timestamp, index: usize) -> Key {
    // An event of an operation is in the partition of the operation. Events of the job itself have another key.
    let shard = event.operation.as_ref().map_or(0, |id| shard(id.group()));
    Key::new(partition(&event.job, shard), format!("e.{}", written_at(now, index)))
}

pub(super) fn job_event_key(job: &JobId, now: Timestamp, index: usize) -> Key {
    Key::new("job", format!("e.{job}.{}", written_at(now, index)))
}

fn written_at(now: Timestamp, index: usize) -> String {
    format!("{:020}.{index:03}.{}", now.as_nanosecond(), Uuid::new_v4().simple())
}

/// The filter for the events of one operation, in its partition.
pub(super) fn events_of_operation(job: &JobId, id: &OperationId) -> String {
    format!("PartitionKey eq '{}' and {EVENTS} and Operation eq '{id}'", partition(job, shard(id.group())))
}

/// The filter for the events of the job itself.
pub(super) fn events_of_job(job: &JobId) -> String {
    format!("PartitionKey eq 'job' and RowKey ge 'e.{job}.' and RowKey lt 'e.{job}/'")
}

/// The time of writing of an event's row: the last three parts of its key.
pub(super) fn written_at_part(row: &Entity) -> String {
    let key = row.get("RowKey").and_then(Value::as_str).unwrap_or_default();
    let parts: Vec<&str> = key.rsplitn(4, '.').take(3).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(".")
}

/// The filter for the jobs from this row on.
pub(super) fn jobs_from(oldest: &Entity) -> PortResult<String> {
    let key =
        oldest.get("RowKey").and_then(Value::as_str).ok_or_else(|| corrupt_row(oldest, "it came without a key"))?;
    Ok(format!("PartitionKey eq 'job' and RowKey ge '{key}' and RowKey lt 'j/'"))
}

/// The filter for the uploads of an image version.
pub(super) fn uploads_of(image: &ImageName, version: &ImageVersion) -> String {
    format!("{UPLOADS} and Image eq '{}'", image_version(image, version))
}

/// The filter for the jobs that have not ended. The service scans all jobs and returns only these.
pub(super) fn open_jobs() -> String {
    let ended = JobState::ALL.into_iter().filter(|state| state.is_terminal());
    let states: Vec<String> = ended.map(|state| format!("State ne '{state}'")).collect();
    format!("{JOBS} and {}", states.join(" and "))
}

pub(super) fn of_job(job: &Job) -> PortResult<Entity> {
    let columns = [("State", job.state.as_str().to_owned()), ("Image", job.subject.to_string())];
    of(job, columns)
}

pub(super) fn to_job(row: &Entity) -> Result<Versioned<Job>, UnreadableRow> {
    Ok(Versioned { value: value(row)?, etag: version(row)? })
}

pub(super) fn of_operation(operation: &Operation) -> PortResult<Entity> {
    let columns = [
        ("State", operation.state.as_str().to_owned()),
        ("Kind", operation.kind.to_string()),
        ("Region", operation.place.region.to_string()),
    ];
    let mut row = of(operation, columns)?;
    row.insert(PLAN.to_owned(), json!(operation.plan));
    // The service represents integers of 64 bits as text.
    row.insert(format!("{TIME}@odata.type"), json!("Edm.Int64"));
    row.insert(TIME.to_owned(), json!(nanoseconds(operation.state_time()).to_string()));
    insert_binary(&mut row, "Done", &operation.progress.done.encode());
    Ok(row)
}

/// The planning attempt that wrote an operation's row.
pub(super) fn plan(row: &Entity) -> u32 {
    row.get(PLAN).and_then(Value::as_u64).and_then(|plan| u32::try_from(plan).ok()).unwrap_or(0)
}

pub(super) fn to_operation(row: &Entity) -> Result<Versioned<Operation>, UnreadableRow> {
    let mut operation: Operation = value(row)?;
    let done = binary(row, "Done").ok_or_else(|| unreadable(row, "a part of its chunk set is missing"))?;
    operation.progress.done = ChunkSet::decode(&done).map_err(|error| unreadable(row, &error.to_string()))?;
    Ok(Versioned { value: operation, etag: version(row)? })
}

pub(super) fn of_event(event: &Event) -> PortResult<Entity> {
    let operation = event.operation.as_ref().map(ToString::to_string).unwrap_or_default();
    of(event, [("Operation", operation), ("What", event.what.clone())])
}

pub(super) fn to_event(row: &Entity) -> Result<Event, UnreadableRow> {
    value(row)
}

pub(super) fn of_upload(upload: &Upload) -> PortResult<Entity> {
    of(upload, [("Image", image_version(&upload.image, &upload.version))])
}

/// An image version in the format of uploads. Neither part can contain a blank or a quote.
fn image_version(image: &ImageName, version: &ImageVersion) -> String {
    format!("{image} {version}")
}

pub(super) fn to_upload(row: &Entity) -> Result<Upload, UnreadableRow> {
    value(row)
}

/// The approximate size of a row in a request, in bytes.
pub(super) fn length(row: &Entity) -> usize {
    row.iter().map(|(name, value)| name.len() + value.as_str().map_or(8, str::len) + 8).sum()
}

fn of<const N: usize>(value: &impl Serialize, columns: [(&str, String); N]) -> PortResult<Entity> {
    let body = serde_json::to_string(value)
        .map_err(|error| PortError::new(ErrorKind::Invalid, format!("a row cannot be written: {error}")))?;
    let mut row: Entity = columns.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let mut parts = 0;
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.floor_char_boundary(TEXT_PART));
        row.insert(part_name("Body", parts), json!(part));
        rest = after;
        parts += 1;
    }
    row.insert("BodyParts".to_owned(), json!(parts));
    Ok(row)
}

/// Adds bytes to a row, spread over several properties.
pub(super) fn insert_binary(row: &mut Entity, name: &str, bytes: &[u8]) {
    let mut parts = 0;
    for (part, bytes) in bytes.chunks(BINARY_PART).enumerate() {
        let name = part_name(name, part);
        row.insert(format!("{name}@odata.type"), json!("Edm.Binary"));
        row.insert(name, json!(BASE64.encode(bytes)));
        parts = part + 1;
    }
    row.insert(format!("{name}Parts"), json!(parts));
}

/// The bytes that [`insert_binary`] added. None if a part is missing.
pub(super) fn binary(row: &Entity, name: &str) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    for part in parts(row, name) {
        whole.extend(BASE64.decode(part?).ok()?);
    }
    Some(whole)
}

fn part_name(name: &str, part: usize) -> String {
    if part == 0 { name.to_owned() } else { format!("{name}{part}") }
}

/// The parts of a value that is spread over several properties. A merge keeps the surplus parts of a longer value, so
/// the stored count limits them.
fn parts<'a>(row: &'a Entity, name: &'a str) -> impl Iterator<Item = Option<&'a str>> {
    let count = row.get(&format!("{name}Parts")).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    (0..count.unwrap_or(0)).map(move |part| row.get(&part_name(name, part)).and_then(Value::as_str))
}

fn value<T: DeserializeOwned>(row: &Entity) -> Result<T, UnreadableRow> {
    let body: Option<String> = parts(row, "Body").collect();
    let body = body.ok_or_else(|| unreadable(row, "a part is missing"))?;
    serde_json::from_str(&body).map_err(|error| unreadable(row, &error.to_string()))
}

/// The version of a row.
///
/// # Errors
/// If the row came without one.
pub(super) fn etag(row: &Entity) -> PortResult<ETag> {
    version(row).map_err(UnreadableRow::into_error)
}

fn version(row: &Entity) -> Result<ETag, UnreadableRow> {
    let etag = row.get("odata.etag").and_then(Value::as_str);
    etag.map(|etag| ETag(etag.to_owned())).ok_or_else(|| unreadable(row, "it came without an ETag"))
}

/// A row that cannot be read. The key of a job, an operation or an upload is its id behind a prefix of two letters.
fn unreadable(row: &Entity, reason: &str) -> UnreadableRow {
    let key = |name| row.get(name).and_then(Value::as_str).unwrap_or("?");
    let (partition, name) = (key("PartitionKey"), key("RowKey"));
    let id = ["j.", "o.", "u."].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    UnreadableRow { id: id.to_owned(), key: format!("{partition}/{name}"), reason: reason.to_owned() }
}

pub(super) fn corrupt_row(row: &Entity, why: &str) -> PortError {
    unreadable(row, why).into_error()
}
