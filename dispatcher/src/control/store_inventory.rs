//! The store inventory for the planner: chunks that earlier jobs and other versions left in stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::StreamExt as _;
use goldfleet_config::Config;
use goldfleet_model::hash::ChunkHash;
use goldfleet_model::ids::Region;
use goldfleet_model::manifest::{CHUNKS, chunk_name};
use goldfleet_model::store::{Container, Store};
use goldfleet_model::target::Target;
use goldfleet_plan::{Inventory, PlanContent};
use goldfleet_ports::Ports;
use goldfleet_ports::chunk_store;
use goldfleet_ports::error::{ErrorKind, PortResult};

use crate::control::context::MAX_IN_FLIGHT;

/// The number of newest jobs that are searched for stores. Chunks that older jobs left in other stores are ignored:
/// reading tens of thousands of jobs for each plan would cost more than copying these chunks again.
const MAX_JOBS_READ: usize = 200;

/// Finds out which of the chunks are in the stores that a plan is likely to use: configured stores, the staging
/// container of each region's first target, and staging containers of targets that one of the newest jobs used as a
/// store.
///
/// # Errors
/// If the job table cannot be reached. A store that cannot be inspected counts as empty, which affects only the cost of
/// the plan.
pub async fn read_inventory(
    ports: &Ports,
    config: &Config,
    configured: &BTreeMap<Region, Vec<Store>>,
    targets: &[&Target],
    content: &PlanContent,
) -> PortResult<Inventory> {
    let names: HashMap<String, ChunkHash> = content.hashes().map(|hash| (chunk_name(hash), *hash)).collect();
    let stores = candidate_stores(ports, config, configured, targets).await?;
    let looks: Vec<(Container, Vec<ChunkHash>)> = futures::stream::iter(stores)
        .map(|store| {
            let names = &names;
            async move {
                let held = chunks_in_store(ports, &store, names).await;
                (store, held)
            }
        })
        .buffer_unordered(MAX_IN_FLIGHT)
        .collect()
        .await;
    let mut inventory = Inventory::default();
    for (store, held) in looks {
        for chunk in held {
            inventory.insert(store.clone(), chunk);
        }
    }
    Ok(inventory)
}

async fn candidate_stores(
    ports: &Ports,
    config: &Config,
    configured: &BTreeMap<Region, Vec<Store>>,
    targets: &[&Target],
) -> PortResult<BTreeSet<Container>> {
    let mut stores: BTreeSet<Container> = configured.values().flatten().map(Store::container).collect();
    let mut first: BTreeMap<&Region, &Target> = BTreeMap::new();
    for target in targets {
        first.entry(&target.region).or_insert(target);
    }
    stores.extend(first.into_values().map(Target::staging));
    let staging: BTreeSet<Container> = targets.iter().map(|target| target.staging()).collect();
    for job in ports.table.list_newest_jobs(MAX_JOBS_READ).await?.rows {
        stores.extend(job.value.stores().filter(|store| staging.contains(store)));
    }
    // The source store has all chunks.
    stores.remove(&config.source.store().container());
    Ok(stores)
}

async fn chunks_in_store(ports: &Ports, store: &Container, names: &HashMap<String, ChunkHash>) -> Vec<ChunkHash> {
    match chunk_store::list(ports.blobs.as_ref(), store, CHUNKS).await {
        Ok(listed) => listed.iter().filter_map(|blob| names.get(&blob.name).copied()).collect(),
        Err(error) if error.kind == ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(%store, %error, "a store cannot be checked: planned as if it were empty");
            Vec::new()
        }
    }
}
