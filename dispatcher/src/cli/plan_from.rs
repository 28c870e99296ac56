//! `plan --from`.

use std::time::Duration;

use goldfleet_model::selector::Selector;
use goldfleet_model::text::{HumanBytes, duration, pluralize};
use goldfleet_rates::Rates;
use serde_json::json;

use super::error::{CommandError, DONE};
use super::output::{Console, Output, write_json};
use super::table::write_table;
use super::view;
use crate::control::context::{ControlContext, ControlError};
use crate::control::platform::estimate::{GalleryCopy, RegionCopy, gallery_copies, region_copies};
use crate::control::platform::plan::PlannedDelivery;
use crate::control::platform::request::{PlatformRequest, preview};

/// `goldfleet plan --from SOURCE`: what `goldfleet dispatch --from SOURCE` would do.
///
/// # Errors
/// [`CommandError`]. The command refuses what a dispatch would refuse.
pub(super) async fn run(
    control: &ControlContext,
    request: &PlatformRequest,
    selection: &[Selector],
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let planned = preview(control, request, selection).await?;
    let rates = Rates::load(control.config.plan.rates.as_deref()).map_err(ControlError::from)?;
    let copies = (region_copies(&planned.delivery, &rates), gallery_copies(&planned.delivery, &rates));
    match console.output {
        Output::Json => write_as_json(request, &planned, &copies, console)?,
        Output::Table | Output::Svg => write_text(request, &planned, &copies, console)?,
    }
    Ok(DONE)
}

fn write_as_json(
    request: &PlatformRequest,
    PlannedDelivery { delivery, findings }: &PlannedDelivery,
    (copies, galleries): &(Vec<RegionCopy>, Vec<GalleryCopy>),
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let targets = delivery.targets.iter().map(|planned| {
        json!({
            "target": planned.target.key(),
            "name": planned.name,
            "ring": planned.target.ring,
            "sinks": planned.target.sinks.iter().collect::<Vec<_>>(),
            "done": planned.is_done,
        })
    });
    let value = json!({
        "from": request.from.to_string(),
        "region": delivery.source.region(),
        "bytes": delivery.size(),
        "image": request.image,
        "version": request.version,
        "copies": copies,
        "galleries": galleries,
        "targets": targets.collect::<Vec<_>>(),
        "findings": findings,
    });
    Ok(write_json(console.out, &value)?)
}

fn write_text(
    request: &PlatformRequest,
    PlannedDelivery { delivery, findings }: &PlannedDelivery,
    (copies, galleries): &(Vec<RegionCopy>, Vec<GalleryCopy>),
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let done = delivery.targets.iter().filter(|planned| planned.is_done).count();
    let size = delivery.size().map_or_else(|| "an unknown size".to_owned(), |size| HumanBytes(size).to_string());
    writeln!(
        console.out,
        "{} ({size}, in {}) as {} {}: {}, of which {done} have this version already\n",
        request.from,
        delivery.source.region(),
        request.image,
        request.version,
        pluralize(delivery.targets.len(), "target"),
    )?;
    let rows = delivery.to_do().map(|planned| {
        let sinks: Vec<String> = planned.target.sinks.iter().map(|sink| sink.to_string()).collect();
        let ring = planned.target.ring.to_string();
        let place = view::named_place(planned.target.name.as_deref(), &planned.target.key().to_string());
        [place, ring, sinks.join(", "), planned.name.to_string()]
    });
    write_table(console, &["target", "ring", "receives", "name"], rows)?;
    write_galleries(galleries, console)?;
    if !copies.is_empty() {
        writeln!(console.out)?;
        let rows = copies.iter().map(|copy| {
            [
                copy.to.to_string(),
                copy.hub.clone(),
                copy.targets.to_string(),
                HumanBytes(copy.bytes_at_most).to_string(),
                copy.egress_at_most.to_string(),
                duration(Duration::from_secs(copy.seconds_at_most)),
            ]
        });
        write_table(console, &["copy to", "hub", "targets", "at most", "egress at most", "time at most"], rows)?;
        writeln!(
            console.out,
            "\nthe service does not report how much of a disk is data; the speed of its copies is not documented, and \
             assumed to be that of copies between storage accounts"
        )?;
    }
    Ok(view::write_findings(findings, console)?)
}

fn write_galleries(galleries: &[GalleryCopy], console: &mut Console<'_>) -> std::io::Result<()> {
    if galleries.is_empty() {
        return Ok(());
    }
    writeln!(console.out)?;
    let rows = galleries.iter().map(|copy| {
        [
            copy.gallery.clone(),
            copy.region.to_string(),
            copy.regions.to_string(),
            copy.replicas.to_string(),
            if copy.done { "has this version".to_owned() } else { copy.egress_at_most.to_string() },
            if copy.done { String::new() } else { copy.storage_at_most.to_string() },
        ]
    });
    write_table(console, &["gallery", "region", "regions", "replicas", "egress at most", "storage at most"], rows)
}
