//! `plan`.

use goldfleet_config::{HumanDuration, UploadRoute};
use goldfleet_model::artifact::LoadedVersion;
use goldfleet_model::selector::Selector;
use goldfleet_model::text::{HumanBytes, pluralize};
use goldfleet_plan::render;
use serde_json::{Value, json};

use super::arguments::ImageArguments;
use super::error::{CommandError, DONE};
use super::output::{Console, Output, write_json};
use super::table::write_table;
use crate::control::artifacts::load_version;
use crate::control::context::ControlContext;
use crate::control::fan_out::{self, JobPlan, TimeLimit};

/// `goldfleet plan`.
///
/// # Errors
/// [`CommandError`].
pub async fn plan_command(
    control: &ControlContext,
    image: &ImageArguments,
    selection: &[Selector],
    within: Option<HumanDuration>,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let version = load_version(&control.ports, &control.config, &image.image, &image.version).await?;
    let speed = TimeLimit::Required(within.or(control.config.plan.within).map(HumanDuration::get));
    let plan = fan_out::plan(&control.ports, &control.config, &version, selection, speed).await?;
    match console.output {
        Output::Json => write_json(console.out, &as_json(&version, &plan))?,
        Output::Svg => write!(console.out, "{}", render::svg(&plan.plan))?,
        Output::Table => write_text(&version, &plan, console)?,
    }
    if control.config.plan.route == UploadRoute::Staging && console.output == Output::Table {
        for finding in &plan.findings {
            writeln!(console.notes, "note: {finding}")?;
        }
    }
    if !control.config.sync.is_empty() {
        writeln!(console.notes, "syncs of snapshots are planned by 'goldfleet snapshots sync --dry-run'")?;
    }
    Ok(DONE)
}

fn as_json(version: &LoadedVersion, plan: &JobPlan) -> Value {
    let (image, unique) = (&version.image, version.unique_bytes());
    let links: Vec<Value> = plan
        .plan
        .links
        .iter()
        .map(|link| {
            let mut link = json!(link);
            link["bytes_at_most"] = json!(unique);
            link
        })
        .collect();
    let targets: Vec<Value> = plan
        .targets
        .iter()
        .map(|(target, name)| {
            let from = plan.plan.sources_for(target).into_iter().next();
            json!({ "target": target.key(), "image": name, "ring": target.ring, "from": from })
        })
        .collect();
    let mut value = json!({
        "image": image.name,
        "version": image.version,
        "digest": image.digest,
        "data_bytes": version.artifact.data_bytes(),
        "unique_bytes": unique,
        "source": plan.plan.tree.stores.first().map(|planned| &planned.store),
        "links": links,
        "targets": targets,
        "skipped": plan.skipped.iter().map(|(target, _)| target.key()).collect::<Vec<_>>(),
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut value, render::json(&plan.plan, &plan.rates)) {
        all.extend(more);
    }
    value["routes"] = render::routes_json(&plan.routes);
    value["galleries"] = json!(plan.galleries);
    value
}

fn write_text(version: &LoadedVersion, plan: &JobPlan, console: &mut Console<'_>) -> std::io::Result<()> {
    if plan.targets.is_empty() {
        let targets = pluralize(plan.skipped.len(), "target");
        writeln!(console.out, "nothing to do: {targets}, all of which have this version already")?;
        return write_galleries(plan, console);
    }
    writeln!(console.out, "{}", render::tree(&plan.plan))?;
    let rows = render::estimates(&plan.plan);
    write_table(console, &render::ESTIMATES, rows)?;
    writeln!(
        console.out,
        "\n{}, {} {} this version already; {} of data, {} over the WAN",
        pluralize(plan.targets.len() + plan.skipped.len(), "target"),
        plan.skipped.len(),
        if plan.skipped.len() == 1 { "has" } else { "have" },
        HumanBytes(version.artifact.data_bytes()),
        render::bytes(plan.plan.estimate.wan_bytes)
    )?;
    writeln!(console.out)?;
    write_table(console, &render::ROUTES, render::routes(&plan.routes))?;
    write_galleries(plan, console)?;
    let points = render::points(&plan.plan);
    if !points.is_empty() {
        writeln!(console.out, "faster plans cost more:\n  {}", points.join("\n  "))?;
    }
    let rates = &plan.rates;
    writeln!(
        console.out,
        "times are lower bounds: the slowest limit, and {} to create the image; the route region also takes two snapshots of \
         {} each, and its prices are those without a golden snapshot\nprices of {}, {}; storage for {} days",
        render::time(plan.plan.estimate.time.image),
        render::time(rates.snapshot()),
        rates.egress.date,
        rates.egress.source,
        rates.storage.days
    )?;
    for finding in &plan.plan.findings {
        writeln!(console.out, "note: {finding}")?;
    }
    Ok(())
}

/// What galleries need in addition to what the route `region` needs.
fn write_galleries(plan: &JobPlan, console: &mut Console<'_>) -> std::io::Result<()> {
    if plan.galleries.is_empty() {
        return Ok(());
    }
    writeln!(console.out)?;
    write_table(console, &render::GALLERIES, render::galleries(&plan.galleries))?;
    let (replication, lag) = plan.rates.gallery();
    writeln!(
        console.out,
        "galleries receive the version by the route region only, besides what is shown for it; the time includes {} for a replication \
         and {} until its version can be used ({})",
        render::time(replication),
        render::time(lag),
        plan.rates.gallery.source
    )
}
