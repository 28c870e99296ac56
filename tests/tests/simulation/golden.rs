//! The golden images that simulations roll out. All simulations share them.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use goldfleet_disk::{Footer, GoldenSpec};
use goldfleet_dispatcher::control::artifacts::load_version;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::upload::{UploadRequest, upload};
use goldfleet_dispatcher::simulate::rehearse;
use goldfleet_model::artifact::LoadedVersion;
use goldfleet_model::image::ImageRef;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_modelled::{LimitMode, Model};
use goldfleet_ports::clock::TokioClock;
use goldfleet_ports::rng;
use goldfleet_sources::DiskFile;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::rng::SimRng;

const MIB: u64 = 1 << 20;
/// The minimum disk size: three chunks, including the data at its end.
pub(crate) const SIZE: u64 = 20 * MIB;

/// The number of extents.
const EXTENTS: u64 = 6;

/// Names and versions, and the id in the footer, which distinguishes a version from its base version.
const VERSIONS: [(&str, &str, u128); 6] = [
    ("golden", "1", 1),
    ("golden", "2", 2),
    ("golden", "3", 3),
    ("golden", "4", 3),
    ("other", "1", 9),
    ("golden", "2", 22),
];

/// An image version.
pub(crate) struct Version {
    pub(crate) image: ImageRef,
    pub(crate) loaded: Arc<LoadedVersion>,
    /// Whether another version with the same name and version comes before it.
    pub(crate) is_twin: bool,
    file: PathBuf,
}

impl Version {
    /// An operator's request to upload it.
    pub(crate) fn upload(&self) -> UploadRequest {
        asked(&self.file, self.image.name.as_str(), self.image.version.as_str())
    }
}

/// All versions.
pub(crate) struct Golden {
    _folder: TempDir,
    pub(crate) versions: Vec<Version>,
}

/// The versions, created at the first call.
pub(crate) fn golden() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    // A separate runtime on a separate thread, because the first caller may be inside a runtime.
    GOLDEN.get_or_init(|| std::thread::spawn(make).join().unwrap())
}

fn make() -> Golden {
    let folder = TempDir::new().unwrap();
    let seeded = rng::seed_thread(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let versions = VERSIONS.iter().enumerate().map(|(n, (name, version, id))| {
        let file = folder.path().join(format!("{name}-{version}-{n}.vhd"));
        write(&file, n as u64, *id);
        let loaded = runtime.block_on(loaded(&asked(&file, name, version)));
        let is_twin = VERSIONS[..n].iter().any(|(other, of, _)| (other, of) == (name, version));
        Version { image: loaded.image.clone(), loaded: Arc::new(loaded), is_twin, file }
    });
    let versions = versions.collect();
    drop(seeded);
    Golden { _folder: folder, versions }
}

/// A disk that differs from the first one by additional data, other data, and missing data.
fn write(path: &Path, n: u64, id: u128) {
    let place = |extent: u64| 2 * MIB + extent * MIB;
    let extents = (0..EXTENTS).map(|extent| (place(extent), 4096 * (1 + extent % 3))).collect();
    GoldenSpec { size: SIZE, generation: Generation::V2, extents, seed: 1 }.write(path).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let rng = SimRng::new(n);
    let byte = u8::try_from(n).unwrap();
    for _ in 0..6 * n.min(1) {
        let (new, other, gone) = (rng.number(0..EXTENTS * MIB / 4096), rng.number(0..EXTENTS), rng.number(0..EXTENTS));
        file.write_all_at(&[byte; 4096], 2 * MIB + new * 4096).unwrap();
        file.write_all_at(&[byte; 512], place(other)).unwrap();
        file.write_all_at(&[0; 2048], place(gone)).unwrap();
    }
    file.write_all_at(&Footer::fixed_for(SIZE, id).to_bytes(), SIZE).unwrap();
}

fn asked(file: &Path, image: &str, version: &str) -> UploadRequest {
    let (image, version) = (image.parse().unwrap(), version.parse().unwrap());
    let check = goldfleet_dispatcher::control::check::ImageChecks::default();
    UploadRequest { source: DiskFile::shared(file), image, version, os: OsType::Linux, check, limit: None }
}

/// The result of an upload of a file.
async fn loaded(asked: &UploadRequest) -> LoadedVersion {
    let config = Arc::new(rehearse::config().unwrap());
    let clock = Arc::new(TokioClock::starting_at(Timestamp::UNIX_EPOCH));
    let model = Model::new(LimitMode::Unlimited, clock, &config.source.region, 0);
    let control = ControlContext::new(model.ports(), config, "test");
    upload(&control, asked, &|_| {}, &CancellationToken::new()).await.unwrap();
    load_version(&control.ports, &control.config, &asked.image, &asked.version).await.unwrap()
}
