//! What a run of a sync costs before it copies anything: the lists of a source and a destination with 10,000 snapshots
//! each, and the difference, with 100 new snapshots. The pages are parsed from JSON as the Azure adapter does. They are
//! made one by one, so that the memory of the process is that of the run; the time that this takes is part of the CPU
//! time.
//!
//! The exit code is 1 if a bound is exceeded.
#![expect(clippy::print_stdout, reason = "a benchmark's results are what it prints")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use goldfleet_config::{HumanDuration, Sync, SyncDestination};
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::snapshots::RunSpec;
use goldfleet_dispatcher::control::snapshots::run::plan;
use goldfleet_model::ids::{JobId, SubscriptionId};
use goldfleet_model::image::VhdNames;
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{
    ChangeStatus, MachineAction, Pending, PutRequest, Resource, ResourcePage, ResourceQuery, ResourceService,
};
use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::rules::{DeletePolicy, Speed};
use goldfleet_snapshots::snapshot::Snapshot;
use goldfleet_snapshots::tags::ReplicaTags;
use goldfleet_tests::bench::size;
use goldfleet_tests::fleet::InProcessFleet;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// The snapshots of a disk.
const FAMILY: usize = 10;

/// The snapshots in a page of a list. Azure names no number; this one is small.
const PAGE: usize = 100;

/// The bounds of the release build, from the requirement.
const MAX_CPU_SECONDS: f64 = 5.0;
const MAX_MEMORY_MIB: u64 = 96;

fn main() -> anyhow::Result<()> {
    let (count, new) = (size(10_000, 200), size(100, 5));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(count, new))
}

async fn measure(count: usize, new: usize) -> anyhow::Result<()> {
    let fleet = InProcessFleet::new();
    let service = Arc::new(Generated {
        sources: count + new,
        replicas: count,
        fleet: fleet.ports.table.fleet().await?,
        requests: AtomicUsize::new(0),
    });
    let ports = goldfleet_ports::Ports { resources: service.clone(), ..fleet.ports.clone() };
    let control = ControlContext::new(ports, Arc::clone(&fleet.config), "bench");
    let spec = RunSpec { sync: sync(), allow_empty: false, max_deletes: None, name: None };
    let before = cpu_seconds()?;
    let planned = plan(&control, &spec, &JobId::new(time(0), 1)).await?;
    let cpu = cpu_seconds()? - before;
    ensure!((planned.complete, planned.copies) == (count, new), "{} of {}", planned.complete, planned.copies);
    let requests = service.requests.load(Ordering::Relaxed);
    let pages = (count + new).div_ceil(PAGE) + count.div_ceil(PAGE);
    let rows: usize = planned.groups.iter().map(Vec::len).sum();
    let memory = status_kib("VmHWM").context("the memory of the process")? / 1024;
    println!("{} snapshots at the source, {count} replicas, {new} to copy in {rows} rows", count + new);
    println!("  requests: {requests}, of which {pages} pages of {PAGE}");
    println!("  CPU: {cpu:.2} s, the making of the pages included (at most {MAX_CPU_SECONDS})");
    println!("  peak memory of the process: {memory} MiB (at most {MAX_MEMORY_MIB})");
    ensure!(requests == pages, "a run without absent sources makes no further requests");
    if !goldfleet_tests::bench::is_short() {
        ensure!(cpu <= MAX_CPU_SECONDS && memory <= MAX_MEMORY_MIB, "over the bound");
    }
    Ok(())
}

fn group(subscription: u32, name: &str) -> GroupRef {
    let subscription = SubscriptionId::nth_for_tests(subscription);
    #[expect(clippy::unwrap_used, reason = "constants")]
    GroupRef { subscription, resource_group: name.parse().unwrap() }
}

fn sync() -> Sync {
    let to = group(2, "replicas");
    #[expect(clippy::unwrap_used, reason = "a constant")]
    let region = "eastus".parse().unwrap();
    Sync {
        name: "citrix".to_owned(),
        from: group(1, "snaps"),
        tags: BTreeMap::from([("SnapReplicate".to_owned(), "Replicate".to_owned())]),
        exclude_tags: BTreeMap::new(),
        names: vec!["ctx-*".to_owned()],
        exclude_names: Vec::new(),
        families: Vec::new(),
        min_age: None,
        max_age: None,
        to: vec![SyncDestination {
            subscription: to.subscription,
            region,
            resource_group: to.resource_group,
            disk_encryption_set: None,
            disk_access: None,
        }],
        delete: DeletePolicy::Mirror,
        keep: None,
        max_deletes: 5,
        grace: HumanDuration::seconds(24 * 60 * 60),
        every: None,
        lock: false,
        speed: Speed::Standard,
        scratch: None,
    }
}

/// A service whose lists have this many snapshots.
struct Generated {
    sources: usize,
    replicas: usize,
    fleet: Uuid,
    requests: AtomicUsize,
}

fn time(number: usize) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + i64::try_from(number).unwrap_or_default()).unwrap_or_default()
}

fn unique(number: usize) -> Uuid {
    Uuid::from_u128(number as u128)
}

/// A source snapshot in the form that Azure returns. Source of the members: azure-cli, `test_completion_percent.yaml`.
fn source(number: usize) -> Value {
    let id = SnapshotId::new(group(1, "SNAPS"), &format!("ctx-machine-{:04}-{number:06}", number / FAMILY));
    let disk = format!("{}/disks/ctx-{:04}", id.group, number / FAMILY);
    json!({
        "id": id, "name": id.name, "type": "Microsoft.Compute/snapshots", "location": "westeurope",
        "sku": { "name": "Standard_ZRS", "tier": "Standard" },
        "tags": { "SnapReplicate": "Replicate", "owner": "payments", "machine": format!("ctx-{:04}", number / FAMILY) },
        "properties": {
            "osType": "Windows", "hyperVGeneration": "V2", "provisioningState": "Succeeded", "diskState": "Unattached",
            "diskSizeGB": 127, "diskSizeBytes": 136_367_308_800_u64, "uniqueId": unique(number), "timeCreated": time(number),
            "incremental": true, "incrementalSnapshotFamilyId": unique(10_000_000 + number / FAMILY),
            "completionPercent": 100.0, "networkAccessPolicy": "AllowAll", "publicNetworkAccess": "Enabled",
            "encryption": { "type": "EncryptionAtRestWithPlatformKey" },
            "securityProfile": { "securityType": "TrustedLaunch" },
            "supportedCapabilities": { "diskControllerTypes": "SCSI, NVMe", "acceleratedNetwork": true, "architecture": "x64" },
            "creationData": {
                "createOption": "Copy", "sourceResourceId": disk, "sourceUniqueId": unique(20_000_000 + number / FAMILY),
            },
        },
    })
}

impl Generated {
    /// The replica of a source.
    fn replica(&self, number: usize) -> PortResult<Value> {
        let invalid = |error: String| PortError::new(ErrorKind::Invalid, error);
        let mut value = source(number);
        let of = Snapshot::from_json(&value).map_err(|error| invalid(error.to_string()))?;
        let own = ReplicaTags::of(&of, self.fleet, "citrix").to_map(&JobId::new(time(0), 1));
        let id = SnapshotId::new(group(2, "REPLICAS"), &of.id.name);
        (value["id"], value["location"]) = (json!(id), json!("eastus"));
        if let Some(tags) = value["tags"].as_object_mut() {
            tags.remove("SnapReplicate");
            tags.extend(own.into_iter().map(|(name, value)| (name, Value::from(value))));
        }
        value["properties"]["uniqueId"] = json!(unique(30_000_000 + number));
        value["properties"]["incrementalSnapshotFamilyId"] = json!(unique(40_000_000 + number / FAMILY));
        value["properties"]["creationData"] = json!({
            "createOption": "CopyStart", "sourceResourceId": of.id, "sourceUniqueId": of.unique_id,
        });
        Ok(value)
    }
}

fn unused<T>() -> PortResult<T> {
    Err(PortError::new(ErrorKind::Unavailable, "the run made a request that the benchmark does not expect"))
}

#[async_trait]
impl ResourceService for Generated {
    fn vhd_names(&self) -> VhdNames {
        VhdNames::Flat
    }

    fn blob_url(&self, blob: &BlobAddress) -> String {
        blob.to_string()
    }

    async fn get(&self, _id: &ResourceId, _tenant: Option<&str>) -> PortResult<Option<Resource>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        unused()
    }

    async fn list(&self, query: &ResourceQuery, marker: Option<&str>) -> PortResult<ResourcePage> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let first: usize = marker.and_then(|marker| marker.parse().ok()).unwrap_or_default();
        let is_source = query.subscription == SubscriptionId::nth_for_tests(1);
        let count = if is_source { self.sources } else { self.replicas };
        let last = (first + PAGE).min(count);
        let items = (first..last).map(|n| if is_source { Ok(source(n)) } else { self.replica(n) });
        let body = json!({ "value": items.collect::<PortResult<Vec<Value>>>()? }).to_string();
        // From here on as the adapter does.
        let mut parsed: Value = serde_json::from_str(&body).unwrap_or_default();
        drop(body);
        let mut page = ResourcePage { next: (last < count).then(|| last.to_string()), ..ResourcePage::default() };
        for item in parsed["value"].as_array_mut().map(std::mem::take).unwrap_or_default() {
            if let Some(Ok(id)) = item["id"].as_str().map(str::parse::<ResourceId>) {
                page.add(query, id, item);
            }
        }
        Ok(page)
    }

    async fn put(&self, _request: &PutRequest) -> PortResult<ChangeStatus> {
        unused()
    }

    async fn delete(&self, _id: &ResourceId, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        unused()
    }

    async fn act(&self, _id: &ResourceId, _action: MachineAction, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        unused()
    }

    async fn poll(&self, _pending: &Pending) -> PortResult<ChangeStatus> {
        unused()
    }
}

/// The CPU time of all threads of the process.
fn cpu_seconds() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program is in parentheses and may contain spaces. Source: proc_pid_stat(5), fields 14 and 15.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok());
    Ok((ticks(14).context("utime")? + ticks(15).context("stime")?) / 100.0)
}

/// A line of `/proc/self/status` in KiB.
fn status_kib(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}
