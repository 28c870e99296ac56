//! Checks of queues, tables and stores.

use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_kinds::seed;
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::AccountName;
use goldfleet_model::message::QueueName;
use goldfleet_model::store::{Container, Store};
use goldfleet_model::target::Target;
use goldfleet_model::text::pluralize;
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::inspector::Inspector;
use goldfleet_ports::listing::{ROW_DAMAGED, UnreadableRow};

use super::{Accounts, Finding, account};
use crate::control::dead_letters::{DeadLetters, StaleLetters, examine};
use crate::control::explain;

/// Checks queues and tables.
pub(super) async fn coordination(ports: &Ports, config: &Config) -> Vec<Finding> {
    let open = ports.table.list_open_jobs().await.map(|jobs| jobs.rows.len());
    let queues = futures::future::join_all(QueueName::ALL.map(async |queue| {
        let subject = format!("queue {queue}");
        match ports.queue.depth(queue).await {
            Ok(depth) if queue == QueueName::DeadLetter && depth > 0 => dead_letters_found(ports, subject, depth).await,
            Ok(depth) => Finding::ok(subject, describe_queue(queue, depth, open.as_ref().ok().copied())),
            Err(error) => access_error(subject, &error, "Storage Queue Data Contributor on the source account"),
        }
    }));
    let (mut findings, tables) = futures::future::join(queues, tables(ports, config)).await;
    findings.push(match tables {
        Ok(jobs) => Finding::ok("tables", pluralize(jobs, "job")),
        Err(error) => access_error("tables".to_owned(), &error, "Storage Table Data Contributor on the source account"),
    });
    findings.extend(unreadable_rows(ports).await.unwrap_or_default());
    findings
}

/// The rows that cannot be read: of jobs, of uploads, and of the operations of open jobs.
async fn unreadable_rows(ports: &Ports) -> PortResult<Vec<Finding>> {
    let jobs = ports.table.list_jobs().await?.unreadable;
    let uploads = ports.table.list_uploads().await?.unreadable;
    let mut operations = Vec::new();
    for job in ports.table.list_open_jobs().await?.rows {
        operations.extend(ports.table.unreadable_operations(&job.value.id).await?);
    }
    let finding = |what: &str, row: UnreadableRow| {
        let remedy = explain::remedy(ROW_DAMAGED).unwrap_or_default();
        Finding::error(format!("{what} {}", row.id), ROW_DAMAGED, row.to_string(), remedy)
    };
    let of = |what: &'static str, rows: Vec<UnreadableRow>| rows.into_iter().map(move |row| finding(what, row));
    Ok(of("job", jobs).chain(of("operation", operations)).chain(of("upload", uploads)).collect())
}

/// The number of messages of a queue, and whether it indicates a problem. `open` is the number of jobs that have not
/// ended, if it is known.
fn describe_queue(queue: QueueName, depth: u64, open: Option<usize>) -> String {
    let messages = pluralize(depth, "message");
    match (queue, open) {
        _ if depth == 0 => messages,
        (_, Some(0)) => format!("{messages} of jobs that have ended; the next dispatcher or worker removes them"),
        (QueueName::Dispatch, _) => format!("{messages} for the dispatcher"),
        _ => format!("{messages} for workers"),
    }
}

/// The dead letters. Only those of operations that still are failed need somebody.
async fn dead_letters_found(ports: &Ports, subject: String, depth: u64) -> Finding {
    match examine(ports, StaleLetters::Keep).await {
        Ok(letters) => Finding::ok(subject, describe_letters(&letters)),
        // The identity may count messages, and not receive them.
        Err(error) => Finding::ok(subject, format!("{}; they cannot be read: {error}", pluralize(depth, "message"))),
    }
}

/// The jobs that a finding about dead letters names.
const JOBS_NAMED: usize = 3;

fn describe_letters(letters: &DeadLetters) -> String {
    let DeadLetters { failed, stale, unreadable, more } = letters;
    let mut parts = Vec::new();
    if !failed.is_empty() {
        let count = pluralize(failed.values().sum::<usize>(), "operation");
        let jobs: Vec<String> =
            failed.keys().rev().take(JOBS_NAMED).map(|job| format!("goldfleet retry {job}")).collect();
        let others = if failed.len() > JOBS_NAMED { ", and so on" } else { "" };
        parts.push(format!("messages of {count} that failed; to repeat: {}{others}", jobs.join(", ")));
    }
    if *stale > 0 {
        let count = pluralize(*stale, "message");
        parts.push(format!("{count} of operations that were retried since; the dispatcher deletes these"));
    }
    if *unreadable > 0 {
        parts.push(format!("{} that cannot be read", pluralize(*unreadable, "message")));
    }
    if parts.is_empty() {
        // Another process examines them at this moment.
        parts.push("no message can be read at this moment".to_owned());
    }
    if *more { format!("{}; there are more", parts.join("; ")) } else { parts.join("; ") }
}

/// Reads both tables: jobs and operations.
async fn tables(ports: &Ports, config: &Config) -> PortResult<usize> {
    let jobs = ports.table.list_jobs().await?.rows;
    let any = seed::operation_id(&config.source.store(), DiskRole::Os);
    let job = jobs.first().map(|job| job.value.id.clone()).or_else(|| "doctor".parse().ok());
    if let Some(job) = job {
        match ports.table.operation(&job, &any).await {
            Err(error) if error.code != ROW_DAMAGED => return Err(error),
            _ => {}
        }
    }
    Ok(jobs.len())
}

/// Checks the container of a store.
pub(super) async fn store(ports: &Ports, config: &Config, store: &Store, what: &str) -> Vec<Finding> {
    let subject = format!("{what} {store}");
    let is_source = *store == config.source.store();
    let first = if is_source { "the first upload" } else { "the first job that needs it" };
    let container = store.container();
    vec![match container_exists(ports, &container).await {
        Ok(true) => Finding::ok(subject, "the container can be read"),
        // A folder needs no rights of its own, and the first command that writes to the store creates it.
        Ok(false) if config.azure_cloud().is_none() => {
            Finding::ok(subject, format!("there is no container {container} yet: {first} creates it"))
        }
        Ok(false) => Finding::error(
            subject,
            "container-not-found",
            format!("there is no container {container}"),
            "run 'goldfleet setup'",
        ),
        Err(error) => {
            let role = format!("Storage Blob Data Contributor on account {}", container.account);
            access_error(subject, &error, &role)
        }
    }]
}

/// Reading a blob that does not exist distinguishes a missing container from an empty one.
pub(crate) async fn container_exists(ports: &Ports, container: &Container) -> PortResult<bool> {
    match ports.blobs.get(&container.blob("goldfleet-doctor"), None).await {
        Ok(_) => Ok(true),
        Err(error) if error.code == "container-not-found" => Ok(false),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Checks whether the account of a store lets the services of other accounts read it.
pub(super) async fn readable_by_others(
    config: &Config,
    inspector: &dyn Inspector,
    name: &AccountName,
    file: &TargetsFile,
    accounts: &Accounts,
) -> Vec<Finding> {
    let subject = format!("store account {name}");
    let mut findings = Vec::new();
    let facts = accounts.values().flatten().flatten().find(|facts| facts.name == *name);
    match facts {
        Some(facts) => {
            findings.extend(account::check_for_chunks(&subject, facts));
            findings.extend(account::check_for_readers(&subject, facts));
            // The store of a region also receives copies.
            if *name != config.source.account {
                findings.extend(account::check_for_copies(&subject, facts, false));
            }
        }
        None => findings.push(Finding::warning(
            &subject,
            "account-not-seen",
            "it is in no subscription that the identity can read, so its firewall was not checked",
            "give the identity Reader on the account, or check its firewall by hand",
        )),
    }
    let container = container_of(config, name, file);
    match inspector.can_share(&container).await {
        Ok(()) => findings.push(Finding::ok(&subject, "a user delegation SAS for reading can be created")),
        Err(error) => {
            findings.push(access_error(subject, &error, &format!("Storage Blob Delegator on account {name}")));
        }
    }
    findings
}

fn container_of(config: &Config, account: &AccountName, file: &TargetsFile) -> Container {
    let source = config.source.store();
    let stores = file.stores.iter().chain([&source]).map(Store::container);
    let lent = file.targets.iter().map(Target::staging);
    let fallback = source.container();
    stores.chain(lent).find(|container| container.account == *account).unwrap_or(fallback)
}

/// A finding for a refused request, with the role that would allow it.
pub(super) fn access_error(subject: String, error: &PortError, role: &str) -> Finding {
    let remedy = match error.kind {
        ErrorKind::NotFound => "run 'goldfleet setup'".to_owned(),
        ErrorKind::Denied => format!("give the identity the role {role}; a new role is effective after some minutes"),
        ErrorKind::Unavailable | ErrorKind::Throttled => "check the endpoint and the network, and try again".to_owned(),
        _ => "check the configuration".to_owned(),
    };
    Finding::from_port_error(subject, error, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that waits for its job may leave a message in the queue. It is harmless, and must not look like a
    /// fault.
    #[test]
    fn messages_are_explained() {
        let said = |queue, depth, open| describe_queue(queue, depth, open);
        assert_eq!(said(QueueName::Dispatch, 0, Some(0)), "0 messages");
        let left = "1 message of jobs that have ended; the next dispatcher or worker removes them";
        assert_eq!(said(QueueName::Dispatch, 1, Some(0)), left);
        assert_eq!(said(QueueName::Dispatch, 2, Some(1)), "2 messages for the dispatcher");
        assert_eq!(said(QueueName::Copy, 2, None), "2 messages for workers");
        let job = |n: usize| (format!("20261121-041502-000{n}").parse().unwrap(), n);
        let letters = DeadLetters { failed: [job(1), job(2)].into(), stale: 1, ..DeadLetters::default() };
        assert_eq!(
            describe_letters(&letters),
            "messages of 3 operations that failed; to repeat: goldfleet retry 20261121-041502-0002, goldfleet retry \
             20261121-041502-0001; 1 message of operations that were retried since; the dispatcher deletes these"
        );
        let unreadable = DeadLetters { unreadable: 2, more: true, ..DeadLetters::default() };
        assert_eq!(describe_letters(&unreadable), "2 messages that cannot be read; there are more");
    }
}
