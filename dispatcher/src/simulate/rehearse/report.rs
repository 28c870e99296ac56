//! The report of a rehearsal.

use std::collections::BTreeMap;
use std::time::Duration;

use goldfleet_config::UploadRoute;
use goldfleet_model::store::Store;
use goldfleet_model::tree::Tree;
use goldfleet_modelled::{Limit, Stats};
use goldfleet_plan::estimate::Estimate;
use serde::Serialize;

use super::run::PublishedGallery;
use super::{Rehearsal, RunResult};

/// The share of the time from which a limit counts as binding.
const BINDING_SHARE: f64 = 0.8;

/// Bytes that were transferred from one region to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Link {
    /// The source region.
    pub from: String,
    /// The destination region.
    pub to: String,
    /// Bytes of chunks, which are copied from server to server.
    pub bytes: u64,
    /// These bytes, as a multiple of the image's data.
    pub times_data: f64,
    /// Bytes that workers sent or received: footers, and manifests of a source in another region.
    pub sent: u64,
}

/// The utilisation of a limit by the busiest blob, account or link to which it applies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// The limit.
    pub limit: Limit,
    /// The blob, account or link.
    pub name: String,
    /// The share of the time, from 0 to 1, in which it was busy. The time for creating an image is not counted.
    pub share: f64,
}

/// A store that the plan filled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FilledStore {
    /// The store.
    pub store: String,
    /// The store from which it was filled.
    pub from: String,
}

/// The plan's estimate: a lower bound, as if all rings ran at the same time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EstimateSummary {
    /// Seconds to the last image.
    pub seconds: f64,
    /// Seconds of these for creating an image.
    pub image_seconds: f64,
    /// The limit that binds.
    pub binds: String,
    /// Bytes between regions.
    pub wan_bytes: u64,
    /// The cost of these bytes in US dollars.
    pub egress_usd: f64,
}

impl From<&Estimate> for EstimateSummary {
    fn from(estimate: &Estimate) -> Self {
        Self {
            seconds: estimate.time.total.as_secs_f64(),
            image_seconds: estimate.time.image.as_secs_f64(),
            binds: estimate.time.binds.to_string(),
            wan_bytes: u64::try_from(estimate.wan_bytes).unwrap_or(u64::MAX),
            egress_usd: estimate.cost.egress.dollars(),
        }
    }
}

/// The same job for one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SingleTarget {
    /// The target that is hardest to reach.
    pub target: String,
    /// Seconds to its image.
    pub seconds: f64,
}

/// The job by one route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteReport {
    /// The route.
    pub route: String,
    /// Seconds from the request to the last image.
    pub last_image_seconds: f64,
    /// The estimate of that, a lower bound.
    pub estimate_seconds: f64,
    /// Served writes of pages.
    pub page_writes: u64,
    /// Served writes and deletions of Resource Manager.
    pub management_writes: u64,
    /// Served reads of Resource Manager.
    pub management_reads: u64,
    /// Bytes between regions.
    pub wan_bytes: u64,
    /// The estimated cost of egress in US dollars.
    pub egress_usd: f64,
    /// The estimated cost of requests in US dollars.
    pub requests_usd: f64,
    /// The estimated cost of storage in US dollars.
    pub storage_usd: f64,
    /// Operations that did not succeed.
    pub failed: usize,
    /// Whether, by its checksums, every staged VHD or golden snapshot contains the complete disk.
    pub whole: bool,
}

impl RouteReport {
    pub(super) fn new(route: UploadRoute, run: &RunResult) -> Self {
        let served = |kinds: &[&str]| -> u64 { kinds.iter().filter_map(|kind| run.stats.requests.get(kind)).sum() };
        let planned = run.routes.iter().find(|planned| planned.route == route.as_str());
        let estimate = planned.map_or(&run.estimate, |planned| &planned.estimate);
        Self {
            route: route.to_string(),
            last_image_seconds: run.last_image.as_secs_f64(),
            estimate_seconds: estimate.time.total.as_secs_f64(),
            page_writes: served(&["put page", "put page from url"]),
            management_writes: served(&["resource manager write", "resource manager delete"]),
            management_reads: served(&["resource manager read"]),
            wan_bytes: run.stats.wan_bytes(),
            egress_usd: estimate.cost.egress.dollars(),
            requests_usd: estimate.cost.requests.dollars(),
            storage_usd: estimate.cost.storage.dollars(),
            failed: run.failed,
            whole: run.whole,
        }
    }
}

/// A gallery that the job published to by the route `region`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GalleryReport {
    /// The name.
    pub gallery: String,
    /// The number of regions.
    pub regions: usize,
    /// The number of replicas in all regions.
    pub replicas: u32,
    /// Seconds from the request until the version was ready in all regions. None if it was not published.
    pub ready_seconds: Option<f64>,
    /// The estimate of that.
    pub estimate_seconds: f64,
    /// The estimated cost of replication in US dollars.
    pub egress_usd: f64,
    /// The estimated cost of the replicas in US dollars.
    pub storage_usd: f64,
}

impl From<&PublishedGallery> for GalleryReport {
    fn from(PublishedGallery { estimate, ready }: &PublishedGallery) -> Self {
        Self {
            gallery: estimate.gallery.clone(),
            regions: estimate.regions,
            replicas: estimate.replicas,
            ready_seconds: ready.map(|ready| ready.as_secs_f64()),
            estimate_seconds: estimate.time.as_secs_f64(),
            egress_usd: estimate.egress.dollars(),
            storage_usd: estimate.storage.dollars(),
        }
    }
}

/// The results of a rehearsal. All values except `real_seconds` are the same in every run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The image.
    pub image: String,
    /// Its version.
    pub version: String,
    /// Bytes of its data, without zero runs.
    pub data_bytes: u64,
    /// The number of its chunks.
    pub chunks: usize,
    /// The number of targets.
    pub targets: usize,
    /// The number of regions with targets.
    pub regions: usize,
    /// The number of workers.
    pub workers: usize,
    /// Requests in flight in each worker.
    pub worker_requests: usize,
    /// Seconds from the request to the first image.
    pub first_image_seconds: f64,
    /// Seconds from the request to the last image.
    pub last_image_seconds: f64,
    /// The same job for the one target that is hardest to reach.
    pub single: SingleTarget,
    /// The time to the last image, as a multiple of the time of the single target.
    pub times_single: f64,
    /// The plan's estimate.
    pub estimate: EstimateSummary,
    /// The time to the last image, as a multiple of the estimate.
    pub times_estimate: f64,
    /// The plan: which store was filled from which.
    pub stores: Vec<FilledStore>,
    /// Links between regions that carried bytes.
    pub links: Vec<Link>,
    /// Bytes over all links, including those of workers.
    pub wan_bytes: u64,
    /// Served requests, by kind.
    pub requests: BTreeMap<&'static str, u64>,
    /// Throttled requests, by limit.
    pub throttles: BTreeMap<Limit, u64>,
    /// The utilisation of each limit, highest first.
    pub shares: Vec<Share>,
    /// The limit with the highest utilisation, if it was busy nearly all of the time. None if the workers are the
    /// limit: their requests in flight, heartbeats and polls of queues.
    pub binds: Option<Limit>,
    /// Operations that did not succeed.
    pub failed: usize,
    /// Whether, by its checksums, the VHD of every target contains the complete disk.
    pub whole: bool,
    /// The same job by each route.
    pub routes: Vec<RouteReport>,
    /// The galleries, which the route `region` publishes to.
    pub galleries: Vec<GalleryReport>,
    /// Seconds of real time that the rehearsal took.
    pub real_seconds: f64,
}

impl Report {
    pub(super) fn new(
        rehearsal: &Rehearsal,
        played: &RunResult,
        single: SingleTarget,
        (routes, galleries): (Vec<RouteReport>, Vec<GalleryReport>),
        real: Duration,
    ) -> Self {
        let image = &rehearsal.image.image;
        let data = rehearsal.image.artifact.data_bytes();
        let links = links(&played.stats, data);
        let estimate = EstimateSummary::from(&played.estimate);
        let last = played.last_image.as_secs_f64();
        let shares = shares(&played.stats, last - estimate.image_seconds);
        Self {
            image: image.name.to_string(),
            version: image.version.to_string(),
            data_bytes: data,
            chunks: rehearsal.image.chunks().count(),
            targets: rehearsal.targets.targets.len(),
            regions: rehearsal.regions().len(),
            workers: rehearsal.workers(),
            worker_requests: rehearsal.config.worker.requests,
            first_image_seconds: played.first_image.as_secs_f64(),
            last_image_seconds: last,
            times_single: last / single.seconds,
            single,
            times_estimate: last / estimate.seconds,
            estimate,
            stores: played.tree.iter().flat_map(Tree::seeds).map(filled).collect(),
            wan_bytes: played.stats.wan_bytes(),
            links,
            requests: played.stats.requests.clone(),
            throttles: played.stats.throttles.clone(),
            binds: shares.first().filter(|first| first.share >= BINDING_SHARE).map(|first| first.limit),
            shares,
            failed: played.failed,
            whole: played.whole,
            routes,
            galleries,
            real_seconds: real.as_secs_f64(),
        }
    }
}

fn filled((store, from): (&Store, Vec<Store>)) -> FilledStore {
    FilledStore { store: store.to_string(), from: from.first().map_or_else(String::new, Store::to_string) }
}

fn links(stats: &Stats, data: u64) -> Vec<Link> {
    stats
        .wan()
        .map(|link| Link {
            from: link.from.to_string(),
            to: link.to.to_string(),
            bytes: link.copied,
            times_data: as_f64(link.copied) / as_f64(data.max(1)),
            sent: link.sent,
        })
        .collect()
}

fn shares(stats: &Stats, seconds: f64) -> Vec<Share> {
    let mut shares: Vec<Share> = stats
        .busiest
        .iter()
        .map(|busiest| Share {
            limit: busiest.limit,
            name: busiest.name.clone(),
            share: busiest.busy.as_secs_f64() / seconds.max(0.001),
        })
        .collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
