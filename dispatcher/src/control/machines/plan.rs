//! The plan of a clone: reads the machine, its disks, and existing resources with the names of the clone.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use goldfleet_machines::graph::{groups, own_tags};
use goldfleet_machines::plan::{ClonePlan, Cloner};
use goldfleet_machines::request::CloneRequest;
use goldfleet_machines::source::{Source, SourceDisk};
use goldfleet_machines::spec::Row;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::Finding;
use goldfleet_model::resource::{MachineDisk, MachineProperties, ResourceId, ResourceType, tag};
use goldfleet_ports::Ports;
use goldfleet_ports::resources::Resource;
use goldfleet_rates::{Money, Rates};
use serde::Serialize;

use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT, join_findings};
use crate::control::other_tenant;

/// The operations of a job, or the reasons why the machine is not cloned.
#[derive(Debug, Clone)]
pub struct PlannedClone {
    /// The groups of rows. Empty if it is refused.
    pub groups: Vec<Vec<Row>>,
    /// What is not copied, or the reasons for a refusal.
    pub findings: Vec<Finding>,
    /// The clone. None if only the disks are cloned, or if an image is created.
    pub machine: Option<ResourceId>,
    /// The managed image, if one is created.
    pub image: Option<ResourceId>,
    /// The disks, in the order of the source.
    pub disks: Vec<ClonedDisk>,
    /// Whether the source runs now.
    pub runs: bool,
    /// The estimate of the copies between regions. None if the clone is in the region of the source, or refused.
    pub estimate: Option<CloneEstimate>,
}

/// The bytes, the cost and the time of the copies of a clone to another region. The service reports the size of a disk
/// and not how much of it has data, so the figures are upper bounds. Its speed is not documented: the time assumes that
/// of copies between storage accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CloneEstimate {
    /// The sizes of the disks in bytes.
    pub bytes_at_most: u64,
    /// The price of these bytes between the regions, in US dollars.
    pub egress_at_most: Money,
    /// The seconds in which the link between the regions moves the bytes.
    pub seconds_at_most: u64,
}

impl CloneEstimate {
    fn of(plan: &ClonePlan<'_>, rates: &Rates) -> Option<Self> {
        let (from, to) = (&plan.source.body.region, &plan.request.to.region);
        let bytes: u64 = plan.disks.iter().filter_map(|disk| disk.source.size()).sum();
        plan.is_remote().then(|| Self {
            bytes_at_most: bytes,
            egress_at_most: rates.egress_cost(from, to, bytes),
            seconds_at_most: bytes.div_ceil(rates.wan(from, to).max(1)),
        })
    }
}

/// A disk of a clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClonedDisk {
    /// The LUN, or `os`.
    pub lun: String,
    /// The source.
    pub source: ResourceId,
    /// The disk of the clone. None if an image is created.
    pub id: Option<ResourceId>,
    /// The number of bytes, if it is known.
    pub size: Option<u64>,
    /// The performance tier of the disk of the clone, if it is known.
    pub sku: Option<String>,
}

impl PlannedClone {
    /// Whether the machine cannot be cloned, for the reasons in the findings.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.failed)
    }

    /// The reasons of a refusal in one text.
    #[must_use]
    pub fn refusal(&self) -> String {
        join_findings(self.findings.iter().filter(|finding| finding.failed))
    }

    fn refused(findings: Vec<Finding>, runs: bool) -> Self {
        Self { groups: Vec::new(), findings, machine: None, image: None, disks: Vec::new(), runs, estimate: None }
    }
}

/// Plans a clone. Changes nothing.
///
/// # Errors
/// If the machine does not exist, or if a service refuses or cannot be reached. A refusal by goldfleet's own rules is a
/// result.
pub async fn plan(control: &ControlContext, request: &CloneRequest, job: &JobId) -> Result<PlannedClone, ControlError> {
    let source = read_source(control, &request.source).await?;
    let runs = source.machine().is_some_and(|machine| !machine.power_state().is_stopped());
    let subscriptions = (request.source.subscription, request.to.subscription);
    let remedy = "'goldfleet upload --from vm:ID' uploads its disks while it is stopped";
    if let Some(refusal) = other_tenant::refusal(&control.config, subscriptions, &request.source, remedy) {
        return Ok(PlannedClone::refused(vec![refusal], runs));
    }
    let plan = match ClonePlan::new(request, &source) {
        Ok(plan) => plan,
        Err(refusals) => return Ok(PlannedClone::refused(refusals, runs)),
    };
    let rates = Rates::load(control.config.plan.rates.as_deref())?;
    let by = Cloner { fleet: control.ports.table.fleet().await?, job: job.clone() };
    let taken = taken_names(control, &plan, &by).await?;
    if !taken.is_empty() {
        return Ok(PlannedClone::refused(taken, runs));
    }
    let disks = plan.disks.iter().map(|disk| ClonedDisk {
        lun: disk.source.lun(),
        source: disk.source.id.clone(),
        id: disk.id.clone(),
        size: disk.source.size(),
        sku: request.disk_sku.as_deref().or(disk.source.sku()).map(str::to_owned),
    });
    Ok(PlannedClone {
        groups: groups(&plan, &by),
        findings: plan.notes(),
        machine: plan.machine.clone(),
        image: plan.image.clone(),
        disks: disks.collect(),
        runs,
        estimate: CloneEstimate::of(&plan, &rates),
    })
}

/// Reads the machine and its managed disks.
async fn read_source(control: &ControlContext, id: &ResourceId) -> Result<Source, ControlError> {
    if id.resource_type != ResourceType::Machine {
        return Err(ControlError::Refused(format!(
            "{id} is the id of a {}, not of a machine",
            id.resource_type.noun()
        )));
    }
    let found = read(&control.ports, id).await?;
    let found = found.ok_or_else(|| ControlError::Refused(format!("there is no machine {id}")))?;
    let machine = found.body.properties.machine().into_iter();
    let attachments: Vec<MachineDisk> = machine.flat_map(MachineProperties::disks).cloned().collect();
    let disks = stream::iter(attachments).map(|attachment| async move {
        let Some(Ok(id)) = attachment.disk_id().map(str::parse::<ResourceId>) else { return Ok(None) };
        let disk = read(&control.ports, &id).await?;
        Ok::<_, ControlError>(disk.map(|disk| SourceDisk { id, body: disk.body, attachment }))
    });
    let disks: Vec<Option<SourceDisk>> = disks.buffered(MAX_IN_FLIGHT).try_collect().await?;
    // A disk that is missing is a refusal of the plan.
    let disks = disks.into_iter().flatten().collect();
    Ok(Source { id: id.clone(), body: found.body.clone(), disks })
}

/// The names of the clone that other resources have. The steps check this again before they create anything.
async fn taken_names(
    control: &ControlContext,
    plan: &ClonePlan<'_>,
    by: &Cloner,
) -> Result<Vec<Finding>, ControlError> {
    let machine = plan.machine.iter().chain(&plan.image).map(|id| (id.clone(), plan.source.vm_id()));
    let disks = plan.disks.iter().filter_map(|disk| Some((disk.id.clone()?, disk.source.unique_id())));
    let names: Vec<(ResourceId, String)> = machine.chain(disks).collect();
    let checks = stream::iter(names).map(|(id, source)| async move {
        let own = own_tags(by, &source);
        let is_own = |found: &Resource| own.iter().all(|(name, value)| tag(&found.body.tags, name) == Some(value));
        let is_taken = read(&control.ports, &id).await?.is_some_and(|found| !is_own(&found));
        Ok::<_, ControlError>(is_taken.then(|| refusal_of(&id)))
    });
    let taken: Vec<Option<Finding>> = checks.buffered(MAX_IN_FLIGHT).try_collect().await?;
    Ok(taken.into_iter().flatten().collect())
}

fn refusal_of(id: &ResourceId) -> Finding {
    let (code, option) = match id.resource_type {
        ResourceType::Machine => ("machine-foreign", "--name"),
        ResourceType::Image => ("image-foreign", "--name"),
        _ => ("disk-foreign", "--disk-name"),
    };
    Finding::failure(code, id, format!("it exists: choose another name with {option}"))
}

async fn read(ports: &Ports, id: &ResourceId) -> Result<Option<Resource>, ControlError> {
    let read = || ports.resources.get(id, None);
    Ok(ports.retry(read).await?)
}
