//! A run of a sync: lists both sides, looks up what a list does not contain, and decides.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::{StreamExt as _, stream};
use goldfleet_config::Config;
use goldfleet_config::RESERVED_NAME;
use goldfleet_machines::request::Place;
use goldfleet_model::ids::{JobId, Region};
use goldfleet_model::job::Finding;
use goldfleet_ports::Ports;
use goldfleet_rates::Rates;
use goldfleet_snapshots::difference::{Difference, Evidence};
use goldfleet_snapshots::graph::{Graph, Row};
use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::listing::{Coverage, Listing};
use goldfleet_snapshots::measured::Measured;
use goldfleet_snapshots::plan::{Lockable, Note, Plan, Severity};
use goldfleet_snapshots::remove::Lock;
use goldfleet_snapshots::rules::{DeletePolicy, Destination, Rules, Run};
use goldfleet_snapshots::state::SyncState;

use super::RunSpec;
use super::estimate::RunEstimate;
use super::listing::{list, look_up};
use super::state::StoredState;
use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::doctor::probe::known::Known;
use crate::control::doctor::probe::questions::{
    COPY_ACROSS_SUBSCRIPTIONS, COPY_START_ACROSS_SUBSCRIPTIONS, COPY_START_IN_REGION, ENCRYPTION_SET_AT_COPY,
};

/// What a run does and reports.
pub struct PlannedRun {
    /// The groups of rows.
    pub groups: Vec<Vec<Row>>,
    /// What it reports, failures first.
    pub findings: Vec<Finding>,
    /// Replicas to create or to wait for.
    pub copies: usize,
    /// Staged replicas that get their final name.
    pub promotions: usize,
    /// Snapshots to delete, replaced replicas included.
    pub removals: usize,
    /// Replicas that were copied before the sync had locks, and get one.
    pub locks: usize,
    /// The bytes, the cost and the time of copies between regions.
    pub estimate: RunEstimate,
    /// Replicas that are complete already.
    pub complete: usize,
    /// Whether a destination could not be listed completely, and is left out.
    pub is_unlisted: bool,
    /// The state of the sync, and the record that contains it. None if the run found nothing that later runs may use.
    pub(crate) state: Option<(StoredState, SyncState)>,
}

/// Both sides of a sync.
pub(super) struct Sides {
    pub(super) source: Listing,
    pub(super) destinations: Vec<Listing>,
}

/// The rules of a run.
///
/// # Errors
/// [`ControlError::Refused`] if a pattern is not valid, or if the table cannot be read.
pub(super) async fn rules(ports: &Ports, config: &Config, spec: &RunSpec) -> Result<Rules, ControlError> {
    let fleet = ports.table.fleet().await?;
    let invalid = |error| ControlError::Refused(format!("sync {:?}: {error}", spec.sync.name));
    let rules = spec.sync.rules(fleet, &config.tenants).map_err(invalid)?;
    Ok(Rules { replica_name: spec.name.clone(), ..rules })
}

/// What probes measured between the regions of the source and the destinations.
async fn measured(
    control: &ControlContext,
    rules: &Rules,
    source: &Listing,
) -> Result<BTreeMap<(Region, usize), Measured>, ControlError> {
    let known = Known::read(&control.ports).await?;
    let regions: BTreeSet<&Region> = source.snapshots.values().map(|snapshot| &snapshot.region).collect();
    let destinations = || rules.destinations.iter().enumerate();
    let pairs = regions.into_iter().flat_map(|region| destinations().map(move |(index, to)| (region, index, to)));
    Ok(pairs.map(|(region, index, to)| ((region.clone(), index), of_pair(&known, &rules.source, region, to))).collect())
}

fn of_pair(known: &Known, source: &GroupRef, region: &Region, to: &Destination) -> Measured {
    let places = [&place(source, region), &place(&to.group, &to.region)];
    let between = |question| known.between(question, places).map(|found| found.yes);
    let is_near = *region == to.region;
    Measured {
        copy: between(COPY_ACROSS_SUBSCRIPTIONS),
        copy_start: between(if is_near { COPY_START_IN_REGION } else { COPY_START_ACROSS_SUBSCRIPTIONS }),
        encryption_set: known.in_region(ENCRYPTION_SET_AT_COPY, &to.region).map(|found| found.yes),
    }
}

fn place(group: &GroupRef, region: &Region) -> Place {
    let GroupRef { subscription, resource_group } = group.clone();
    Place { subscription, region: region.clone(), resource_group }
}

/// Lists the groups of the source and of all destinations.
pub(super) async fn list_sides(control: &ControlContext, rules: &Rules) -> Sides {
    let destinations = rules.destinations.iter().map(|to| to.group.clone());
    let groups: Vec<_> = std::iter::once(rules.source.clone()).chain(destinations).collect();
    let listed =
        stream::iter(groups).map(|group| async move { list(&control.ports, &group).await }).buffered(MAX_IN_FLIGHT);
    let mut destinations: Vec<Listing> = listed.collect().await;
    let source = destinations.remove(0);
    Sides { source, destinations }
}

/// Plans a run. Changes nothing.
///
/// # Errors
/// [`ControlError::Unlisted`] if the source cannot be listed completely, [`ControlError::Refused`] if the rules contradict
/// each other. Others if the table cannot be read.
pub async fn plan(control: &ControlContext, spec: &RunSpec, job: &JobId) -> Result<PlannedRun, ControlError> {
    let mut rules = rules(&control.ports, &control.config, spec).await?;
    let rates = Rates::load(control.config.plan.rates.as_deref())?;
    let run = Run {
        job: job.clone(),
        now: control.ports.clock.now(),
        allow_empty: spec.allow_empty,
        max_deletes: spec.max_deletes,
    };
    // Only deletions need what earlier runs found.
    let stored = match rules.delete {
        DeletePolicy::Mirror => Some(StoredState::read(control.ports.records.as_ref(), &rules.name).await?),
        DeletePolicy::Never => None,
    };
    let sides = list_sides(control, &rules).await;
    if let Coverage::Incomplete(reason) = &sides.source.coverage {
        let message = format!("the source {} was not listed completely: {reason}", rules.source);
        return Err(ControlError::Unlisted(message));
    }
    rules.measured = measured(control, &rules, &sides.source).await?;
    let is_unlisted = sides.destinations.iter().any(|listing| !listing.is_complete());
    let difference = Difference::new(&rules, &run, &sides.source, &sides.destinations);
    let evidence = look_up_all(&control.ports, difference.lookups()).await;
    let remembered = stored.as_ref().map(|stored| stored.state.clone()).unwrap_or_default();
    let mut plan = difference.decide(&evidence, &remembered);
    if let Some(reason) = &plan.stopped {
        return Err(ControlError::Refused(reason.clone()));
    }
    let unlocked = lock_all(&control.ports, &rules, &mut plan).await;
    let mut findings = findings(&plan, &rules);
    findings.extend(unlocked);
    findings.sort_by_key(|finding| !finding.failed);
    if spec.sync.name == RESERVED_NAME {
        require_all(&rules, &sides.source, &mut findings);
    }
    let state = stored.map(|stored| (stored, plan.state.clone()));
    Ok(PlannedRun {
        groups: Graph::new(&plan, &rules, &run).groups().collect(),
        findings,
        copies: plan.copies.len(),
        promotions: plan.promotions.len(),
        removals: plan.removals.len() + plan.promotions.iter().filter(|one| one.replaces.is_some()).count(),
        locks: plan.locks.len(),
        estimate: RunEstimate::of(&plan.copies, &rules, &rates),
        complete: plan.complete,
        is_unlisted,
        state,
    })
}

/// Adds a lock to the plan for each replica that has no lock of the sync. Returns a finding for each destination whose
/// locks cannot be read: nothing is locked there.
async fn lock_all(ports: &Ports, rules: &Rules, plan: &mut Plan<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lockable = std::mem::take(&mut plan.lockable);
    let places: BTreeSet<usize> = lockable.iter().map(|each| each.destination).collect();
    for place in places {
        let GroupRef { subscription, resource_group } = &rules.destinations[place].group;
        let read = || ports.locks.group_locks(subscription, resource_group, None);
        match ports.retry(read).await {
            Ok(locks) => {
                let own = |lock: &&Lock| lock.name.eq_ignore_ascii_case(&Lock::name_of(&rules.name));
                let ids: HashSet<String> = locks.iter().filter(own).map(|lock| lock.id.to_ascii_lowercase()).collect();
                let lacks = |each: &&Lockable<'_>| {
                    let lock = Lock::at(&each.snapshot.id.to_string(), &Lock::name_of(&rules.name), "");
                    each.destination == place && !ids.contains(&lock.id.to_ascii_lowercase())
                };
                plan.locks.extend(lockable.iter().filter(lacks).copied());
            }
            Err(error) => {
                let message = format!("the locks cannot be read, so replicas without a lock stay without one: {error}");
                findings.push(Finding::failure("locks-unlisted", rules.destinations[place].key(), message));
            }
        }
    }
    findings
}

/// A copy on request names its snapshots. One that does not exist, or that is not copied, is a failure.
fn require_all(rules: &Rules, source: &Listing, findings: &mut Vec<Finding>) {
    for finding in findings.iter_mut() {
        finding.failed |= matches!(finding.code.as_str(), "source-is-replica" | "not-hydrated");
    }
    findings.retain(|finding| finding.code != "source-empty");
    for pattern in &rules.selection.names {
        if !source.snapshots.values().any(|snapshot| pattern.matches(&snapshot.id.name)) {
            let message = format!("there is no snapshot {} that can be copied", pattern.as_str());
            findings.push(Finding::failure("copy-source-not-found", &rules.source, message));
        }
    }
    findings.sort_by_key(|finding| !finding.failed);
}

async fn look_up_all(ports: &Ports, ids: impl IntoIterator<Item = SnapshotId>) -> BTreeMap<SnapshotId, Evidence> {
    stream::iter(ids)
        .map(|id| async move {
            let evidence = look_up(ports, &id).await;
            (id, evidence)
        })
        .buffer_unordered(MAX_IN_FLIGHT)
        .collect()
        .await
}

/// The notes of a plan, the most severe first.
fn findings(plan: &Plan<'_>, rules: &Rules) -> Vec<Finding> {
    let mut notes: Vec<&Note> = plan.notes.iter().collect();
    notes.sort_by_key(|note| std::cmp::Reverse(note.severity));
    let finding = |note: &&Note| {
        let group = note.destination.map(|index| rules.destinations[index].key());
        let place = note.snapshot.as_ref().map(ToString::to_string).or(group);
        let failed = note.severity == Severity::Failure;
        Finding { code: note.code.to_owned(), failed, place, message: note.message.clone() }
    };
    notes.iter().map(finding).collect()
}
