//! Queues, tables and stores.

use goldfleet_config::targets::TargetsFile;
use goldfleet_model::ids::AccountName;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::OperationId;
use goldfleet_model::store::{Container, Store};
use goldfleet_model::target::Target;
use goldfleet_model::words::counted;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::inspector::Inspector;

use super::{Accounts, Finding, account};
use crate::control::desk::Desk;

/// Queues and tables.
pub(super) async fn coordination(desk: &Desk) -> Vec<Finding> {
    let queues = futures::future::join_all(QueueName::ALL.map(async |queue| {
        let subject = format!("queue {queue}");
        match desk.ports.queue.depth(queue).await {
            Ok(depth) => Finding::good(subject, format!("there, with {}", counted(depth, "message"))),
            Err(error) => refused(subject, &error, "Storage Queue Data Contributor on the source account"),
        }
    }));
    let (mut findings, tables) = futures::future::join(queues, tables(desk)).await;
    findings.push(match tables {
        Ok(jobs) => Finding::good("tables", format!("there, with {}", counted(jobs, "job"))),
        Err(error) => refused("tables".to_owned(), &error, "Storage Table Data Contributor on the source account"),
    });
    findings
}

/// Both tables are looked at: the one of jobs, and the one of operations.
async fn tables(desk: &Desk) -> PortResult<usize> {
    let jobs = desk.ports.table.jobs().await?;
    let store = desk.config.source.store();
    let any = OperationId::Seed(store);
    let job = jobs.first().map(|job| job.value.id.clone()).or_else(|| "doctor".parse().ok());
    if let Some(job) = job {
        desk.ports.table.operation(&job, &any).await?;
    }
    Ok(jobs.len())
}

/// A store's container.
pub(super) async fn store(desk: &Desk, store: &Store, what: &str) -> Vec<Finding> {
    let subject = format!("{what} {store}");
    let container = store.container();
    vec![match container_is_there(desk, &container).await {
        Ok(true) => Finding::good(subject, "the container can be read"),
        Ok(false) => Finding::bad(
            subject,
            "container-not-found",
            format!("there is no container {container}"),
            "run 'goldfleet setup'",
        ),
        Err(error) => {
            let role = format!("Storage Blob Data Contributor on account {}", container.account);
            refused(subject, &error, &role)
        }
    }]
}

/// A read of a blob that is not there tells a missing container from an empty one.
pub(crate) async fn container_is_there(desk: &Desk, container: &Container) -> PortResult<bool> {
    match desk.ports.blobs.get(&container.blob("goldfleet-doctor"), None).await {
        Ok(_) => Ok(true),
        Err(error) if error.code == "container-not-found" => Ok(false),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether a store's account lets the services of other accounts read it.
pub(super) async fn readable_by_others(
    desk: &Desk,
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
            findings.extend(account::for_chunks(&subject, facts));
            findings.extend(account::for_readers(&subject, facts));
            // A store of a region is itself filled by copies.
            if *name != desk.config.source.account {
                findings.extend(account::for_copies(&subject, facts, false));
            }
        }
        None => findings.push(Finding::warning(
            &subject,
            "account-not-seen",
            "it is in none of the subscriptions that can be looked at, so that its firewall can't be checked",
            "give the identity Reader on the account, or check its firewall by hand",
        )),
    }
    let container = container_of(desk, name, file);
    match inspector.can_share(&container).await {
        Ok(()) => findings.push(Finding::good(&subject, "a user delegation SAS for reading can be made")),
        Err(error) => findings.push(refused(subject, &error, &format!("Storage Blob Delegator on account {name}"))),
    }
    findings
}

fn container_of(desk: &Desk, account: &AccountName, file: &TargetsFile) -> Container {
    let source = desk.config.source.store();
    let stores = file.stores.iter().chain([&source]).map(Store::container);
    let lent = file.targets.iter().map(Target::staging);
    let fallback = source.container();
    stores.chain(lent).find(|container| container.account == *account).unwrap_or(fallback)
}

/// What was refused, and the role that would allow it.
pub(super) fn refused(subject: String, error: &PortError, role: &str) -> Finding {
    let remedy = match error.kind {
        ErrorKind::NotFound => "run 'goldfleet setup'".to_owned(),
        ErrorKind::Denied => format!("give the identity the role {role}; new roles take minutes to hold"),
        ErrorKind::Unavailable | ErrorKind::Throttled => "check the endpoint and the network, and try again".to_owned(),
        _ => "check the configuration".to_owned(),
    };
    Finding::error(subject, error, remedy)
}
