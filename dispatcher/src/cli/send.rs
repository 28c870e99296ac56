//! `upload`, `plan` and `dispatch`.

use std::time::Instant;

use goldfleet_shared::config::Coordination;
use goldfleet_shared::model::ids::JobId;
use goldfleet_shared::model::selector::Selector;
use goldfleet_shared::plan::Tree;
use indicatif::HumanBytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::arguments::{ImageArguments, UploadArguments};
use super::error::{CommandError, DONE, INTERRUPTED};
use super::output::{Console, Output, write_json, write_table};
use super::{check, view};
use crate::desk::Desk;
use crate::fanout::{self, JobPlan};
use crate::follow::{Finish, Progress, Style, follow};
use crate::local::Local;
use crate::request::{manifest, request};
use crate::upload::{UploadError, UploadRequest, Uploaded, upload};

/// `goldfleet upload`.
///
/// # Errors
/// [`CommandError`].
pub async fn upload_command(
    desk: &Desk,
    arguments: &UploadArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let asked = UploadRequest {
        file: arguments.file.clone(),
        image: arguments.image.image.clone(),
        version: arguments.image.version.clone(),
        os: arguments.os,
        generation: arguments.generation,
    };
    let progress = Progress::new(Style::fitting(console.output == Output::Json));
    let begun = Instant::now();
    let uploaded = upload(desk, &asked, &|row| progress.upload(row, begun), stop).await;
    progress.end();
    let uploaded = match uploaded {
        Err(UploadError::Refused(report)) => {
            check::write_report(&report, console)?;
            return Err(UploadError::Refused(report).into());
        }
        other => other?,
    };
    say_uploaded(&uploaded, console)?;
    if arguments.no_dispatch {
        if console.output == Output::Json {
            write_json(console.out, &uploaded_json(&uploaded))?;
        }
        return Ok(DONE);
    }
    let requested = request(desk, &asked.image, &asked.version, &[]).await?;
    conclude(desk, &requested.job.id, arguments.wait, console, stop, Some(&uploaded)).await
}

fn uploaded_json(uploaded: &Uploaded) -> serde_json::Value {
    json!({
        "image": uploaded.image.name,
        "version": uploaded.image.version,
        "digest": uploaded.image.digest,
        "already_there": uploaded.already_there,
        "bytes_total": uploaded.counts.bytes_total,
        "bytes_data": uploaded.counts.bytes_data,
        "bytes_sent": uploaded.counts.bytes_sent,
        "bytes_reused": uploaded.counts.bytes_reused,
    })
}

fn say_uploaded(uploaded: &Uploaded, console: &mut Console<'_>) -> Result<(), CommandError> {
    let counts = &uploaded.counts;
    if uploaded.already_there {
        writeln!(console.notes, "{} is already there with this content: nothing was sent", uploaded.image)?;
    } else {
        writeln!(
            console.notes,
            "{} uploaded: {} of data, {} sent, {} were there already",
            uploaded.image,
            HumanBytes(counts.bytes_data),
            HumanBytes(counts.bytes_sent),
            HumanBytes(counts.bytes_reused)
        )?;
    }
    Ok(())
}

/// `goldfleet dispatch`.
///
/// # Errors
/// [`CommandError`].
pub async fn dispatch_command(
    desk: &Desk,
    image: &ImageArguments,
    selection: &[Selector],
    wait: bool,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let requested = request(desk, &image.image, &image.version, selection).await?;
    if !requested.new {
        writeln!(console.notes, "job {} is already doing this", requested.job.id)?;
    }
    conclude(desk, &requested.job.id, wait, console, stop, None).await
}

/// Ends a command that made or re-opened a job: says which, or waits for its end.
///
/// # Errors
/// [`CommandError`].
pub async fn conclude(
    desk: &Desk,
    job: &JobId,
    wait: bool,
    console: &mut Console<'_>,
    stop: &CancellationToken,
    uploaded: Option<&Uploaded>,
) -> Result<u8, CommandError> {
    if !wait {
        if console.output == Output::Json {
            write_json(console.out, &json!({ "job": job, "upload": uploaded.map(uploaded_json) }))?;
        } else {
            writeln!(console.out, "{job}")?;
        }
        writeln!(
            console.notes,
            "see 'goldfleet status {job}'; 'goldfleet dispatcher' and 'goldfleet-worker' do the work"
        )?;
        return Ok(DONE);
    }
    let progress = Progress::new(Style::fitting(console.output == Output::Json));
    // Where coordination is of this machine alone, nobody else may be there to do the work.
    let local = matches!(desk.config.coordination, Coordination::Embedded(_)).then(|| Local::start(desk, true));
    let status = follow(desk, job, Finish::Here, &progress, stop).await;
    if let Some(local) = local {
        local.drain().await;
    }
    let Some(status) = status? else {
        writeln!(
            console.notes,
            "interrupted: job {job} goes on when the work is taken up again, or 'goldfleet cancel {job}'"
        )?;
        return Ok(INTERRUPTED);
    };
    view::write_status(&status, console)?;
    Ok(status.state.exit_code())
}

/// `goldfleet plan`.
///
/// # Errors
/// [`CommandError`].
pub async fn plan_command(
    desk: &Desk,
    image: &ImageArguments,
    selection: &[Selector],
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let (image, manifest) = manifest(desk, &image.image, &image.version).await?;
    let plan = fanout::plan(desk, &image, selection).await?;
    let unique = manifest.unique_bytes();
    let links = links(&plan.tree);
    if console.output == Output::Json {
        let value = json!({
            "image": image.name,
            "version": image.version,
            "digest": image.digest,
            "data_bytes": manifest.data_bytes(),
            "unique_bytes": unique,
            "source": plan.tree.stores.first().map(|planned| &planned.store),
            "links": links.iter().map(|(from, to, wan)| json!({ "from": from, "to": to, "wan": wan, "bytes_at_most": unique }))
                .collect::<Vec<_>>(),
            "targets": plan.targets.iter().map(|(target, name)| json!({ "target": target.key(), "image": name, "ring": target.ring }))
                .collect::<Vec<_>>(),
            "skipped": plan.skipped.iter().map(|(target, _)| target.key()).collect::<Vec<_>>(),
        });
        write_json(console.out, &value)?;
        return Ok(DONE);
    }
    let rows = links.iter().map(|(from, to, _)| {
        let count = plan.targets.iter().filter(|(target, _)| target.region == to.region).count();
        [to.region.to_string(), to.container().to_string(), from.container().to_string(), count.to_string()]
    });
    let own = own_region(&plan);
    write_table(console, &["region", "store", "filled from", "targets"], own.into_iter().chain(rows))?;
    let wan = links.iter().filter(|(.., wan)| *wan).count() as u64;
    writeln!(
        console.out,
        "\n{} targets, {} have it already; {} of data, at most {} over the WAN",
        plan.targets.len() + plan.skipped.len(),
        plan.skipped.len(),
        HumanBytes(manifest.data_bytes()),
        HumanBytes(unique * wan)
    )?;
    Ok(DONE)
}

fn own_region(plan: &JobPlan) -> Option<[String; 4]> {
    let source = &plan.tree.stores.first()?.store;
    let count = plan.targets.iter().filter(|(target, _)| target.region == source.region).count();
    Some([source.region.to_string(), source.container().to_string(), "the upload".to_owned(), count.to_string()])
}

/// From, to, and whether it crosses between regions.
fn links(tree: &Tree) -> Vec<(goldfleet_shared::model::store::Store, goldfleet_shared::model::store::Store, bool)> {
    tree.seeds()
        .filter_map(|(to, from)| {
            let from = from.into_iter().next()?;
            let wan = from.region != to.region;
            Some((from, to.clone(), wan))
        })
        .collect()
}
