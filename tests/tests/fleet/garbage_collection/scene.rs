//! A cloud in memory with the contents of a case.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use goldfleet_config::Config;
use goldfleet_disk::chunk::{WindowBuffer, pack, read_window, windows};
use goldfleet_disk::{AzureDisk, DiskReader as _, GoldenSpec};
use goldfleet_dispatcher::control::context::{ControlContext, ControlError};
use goldfleet_dispatcher::control::garbage_collection::{CollectOptions, CollectionReport, collect_garbage};
use goldfleet_model::artifact::{ArtifactRecord, LoadedVersion, Provenance};
use goldfleet_model::checksum::crc64;
use goldfleet_model::ids::JobId;
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Job, JobState, Payload, Subject};
use goldfleet_model::manifest::{ChunkEntry, Generation, Manifest, OsType, chunk_name};
use goldfleet_model::store::{Container, Store};
use goldfleet_model::tree::{PlannedStore, Tree};
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_modelled::{LimitMode, Model};
use goldfleet_ports::Ports;
use goldfleet_ports::chunk_store;
use goldfleet_ports::clock::{TokioClock, before};
use goldfleet_ports::error::ErrorKind;
use goldfleet_tests::intercept::intercepted;
use jiff::Timestamp;

use super::case::{Case, FOREIGN, Meanwhile, STORES, Written};
use super::interference::Interference;

const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// The size in bytes of the disk from which chunks are taken.
const SIZE: u64 = 64 << 20;

fn store(n: usize) -> Store {
    let names = (format!("region{n}").parse(), format!("account{n}").parse(), "golden".parse());
    Store { region: names.0.unwrap(), account: names.1.unwrap(), container: names.2.unwrap() }
}

pub(crate) fn container(n: usize) -> Container {
    store(n).container()
}

/// The `n`th chunk: its bytes and its manifest entry. All chunks are of one disk.
pub(crate) fn chunk(n: usize) -> (Bytes, ChunkEntry) {
    static POOL: OnceLock<Vec<(Bytes, ChunkEntry)>> = OnceLock::new();
    POOL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("golden.vhd");
        GoldenSpec::spread(SIZE, Generation::V2, 1 << 20, 16, 1).write(&file).unwrap();
        let disk = AzureDisk::open(&file).unwrap();
        let (ranges, mut buffer) =
            (disk.data_ranges().collect::<Result<Vec<_>, _>>().unwrap(), WindowBuffer::default());
        let chunks = windows(&ranges, SIZE).filter_map(|window| {
            read_window(&disk, &ranges, &window, &mut buffer).unwrap();
            let packed = pack(&mut buffer, window.start)?;
            let md5 = packed.md5_of_runs(&buffer);
            Some((Bytes::copy_from_slice(&buffer), packed.into_entry(&md5)))
        });
        chunks.collect()
    })[n]
        .clone()
}

pub(crate) fn name_of(n: usize) -> String {
    chunk_name(&chunk(n).1.hash)
}

/// The `n`th version.
fn version(n: usize, chunks: &[usize]) -> LoadedVersion {
    let (name, version) = (format!("image{n}").parse().unwrap(), "1".parse().unwrap());
    let chunks = chunks.iter().map(|n| chunk(*n).1).collect();
    let manifest = Manifest { size: SIZE, footer: [0; 512], chunks };
    LoadedVersion::of_os_disk((&name, &version), (OsType::Linux, Generation::V2), manifest)
}

/// The name and the content of the manifest of a version.
pub(crate) fn manifest_of(n: usize, chunks: &[usize]) -> (String, Bytes) {
    let version = version(n, chunks);
    let (disk, manifest) = version.disks().next().unwrap();
    let ImageRef { name, version, .. } = &version.image;
    (container(0).manifest(name, version, &disk.disk.manifest).name, manifest.encode().into())
}

/// The name and the content of the artifact record of a version.
fn record_of(n: usize, chunks: &[usize]) -> (String, Bytes) {
    let LoadedVersion { image, artifact, .. } = version(n, chunks);
    let (uploaded, by) = (Timestamp::UNIX_EPOCH, "test".to_owned());
    let provenance = Provenance { uploaded, upload: JobId::new(uploaded, 1), by, source: None, system: None };
    let name = container(0).artifact(&image.name, &image.version).name;
    (name, ArtifactRecord { artifact, provenance }.encode().into())
}

/// Writes a version as an upload does: its manifest, and then its record.
async fn put_version(ports: &Ports, store: usize, n: usize, chunks: &[usize]) {
    for (name, body) in [manifest_of(n, chunks), record_of(n, chunks)] {
        put(ports, store, &name, body).await;
    }
}

/// The image of the `n`th version.
fn image(n: usize, chunks: &[usize]) -> ImageRef {
    version(n, chunks).image
}

fn tree(source: usize, others: &[usize]) -> Tree {
    let others = others.iter().filter(|other| **other != source);
    let seeded = others.map(|other| PlannedStore { store: store(*other), parent: Some(0) });
    Tree { stores: std::iter::once(PlannedStore { store: store(source), parent: None }).chain(seeded).collect() }
}

fn job(n: usize, image: ImageRef, state: JobState, tree: Option<Tree>, now: Timestamp) -> Job {
    let payload = Payload { os: OsType::Linux, generation: Generation::V2, size: SIZE, data_bytes: 512, system: None };
    let id: JobId = format!("20260101-0000{n:02}-abcd").parse().unwrap();
    let finished = state.is_terminal().then_some(now);
    Job {
        state,
        tree,
        finished,
        ..goldfleet_dispatcher::control::request::new_job(
            id,
            Subject::Image { image, payload, delivery: None },
            Vec::new(),
            now,
        )
    }
}

/// A cloud with the contents of a case.
struct Scene {
    ports: Ports,
    config: Config,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn build(case: &Case) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = store(case.configured);
        let (at, region, account) = (folder.path().display(), &source.region, &source.account);
        let config = format!(
            "[source]\nsubscription = \"00000000-0000-0000-0000-000000000000\"\nregion = \"{region}\"\n\
             account = \"{account}\"\ncontainer = \"golden\"\n[targets]\nfile = \"{at}/targets.toml\"\n\
             [cleanup]\nchunk_grace = \"24h\"\n"
        );
        std::fs::write(folder.path().join("goldfleet.toml"), config).unwrap();
        let stores: String = case
            .in_targets
            .iter()
            .map(|n| store(*n))
            .map(|store| {
                format!(
                    "[[store]]\nregion = \"{}\"\naccount = \"{}\"\ncontainer = \"golden\"\n",
                    store.region, store.account
                )
            })
            .collect();
        std::fs::write(folder.path().join("targets.toml"), stores).unwrap();
        let config = Config::load(Some(&folder.path().join("goldfleet.toml")), std::iter::empty()).unwrap();
        let clock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let ports = Model::new(LimitMode::Unlimited, clock, &store(0).region, 1).ports();
        let scene = Self { ports, config, _folder: folder };
        scene.fill(case).await;
        scene
    }

    async fn fill(&self, case: &Case) {
        let hold = |old: bool| {
            case.held.iter().enumerate().flat_map(move |(n, held)| {
                held.iter().filter(move |(_, is_old)| *is_old == old).map(move |(chunk, _)| (n, *chunk))
            })
        };
        for n in 0..STORES {
            self.ports.blobs.ensure_container(&container(n)).await.unwrap();
            for name in FOREIGN {
                put(&self.ports, n, name, Bytes::from_static(b"not a chunk")).await;
            }
        }
        for (n, held) in hold(true) {
            put(&self.ports, n, &name_of(held), chunk(held).0).await;
        }
        for (n, version) in case.versions.iter().enumerate() {
            let cut = |text: Bytes| text.slice(..text.len() - 5);
            let (mut manifest, mut record) = (manifest_of(n, &version.chunks), record_of(n, &version.chunks));
            match version.manifest {
                Written::Damaged if n % 2 == 0 => manifest.1 = cut(manifest.1),
                Written::Damaged => record.1 = cut(record.1),
                Written::Whole | Written::GivenUp => {}
            }
            put(&self.ports, version.store, &manifest.0, manifest.1).await;
            // The manifest of a deleted version remains.
            if version.manifest != Written::GivenUp {
                put(&self.ports, version.store, &record.0, record.1).await;
            }
        }
        self.ports.clock.sleep(GRACE + GRACE / 8).await;
        for (n, held) in hold(false) {
            put(&self.ports, n, &name_of(held), chunk(held).0).await;
        }
        let now = self.ports.clock.now();
        for (n, asked) in case.jobs.iter().enumerate() {
            let Some(version) = case.versions.get(asked.version) else { continue };
            let tree = asked.tree.as_ref().map(|others| tree(version.store, others));
            let job = job(n, image(asked.version, &version.chunks), asked.state, tree, now);
            self.ports.table.insert_job(&job).await.unwrap();
        }
    }

    /// The blobs in each store.
    async fn blobs(&self) -> BTreeMap<usize, BTreeSet<String>> {
        let mut all = BTreeMap::new();
        for n in 0..STORES {
            let listed = chunk_store::list(self.ports.blobs.as_ref(), &container(n), "").await.unwrap();
            all.insert(n, listed.into_iter().map(|blob| blob.name).collect());
        }
        all
    }
}

async fn put(ports: &Ports, store: usize, name: &str, body: Bytes) {
    let crc = crc64(&body);
    match ports.blobs.put_blob(&container(store).blob(name), body, crc.into()).await {
        Err(error) if error.kind == ErrorKind::AlreadyExists => {}
        put => put.unwrap(),
    }
}

/// Makes chunks available in a store like uploads and seeds: lists it, renews old chunks and puts missing ones.
async fn have_chunks(ports: &Ports, store: usize, chunks: &[usize]) {
    let present = chunk_store::list_chunks(ports.blobs.as_ref(), &container(store)).await.unwrap();
    for n in chunks {
        let kept = match present.get(&name_of(*n)) {
            Some(listed) => chunk_store::renew_if_old(ports, &container(store), listed, GRACE / 2).await.unwrap(),
            None => false,
        };
        if !kept {
            put(ports, store, &name_of(*n), chunk(*n).0).await;
        }
    }
}

/// The steps of an activity, each with the number of the call before which it runs.
fn steps(ports: &Ports, meanwhile: &Meanwhile) -> Vec<(usize, BoxFuture<'static, ()>)> {
    let mut steps: Vec<(usize, BoxFuture<'static, ()>)> = Vec::new();
    match meanwhile.clone() {
        Meanwhile::Nothing => {}
        Meanwhile::Upload { store, chunks, at } => {
            let now = ports.clock.now();
            let row = Upload::new(JobId::new(now, 1), "image9".parse().unwrap(), "1".parse().unwrap(), now);
            let (ended, of, all) =
                (Upload { state: UploadState::Complete, ..row.clone() }, ports.clone(), chunks.clone());
            steps.push((at[0], Box::pin(async move { of.table.put_upload(&row).await.unwrap() })));
            let of = ports.clone();
            steps.push((at[1], Box::pin(async move { have_chunks(&of, store, &all).await })));
            let of = ports.clone();
            steps.push((at[2], Box::pin(async move { put_version(&of, store, 9, &chunks).await })));
            let of = ports.clone();
            steps.push((at[3], Box::pin(async move { of.table.put_upload(&ended).await.unwrap() })));
        }
        Meanwhile::LongUpload { store, chunks, at } => {
            let now = ports.clock.now();
            let started = before(now, GRACE * 7 / 10);
            let id = JobId::new(started, 1);
            let begun = Upload::new(id, "image9".parse().unwrap(), "1".parse().unwrap(), started);
            let row = Upload { updated: now, ..begun };
            let (ended, of, all) =
                (Upload { state: UploadState::Complete, ..row.clone() }, ports.clone(), chunks.clone());
            let write_begun = async move {
                of.table.put_upload(&row).await.unwrap();
                for n in all {
                    put(&of, store, &name_of(n), chunk(n).0).await;
                }
            };
            steps.push((0, Box::pin(write_begun)));
            let of = ports.clone();
            steps.push((at[0], Box::pin(async move { put_version(&of, store, 9, &chunks).await })));
            let of = ports.clone();
            steps.push((at[1], Box::pin(async move { of.table.put_upload(&ended).await.unwrap() })));
        }
        Meanwhile::Job { source, store, chunks, at } => {
            // Its version was uploaded long ago with another configuration.
            let (of, all) = (ports.clone(), chunks.clone());
            let planned =
                job(20, image(8, &chunks), JobState::Running, Some(tree(source, &[store])), ports.clock.now());
            steps.push((
                at[0],
                Box::pin(async move {
                    put_version(&of, source, 8, &chunks).await;
                    have_chunks(&of, source, &chunks).await;
                }),
            ));
            let of = ports.clone();
            steps.push((at[1], Box::pin(async move { of.table.insert_job(&planned).await.unwrap() })));
            let of = ports.clone();
            steps.push((at[2], Box::pin(async move { have_chunks(&of, store, &all).await })));
        }
    }
    steps
}

/// The result of a case's collection.
pub(crate) struct Ended {
    pub(crate) result: Result<CollectionReport, ControlError>,
    pub(crate) before: BTreeMap<usize, BTreeSet<String>>,
    pub(crate) after: BTreeMap<usize, BTreeSet<String>>,
    pub(crate) hit: bool,
}

pub(crate) async fn run(case: &Case) -> Ended {
    let scene = Scene::build(case).await;
    let before = scene.blobs().await;
    let interference = Arc::new(Interference::new(case.fault, steps(&scene.ports, &case.meanwhile)));
    let control = ControlContext::new(intercepted(&scene.ports, &interference), Arc::new(scene.config.clone()), "test");
    let given_up = case.given_up.iter().map(|n| container(*n)).collect();
    let result = collect_garbage(&control, &CollectOptions { dry_run: case.dry_run, given_up }).await;
    let hit = interference.has_hit();
    interference.steps_before(usize::MAX).await;
    Ended { result, before, after: scene.blobs().await, hit }
}
