//! Checks of a source in the cloud, and of a clone of a machine: the resource groups, and the rights of the identity
//! there. The command names the source, because the configuration does not.

use std::collections::BTreeMap;

use goldfleet_machines::request::Place;
use goldfleet_model::resource::{MachineProperties, ResourceId, VersionRef};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::inspector::Inspector;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_sources::SourceLocation;

use super::access::{
    ACCESS, CLONES, GALLERY_READ, IMAGE_READ, LOCKS_READ, MACHINE_POWER, MACHINE_READ, Needed, RESTORE_POINTS, SCRATCH,
    TEMPORARY_GALLERY,
};
use super::services::access_error;
use super::{Finding, group};
use crate::control::context::ControlContext;
use crate::control::versions::find;

/// The checks that an operator requests in addition to those of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AskedSources {
    /// Sources of `upload --from` and `dispatch --from`.
    pub from: Vec<SourceLocation>,
    /// The place to which machines among the sources are cloned.
    pub clone_to: Option<Place>,
}

/// Checks all sources. A source without problems gives a finding.
pub(super) async fn examine(
    control: &ControlContext,
    inspector: Option<&dyn Inspector>,
    asked: &AskedSources,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for from in &asked.from {
        let subject = format!("source {from}");
        let Some(inspector) = inspector else {
            findings.push(Finding::ok(subject, "this cloud has no rights to check"));
            continue;
        };
        let before = findings.len();
        match groups(control, from, asked.clone_to.as_ref()).await {
            Ok(groups) => {
                for (place, needed) in groups {
                    findings.extend(group::examine(inspector, &subject, &place, &needed).await);
                }
            }
            Err(error) => findings.push(access_error(subject.clone(), &error, "Reader on the source")),
        }
        if findings.len() == before {
            findings.push(Finding::ok(subject, "ready"));
        }
    }
    findings
}

type Groups = BTreeMap<GroupRef, Vec<&'static Needed>>;

/// The groups that a source and its temporaries are in, each with what the identity must be allowed there.
async fn groups(control: &ControlContext, from: &SourceLocation, clone_to: Option<&Place>) -> PortResult<Groups> {
    let mut groups = Groups::new();
    let mut need = |group: GroupRef, sets: &[&'static [Needed]]| {
        groups.entry(group).or_default().extend(sets.iter().copied().flatten());
    };
    match from {
        // Blobs are read by a role on their container, which the check of a store covers.
        SourceLocation::Blob(_) => {}
        SourceLocation::Disk(id) | SourceLocation::Snapshot(id) => need(GroupRef::from(id), &[&SCRATCH, &ACCESS]),
        SourceLocation::Image(id) => {
            need(GroupRef::from(id), &[&IMAGE_READ, &TEMPORARY_GALLERY, &SCRATCH, &ACCESS]);
        }
        SourceLocation::Gallery(VersionRef::Own(id)) => need(GroupRef::from(id), &[&GALLERY_READ]),
        // Its group is not visible. The hubs are checked in any case.
        SourceLocation::Gallery(VersionRef::Shared(_)) => {}
        SourceLocation::Machine(id) => {
            let of_machine = GroupRef::from(id);
            for disk in disks_of(control, id).await? {
                need(GroupRef::from(&disk), &[if clone_to.is_some() { &SCRATCH[..1] } else { &SCRATCH }, &ACCESS]);
            }
            need(of_machine.clone(), &[&MACHINE_READ]);
            if let Some(to) = clone_to {
                need(of_machine.clone(), &[&MACHINE_POWER]);
                let is_near = to.subscription == id.subscription;
                need(if is_near { to.group() } else { of_machine }, &[&SCRATCH, &RESTORE_POINTS]);
                need(to.group(), &[&SCRATCH, &CLONES, &LOCKS_READ]);
            }
        }
    }
    for needed in groups.values_mut() {
        needed.sort_by_key(|needed| needed.name());
        needed.dedup_by_key(|needed| needed.name());
    }
    Ok(groups)
}

/// The managed disks of a machine. None of a machine that does not exist.
async fn disks_of(control: &ControlContext, id: &ResourceId) -> PortResult<Vec<ResourceId>> {
    let found = find(&control.ports, id).await?;
    let machine = found.as_ref().and_then(|found| found.body.properties.machine());
    let disks = machine.into_iter().flat_map(MachineProperties::disks);
    Ok(disks.filter_map(|disk| disk.disk_id()?.parse().ok()).collect())
}
