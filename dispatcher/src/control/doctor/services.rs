//! Checks of queues, tables and stores.

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

use super::{Accounts, Finding, account};
use goldfleet_config::Config;

/// Checks queues and tables.
pub(super) async fn coordination(ports: &Ports, config: &Config) -> Vec<Finding> {
    let open = ports.table.open_jobs().await.map(|jobs| jobs.len());
    let queues = futures::future::join_all(QueueName::ALL.map(async |queue| {
        let subject = format!("queue {queue}");
        match ports.queue.depth(queue).await {
            Ok(depth) => Finding::ok(subject, describe_queue(queue, depth, open.as_ref().ok().copied())),
            Err(error) => access_error(subject, &error, "Storage Queue Data Contributor on the source account"),
        }
    }));
    let (mut findings, tables) = futures::future::join(queues, tables(ports, config)).await;
    findings.push(match tables {
        Ok(jobs) => Finding::ok("tables", pluralize(jobs, "job")),
        Err(error) => access_error("tables".to_owned(), &error, "Storage Table Data Contributor on the source account"),
    });
    findings
}

/// The number of messages of a queue, and whether it indicates a problem. `open` is the number of jobs that have not
/// ended, if it is known.
fn describe_queue(queue: QueueName, depth: u64, open: Option<usize>) -> String {
    let messages = pluralize(depth, "message");
    match (queue, open) {
        _ if depth == 0 => messages,
        (QueueName::DeadLetter, _) => {
            format!("{messages} of operations that failed; 'goldfleet retry JOB' repeats these")
        }
        (_, Some(0)) => format!("{messages} of jobs that have ended; the next dispatcher or worker removes them"),
        (QueueName::Dispatch, _) => format!("{messages} for the dispatcher"),
        _ => format!("{messages} for workers"),
    }
}

/// Reads both tables: jobs and operations.
async fn tables(ports: &Ports, config: &Config) -> PortResult<usize> {
    let jobs = ports.table.jobs().await?;
    let any = seed::operation_id(&config.source.store(), DiskRole::Os);
    let job = jobs.first().map(|job| job.value.id.clone()).or_else(|| "doctor".parse().ok());
    if let Some(job) = job {
        ports.table.operation(&job, &any).await?;
    }
    Ok(jobs.len())
}

/// Checks the container of a store.
pub(super) async fn store(ports: &Ports, store: &Store, what: &str) -> Vec<Finding> {
    let subject = format!("{what} {store}");
    let container = store.container();
    vec![match container_exists(ports, &container).await {
        Ok(true) => Finding::ok(subject, "the container can be read"),
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
            "it is in none of the subscriptions that can be looked at, so that its firewall cannot be checked",
            "give the identity Reader on the account, or check its firewall by hand",
        )),
    }
    let container = container_of(config, name, file);
    match inspector.can_share(&container).await {
        Ok(()) => findings.push(Finding::ok(&subject, "a user delegation SAS for reading can be made")),
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
        let failed = "3 messages of operations that failed; 'goldfleet retry JOB' repeats these";
        assert_eq!(said(QueueName::DeadLetter, 3, Some(0)), failed);
    }
}
