//! One row, call by call, with the decisions of the crate. A worker that is killed loses only the phase.

use goldfleet_snapshots::difference::Evidence;
use goldfleet_snapshots::graph::{CopySpec, CreateSpec, Row, RowSpec};
use goldfleet_snapshots::remove::{Because, Decision, DiscardSpec, Facts, Lock, RemoveSpec, TemporarySpec};
use goldfleet_snapshots::replica::{Probe, probe};
use goldfleet_snapshots::rules::Rules;
use goldfleet_snapshots::snapshot::Snapshot;
use goldfleet_snapshots::state::Cause;
use goldfleet_snapshots::tags;
use serde_json::{Value, json};

use crate::service::{CallError, Change, Service};
use crate::world::Refusal;

/// What a call of a row resulted in.
#[derive(Debug, PartialEq)]
pub(crate) enum Progress {
    /// The row has more to do.
    Continue,
    /// The content is arriving. Not counted as an attempt.
    Wait,
    Succeeded,
    /// Nothing was to be done.
    Skipped,
    /// A failure that is retried.
    Retry,
    Failed(&'static str),
}

/// What a worker knows while it runs a row.
#[derive(Debug, Default)]
pub(crate) enum Phase {
    #[default]
    Probe,
    /// Our remains are deleted.
    Clear(Box<Snapshot>),
    /// The snapshot to copy is read.
    CheckCopied,
    /// The request is sent.
    Put(Value),
    /// The lock is put.
    Lock,
    /// What the last check before a deletion needs is read, one call after the other.
    Read {
        current: Box<Option<Snapshot>>,
        source: Option<Evidence>,
        done: Option<Box<Option<Snapshot>>>,
    },
    Decided(Change),
}

/// Makes the next call of a row. `is_cancelled` is whether an earlier row of its group was cancelled.
pub(crate) fn advance(
    row: &Row,
    is_cancelled: bool,
    phase: &mut Phase,
    rules: &Rules,
    service: &mut Service,
) -> Progress {
    match &row.spec {
        RowSpec::Copy(spec) => copy(spec, phase, rules, service),
        RowSpec::Create(spec) => temporary(spec, rules, service),
        RowSpec::Export(_) | RowSpec::EndExport(_) => unreachable!("all destinations are in one tenant"),
        RowSpec::Sink(_) | RowSpec::Golden(_) => unreachable!("a sync has no sinks or golden snapshots"),
        RowSpec::Remove(spec) => remove(spec, phase, service),
        RowSpec::RemoveTemporary(spec) => remove_temporary(spec, service),
        RowSpec::Discard(spec) => discard(spec, is_cancelled, phase, service),
        // The caller of a plan adds these after it has read the locks, and this one reads none.
        RowSpec::Lock(_) => unreachable!("the plan has no locks"),
    }
}

fn after(result: Result<(), CallError>) -> Progress {
    match result {
        Ok(()) => Progress::Continue,
        Err(CallError::Refused(Refusal::Busy)) => Progress::Wait,
        Err(CallError::Refused(Refusal::Order)) => Progress::Failed("snapshot-order"),
        Err(CallError::Refused(Refusal::Locked)) => Progress::Failed("scope-locked"),
        Err(_) => Progress::Retry,
    }
}

fn copy(spec: &CopySpec, phase: &mut Phase, rules: &Rules, service: &mut Service) -> Progress {
    match std::mem::take(phase) {
        Phase::Clear(found) => {
            // The same check as for a row that removes the remains.
            let because = Because::Remains;
            let remove = RemoveSpec {
                fleet: rules.fleet,
                sync: rules.name.clone(),
                tags: rules.selection.tag_patterns(),
                id: spec.id.clone(),
                unique_id: found.unique_id.clone(),
                source: spec.copied.clone(),
                source_unique_id: found.tag(tags::SOURCE).unwrap_or_default().to_owned(),
                because,
                newer: Vec::new(),
                lift_lock: false,
                made_by: spec.body["tags"][tags::JOB].as_str().and_then(|job| job.parse().ok()),
            };
            let source = Evidence::Unknown(String::new());
            let facts = Facts { current: Some(&found), source: &source, done: None, newer: &[], locks: &[] };
            match remove.decide(facts) {
                Decision::Delete => after(service.change(Change::Delete(spec.id.clone()))),
                _ => Progress::Failed("replica-outdated"),
            }
        }
        Phase::CheckCopied => check_copied(spec, phase, rules, service),
        Phase::Put(body) => after(service.change(Change::Put(spec.id.clone(), body))),
        Phase::Lock => put_lock(spec, service),
        _ => probe_copy(spec, phase, rules, service),
    }
}

fn probe_copy(spec: &CopySpec, phase: &mut Phase, rules: &Rules, service: &mut Service) -> Progress {
    let Ok(found) = service.get(&spec.id) else { return Progress::Retry };
    let is_remains = |found: &Snapshot| {
        // The check before the deletion proves that its copy failed.
        Some(&found.unique_id) == spec.remains.as_ref()
    };
    match probe(found.as_ref(), rules.fleet, &rules.name, &spec.source_unique_id) {
        Probe::Absent => {
            *phase = Phase::CheckCopied;
            Progress::Continue
        }
        Probe::Underway { .. } => Progress::Wait,
        Probe::Done if spec.lock.is_some() => {
            *phase = Phase::Lock;
            Progress::Continue
        }
        Probe::Done => Progress::Succeeded,
        Probe::Failed { .. } => {
            *phase = Phase::Clear(Box::new(found.unwrap()));
            Progress::Retry
        }
        Probe::Stale if found.as_ref().is_some_and(is_remains) => {
            *phase = Phase::Clear(Box::new(found.unwrap()));
            Progress::Continue
        }
        Probe::Stale => Progress::Failed("replica-outdated"),
        Probe::Foreign(_) => Progress::Failed("snapshot-foreign"),
    }
}

fn check_copied(spec: &CopySpec, phase: &mut Phase, rules: &Rules, service: &mut Service) -> Progress {
    let copied = match service.get(&spec.copied) {
        Err(_) => return Progress::Retry,
        Ok(None) => return Progress::Failed("source-gone"),
        Ok(Some(copied)) => copied,
    };
    let mut body = spec.body.clone();
    match &spec.copied_unique_id {
        Some(expected) if *expected != copied.unique_id => return Progress::Failed("source-changed"),
        Some(_) => {}
        None if !tags::is_temporary_of(&copied.tags, rules.fleet) => return Progress::Failed("temporary-foreign"),
        None => body["tags"][tags::VIA] = json!(copied.unique_id),
    }
    *phase = Phase::Put(body);
    Progress::Continue
}

fn put_lock(spec: &CopySpec, service: &mut Service) -> Progress {
    let name = spec.lock.clone().unwrap();
    let id = format!("{}/providers/Microsoft.Authorization/locks/{name}", spec.id);
    let lock = Lock { id, name, level: "CanNotDelete".to_owned() };
    match service.change(Change::Lock(spec.id.clone(), lock)) {
        Ok(()) => Progress::Succeeded,
        Err(_) => Progress::Retry,
    }
}

fn temporary(spec: &CreateSpec, rules: &Rules, service: &mut Service) -> Progress {
    let Ok(id) = spec.id.parse() else {
        return match service.disk_tags(&spec.id) {
            Ok(Some(found)) if tags::is_temporary_of(&found, rules.fleet) => Progress::Succeeded,
            Ok(Some(_)) => Progress::Failed("temporary-foreign"),
            Ok(None) => match after(service.change(Change::PutDisk(spec.id.clone(), spec.body.clone()))) {
                Progress::Continue => Progress::Continue,
                _ => Progress::Retry,
            },
            Err(_) => Progress::Retry,
        };
    };
    match service.get(&id) {
        Ok(Some(found)) if tags::is_temporary_of(&found.tags, rules.fleet) => Progress::Succeeded,
        Ok(Some(_)) => Progress::Failed("temporary-foreign"),
        Ok(None) => after(service.change(Change::Put(id, spec.body.clone()))),
        Err(_) => Progress::Retry,
    }
}

fn remove(spec: &RemoveSpec, phase: &mut Phase, service: &mut Service) -> Progress {
    match std::mem::take(phase) {
        Phase::Read { current, source: None, .. } => {
            // A surplus replica has a source, and nothing about it decides.
            let needs = matches!(spec.because, Because::Replica(Cause::Gone | Cause::Untagged));
            let source = if needs { service.evidence(&spec.source) } else { Evidence::Unknown("not read".to_owned()) };
            if needs {
                service.invariants.read_source(&service.world, &spec.unique_id, &spec.source_unique_id);
            }
            *phase = Phase::Read { current, source: Some(source), done: None };
            Progress::Continue
        }
        Phase::Read { current, source, done: None } => {
            let done = match &spec.because {
                Because::Staged(id) => match service.get(id) {
                    Ok(found) => found,
                    Err(_) => return Progress::Retry,
                },
                _ => None,
            };
            if matches!(spec.because, Because::Staged(_)) {
                service.invariants.read_final(&spec.unique_id, done.as_ref(), &spec.source_unique_id);
            }
            *phase = Phase::Read { current, source, done: Some(Box::new(done)) };
            Progress::Continue
        }
        Phase::Read { current, source: Some(source), done: Some(done) } => {
            let newer: Result<Vec<_>, _> = spec.newer.iter().map(|newer| service.get(&newer.id)).collect();
            let (Ok(newer), Ok(locks)) = (newer, service.locks(&spec.id)) else { return Progress::Retry };
            let facts = Facts {
                current: current.as_ref().as_ref(),
                source: &source,
                done: done.as_ref().as_ref(),
                newer: &newer,
                locks: &locks,
            };
            match spec.decide(facts) {
                Decision::Done => Progress::Succeeded,
                Decision::Keep(_) => Progress::Skipped,
                Decision::Refuse { code: "source-unknown", .. } => Progress::Retry,
                Decision::Refuse { code, .. } => Progress::Failed(code),
                Decision::Delete => {
                    *phase = Phase::Decided(Change::Delete(spec.id.clone()));
                    Progress::Continue
                }
                Decision::LiftLock(lock) => {
                    *phase = Phase::Decided(Change::Unlock(spec.id.clone(), lock));
                    Progress::Continue
                }
            }
        }
        Phase::Decided(change) => after(service.change(change)),
        _ => match service.get(&spec.id) {
            Err(_) => Progress::Retry,
            Ok(None) => Progress::Succeeded,
            Ok(found) => {
                *phase = Phase::Read { current: Box::new(found), source: None, done: None };
                Progress::Continue
            }
        },
    }
}

fn remove_temporary(spec: &TemporarySpec, service: &mut Service) -> Progress {
    let snapshot = spec.id.parse().ok();
    let found = match &snapshot {
        Some(id) => service.get(id).map(|found| found.map(|found| found.tags)),
        None => service.disk_tags(&spec.id),
    };
    let Ok(found) = found else { return Progress::Retry };
    match spec.decide(found.as_ref(), &[]) {
        Decision::Done => Progress::Succeeded,
        Decision::Delete => {
            let change = snapshot.map_or_else(|| Change::DeleteDisk(spec.id.clone()), Change::Delete);
            after(service.change(change))
        }
        other => unreachable!("{other:?}"),
    }
}

fn discard(spec: &DiscardSpec, is_cancelled: bool, phase: &mut Phase, service: &mut Service) -> Progress {
    if let Phase::Decided(change) = std::mem::take(phase) {
        return after(service.change(change));
    }
    let (Ok(found), Ok(locks)) = (service.get(&spec.id), service.locks(&spec.id)) else { return Progress::Retry };
    match spec.decide(found.as_ref(), is_cancelled, &locks) {
        Decision::Done => Progress::Succeeded,
        Decision::Keep(_) => Progress::Skipped,
        Decision::Refuse { code, .. } => Progress::Failed(code),
        Decision::Delete => {
            service.invariants.read_incomplete(found.as_ref());
            *phase = Phase::Decided(Change::Delete(spec.id.clone()));
            Progress::Continue
        }
        Decision::LiftLock(lock) => unreachable!("{lock}"),
    }
}
