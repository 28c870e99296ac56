//! Checks of what `dispatch --from` and the route `region` need besides managed images: the configured hubs, and
//! targets that receive snapshots or disks. A fleet that configures neither is not checked for it.

use goldfleet_config::Config;
use goldfleet_config::UploadRoute;
use goldfleet_config::targets::TargetsFile;
use goldfleet_model::sink::Sink;
use goldfleet_model::target::Target;
use goldfleet_ports::inspector::Inspector;
use goldfleet_snapshots::id::GroupRef;

use super::access::{Needed, SCRATCH, UPLOADS};
use super::finding::subject_of;
use super::{Finding, Level, group};
use crate::control::context::ControlContext;

/// Checks the hubs. Each hub without problems gives a finding.
pub(super) async fn examine(control: &ControlContext, inspector: &dyn Inspector, file: &TargetsFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (region, hub) in &file.hubs {
        let subject = format!("hub {region}");
        let mut found = group::examine(inspector, &subject, &hub.group, &needed()).await;
        if found.is_none() {
            found = upload(&control.config, inspector, &subject, &hub.group).await;
        }
        findings.push(found.unwrap_or_else(|| Finding::ok(subject, "ready")));
    }
    findings
}

/// The right to give and end access to a disk, which the route `region` needs to fill it. A fleet that does not use
/// that route by default gets a warning.
async fn upload(config: &Config, inspector: &dyn Inspector, subject: &str, group: &GroupRef) -> Option<Finding> {
    let needed: Vec<&Needed> = UPLOADS.iter().collect();
    let found = group::examine(inspector, subject, group, &needed).await?;
    Some(match config.plan.route {
        UploadRoute::Region => found,
        UploadRoute::Staging => {
            Finding { level: Level::Warning, message: format!("{}: the route region needs it", found.message), ..found }
        }
    })
}

/// The missing rights at a target. Its snapshots are copied from those of a hub.
pub(super) async fn examine_target(inspector: &dyn Inspector, file: &TargetsFile, target: &Target) -> Option<Finding> {
    let has_copies = target.sinks.has(Sink::Snapshot) || target.sinks.has(Sink::Disk);
    // Copies to another tenant are refused.
    if target.tenant.is_some() || !(has_copies || file.hubs.contains_key(&target.region)) {
        return None;
    }
    let subject = subject_of(target);
    group::examine(inspector, &subject, &GroupRef::from(target), &needed()).await
}

/// Snapshots and disks are created, and removed if they were temporary.
fn needed() -> Vec<&'static Needed> {
    SCRATCH.iter().collect()
}
