//! The time that other methods need to bring an image to the same targets on the same model: Copy Blob from one page
//! blob, and pre-copies first. Each copy gets all the bandwidth that the limits allow, and is never throttled or
//! retried.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::image::VhdNames;
use goldfleet_model::store::BlobAddress;
use goldfleet_modelled::{LimitMode, Model, Stats};
use goldfleet_ports::clock::TokioClock;
use jiff::Timestamp;

use super::{Rehearsal, RehearsalError};

/// Another method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// Every target copies the same page blob of the source account.
    Star,
    /// The source account first makes a copy for every target but one. Then every target copies a blob that no other
    /// target copies.
    PreCopies,
}

/// The result of a method.
#[derive(Debug, Clone)]
pub struct BaselineResult {
    /// The time to the last image.
    pub last_image: Duration,
    /// The counters of the cloud.
    pub stats: Stats,
}

/// Runs another method in virtual time. It must not be called from inside an async runtime.
///
/// # Errors
/// [`RehearsalError`].
pub fn compare(rehearsal: &Rehearsal, baseline: Baseline) -> Result<BaselineResult, RehearsalError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(run(rehearsal, baseline))
}

async fn run(rehearsal: &Rehearsal, baseline: Baseline) -> Result<BaselineResult, RehearsalError> {
    let clock = Arc::new(TokioClock::starting_at(Timestamp::UNIX_EPOCH));
    let pace = LimitMode::Limited(Box::new(rehearsal.rates.clone()));
    let source = &rehearsal.config.source;
    let model = Model::new(pace, clock, &source.region, rehearsal.seed);
    goldfleet_connect::place_fleet(&model, source, &rehearsal.targets);
    let store = source.store().container();
    let version = &rehearsal.image.image;
    let golden = store.blob("golden.vhd");
    let began = tokio::time::Instant::now();
    model.put_page_blob(&golden, rehearsal.image.artifact.data_bytes())?;
    let targets = &rehearsal.targets.targets;
    let sources: Vec<BlobAddress> = match baseline {
        Baseline::Star => vec![golden; targets.len()],
        Baseline::PreCopies => {
            let copies: Vec<BlobAddress> = (1..targets.len()).map(|n| store.blob(format!("golden-{n}.vhd"))).collect();
            try_join_all(copies.iter().map(|copy| model.copy_blob(&golden, copy))).await?;
            std::iter::once(golden).chain(copies).collect()
        }
    };
    let copies = sources.iter().zip(targets).map(|(from, target)| {
        let (model, to) =
            (&model, target.staging().blob(VhdNames::Flat.name(&version.name, &version.version, DiskRole::Os)));
        async move { model.copy_blob(from, &to).await }
    });
    try_join_all(copies).await?;
    tokio::time::sleep(rehearsal.rates.image()).await;
    Ok(BaselineResult { last_image: began.elapsed(), stats: model.stats() })
}
