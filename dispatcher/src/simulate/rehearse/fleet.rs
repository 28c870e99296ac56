//! Generated fleets and images for rehearsals.

use goldfleet_config::targets::TargetsFile;
use goldfleet_config::{Cloud, Config, ModelledCloud, Source};
use goldfleet_disk::Footer;
use goldfleet_model::artifact::LoadedVersion;
use goldfleet_model::ids::{AccountName, ContainerName, Region, SubscriptionId};
use goldfleet_model::manifest::{CHUNK_SIZE, ChunkEntry, ChunkHash, Generation, Manifest, Md5Sum, OsType, Run};
use goldfleet_model::sink::Sinks;
use goldfleet_model::target::Target;

use super::RehearsalError;
use crate::control::sample_regions::REGIONS;

/// A configuration with default settings, except for a source in the first generated region, and enough requests for
/// all operations of a worker.
///
/// # Errors
/// None in practice: the generated names are valid.
pub fn config() -> Result<Config, RehearsalError> {
    let source = Source {
        subscription: SubscriptionId::nth_for_tests(0),
        region: name(REGIONS[0])?,
        account: name::<AccountName>("goldsource")?,
        container: name::<ContainerName>("golden")?,
    };
    let mut config = Config {
        coordination: Default::default(),
        cloud: Cloud::Modelled(ModelledCloud::default()),
        source,
        targets: Default::default(),
        plan: Default::default(),
        images: Default::default(),
        worker: Default::default(),
        upload: Default::default(),
        dispatch: Default::default(),
        cleanup: Default::default(),
        log: Default::default(),
        tenants: Default::default(),
        sync: Vec::new(),
        file: None,
    };
    config.worker.requests = config.worker.concurrency * config.worker.chunk_requests;
    Ok(config)
}

/// `count` targets, spread evenly over `regions` regions, which include the source's region.
///
/// # Errors
/// [`RehearsalError::Invalid`] if there are not that many regions.
pub fn targets(count: u32, regions: u32) -> Result<TargetsFile, RehearsalError> {
    if regions == 0 || regions as usize > REGIONS.len() {
        let message = format!("{regions} regions cannot be generated: use 1 to {}", REGIONS.len());
        return Err(RehearsalError::Invalid(message));
    }
    let target = |n: u32| -> Result<Target, RehearsalError> {
        let (subscription, region) = (n / regions + 1, n % regions);
        Ok(Target {
            name: None,
            subscription: SubscriptionId::nth_for_tests(subscription),
            region: name::<Region>(REGIONS[region as usize])?,
            resource_group: name("images")?,
            account: name(&format!("stage{subscription:05}{region:02}"))?,
            container: name("vhds")?,
            ring: 0,
            enabled: true,
            tags: Default::default(),
            disk_encryption_set: None,
            sinks: Sinks::default(),
            tenant: None,
        })
    };
    Ok(TargetsFile { targets: (0..count).map(target).collect::<Result<_, _>>()?, ..TargetsFile::default() })
}

/// A disk full of data. `changed` percent of its chunks differ between versions. The data are rounded up to whole
/// chunks.
///
/// # Errors
/// [`RehearsalError::Invalid`] if there are no data, or more than a disk can hold.
pub fn version(data: u64, version: u32, changed: u32) -> Result<LoadedVersion, RehearsalError> {
    let chunks = data.div_ceil(CHUNK_SIZE);
    if chunks == 0 || chunks > 1 << 20 {
        return Err(RehearsalError::Invalid(format!("{data} bytes of data cannot be on a disk: use up to 4 TiB")));
    }
    let size = chunks * CHUNK_SIZE;
    let chunks = (0..chunks).map(|n| {
        let differs = n % 100 < u64::from(changed);
        let content = format!("{n} {}", if differs { version } else { 0 });
        let hash = ChunkHash::of(content.as_bytes());
        // The checksums need not match any bytes, because no bytes exist. They must differ where the content differs.
        let md5 = Md5Sum::of(content.as_bytes());
        let crc64 = goldfleet_model::checksum::crc64(content.as_bytes());
        let length = u32::try_from(CHUNK_SIZE).unwrap_or(u32::MAX);
        ChunkEntry { hash, length, runs: vec![Run { offset: n * CHUNK_SIZE, length, at: 0, crc64, md5 }] }
    });
    let manifest = Manifest {
        size,
        // Every tool that creates a VHD gives it a unique id. Without one, a copy cannot use an earlier version as its
        // base.
        footer: Footer::fixed_for(size, version.into()).to_bytes(),
        chunks: chunks.collect(),
    };
    let (image, version) = (name("rehearsal")?, name(&format!("{version}.0.0"))?);
    Ok(LoadedVersion::of_os_disk((&image, &version), (OsType::Linux, Generation::V2), manifest))
}

fn name<T: std::str::FromStr>(text: &str) -> Result<T, RehearsalError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| RehearsalError::Invalid(format!("{error}")))
}
