//! Checks of targets whose cloud is not Azure. Little can be checked there. The findings state this, because a report
//! without findings would look like a successful check.

use futures::stream::{self, StreamExt as _};
use goldfleet_config::Cloud;
use goldfleet_config::Config;
use goldfleet_model::target::Target;
use goldfleet_ports::Ports;

use super::Finding;
use super::finding::subject_of;
use super::services::container_exists;
use crate::control::context::MAX_IN_FLIGHT;

const NOTHING_ELSE: &str = "without subscriptions, permissions or firewalls to examine";

/// The findings for the targets. Empty if the cloud is Azure or there is no target.
pub(super) async fn targets(ports: &Ports, config: &Config, targets: &[&Target]) -> Vec<Finding> {
    if targets.is_empty() {
        return Vec::new();
    }
    match &config.cloud {
        Cloud::Azure(_) => Vec::new(),
        Cloud::Modelled(_) => vec![Finding::ok("cloud", format!("this is a model, {NOTHING_ELSE} at targets"))],
        Cloud::Directory(directory) => {
            let mut findings = blocked_accounts(ports, targets).await;
            let (all, free) = (targets.len(), targets.len() - findings.len());
            let message = format!(
                "{} is a folder, {NOTHING_ELSE}; the account's folder is usable at {free} of {all} enabled \
                 targets (write access was not tested)",
                directory.root.display()
            );
            findings.insert(0, Finding::ok("cloud", message));
            findings
        }
    }
}

/// The targets whose account path is not an accessible directory. A worker creates a directory that does not exist.
async fn blocked_accounts(ports: &Ports, targets: &[&Target]) -> Vec<Finding> {
    let looked = stream::iter(targets)
        .map(async |target| {
            let error = container_exists(ports, &target.staging()).await.err()?;
            let remedy = "remove the file at the path of the account's folder, or check that you may write there";
            Some(Finding::from_port_error(subject_of(target), &error, remedy))
        })
        .buffered(MAX_IN_FLIGHT);
    looked.filter_map(std::future::ready).collect().await
}
