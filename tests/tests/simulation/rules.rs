//! The allowed changes of rows: a second definition of `docs/lifecycle.md`.

use goldfleet_model::event::Event;
use goldfleet_model::job::JobState;
use goldfleet_model::operation::Operation;
use jiff::Timestamp;

/// The states of an operation, and the events between them.
const OPERATION: &[(&[&str], &str, &str)] = &[
    (&["waiting"], "open", "waiting"),
    (&["waiting"], "release", "ready"),
    (&["waiting"], "block", "cancelled"),
    (&["waiting", "ready"], "cancel", "cancelled"),
    (&["ready"], "claim", "running"),
    (&["running"], "defer", "ready"),
    (&["running"], "drain", "ready"),
    (&["running"], "retry", "ready"),
    (&["running"], "expire", "ready"),
    (&["running"], "cancel", "cancelling"),
    (&["running", "cancelling"], "succeed", "succeeded"),
    (&["ready", "running", "cancelling"], "fail", "failed"),
    (&["cancelling"], "stop", "cancelled"),
    (&["cancelling"], "expire", "cancelled"),
    (&["succeeded", "failed", "cancelled"], "retry-requested", "ready"),
    (&["succeeded", "failed", "cancelled"], "retry-deferred", "waiting"),
];

/// The states of a job, and the events between them.
const JOB: &[(&[&str], &str, &str)] = &[
    (&["requested"], "planned", "running"),
    (&["requested"], "reject", "failed"),
    (&["requested", "running"], "cancel", "cancelling"),
    (&["running"], "approve", "running"),
    (&["running", "cancelling"], "succeed", "succeeded"),
    (&["running", "cancelling"], "fail", "failed"),
    (&["running", "cancelling"], "stop", "cancelled"),
    (&["failed", "cancelled"], "retry", "running"),
    (&["cancelled"], "retry", "requested"),
];

/// Checks that events lead from one state to another.
fn lead(rules: &[(&[&str], &str, &str)], from: &str, to: &str, events: &[&Event]) -> Result<(), String> {
    let mut state = from;
    for event in events {
        let known =
            rules.iter().any(|(from, what, to)| from.contains(&state) && *what == event.what && *to == event.to);
        if event.from != state || !known {
            return Err(format!("by '{}' from {} to {}, being {state}", event.what, event.from, event.to));
        }
        state = event.to.as_str();
    }
    if state == to { Ok(()) } else { Err(format!("from {from} to {to} by events that lead to {state}")) }
}

/// Checks a write of a job.
pub(crate) fn job(before: JobState, now: JobState, events: &[Event]) -> Result<(), String> {
    lead(JOB, before.as_str(), now.as_str(), &events.iter().collect::<Vec<_>>())
}

/// The errors in a write of an operation. `now` is the latest time of any clock.
pub(crate) fn operation(
    before: &Operation,
    after: &Operation,
    events: &[&Event],
    process: &str,
    now: Timestamp,
) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(lead(OPERATION, before.state.as_str(), after.state.as_str(), events).err());
    let by = |what: &str| events.iter().filter(|event| event.what == what).count();
    if let Some(lease) = &before.lease {
        let expired = by("expire") > 0;
        if expired && lease.expires > now {
            wrong.push(format!("{}'s lease was ended before it ran out", lease.holder));
        }
        // Other processes may only cancel it for an operator, or write its time, so that its ETag changes: a retry does
        // that, and a process that still stops the earlier operations of the job then finds another version.
        let only_time = *after == Operation { updated: after.updated, ..before.clone() };
        if !expired && by("cancel") == 0 && !only_time && lease.holder != process {
            wrong.push(format!("{} holds the lease", lease.holder));
        }
        let kept = after.lease.as_ref().is_none_or(|after| after.token == lease.token);
        if !kept && by("claim") == 0 {
            wrong.push("another lease took its place".to_owned());
        }
    } else if after.lease.is_some() && by("claim") == 0 {
        wrong.push("a lease appeared".to_owned());
    }
    if after.attempts as usize != before.attempts as usize + by("claim") {
        wrong.push(format!("{} attempts became {}", before.attempts, after.attempts));
    }
    let (old, new) = (&before.progress, &after.progress);
    if new.bytes_moved < old.bytes_moved {
        wrong.push(format!("{} bytes moved became {}", old.bytes_moved, new.bytes_moved));
    }
    let same = new.incarnation.is_some() && new.incarnation == old.incarnation;
    if same && new.done.count() < old.done.count() {
        wrong.push(format!("{} chunks of one blob became {}", old.done.count(), new.done.count()));
    }
    if after.state.is_leased() != after.lease.is_some() {
        wrong.push(format!("it is {} with lease {:?}", after.state, after.lease));
    }
    wrong
}
