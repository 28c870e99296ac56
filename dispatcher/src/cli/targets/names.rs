//! Display names of subscriptions, from Azure.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use goldfleet_config::Config;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_runtime::process;

use crate::cli::output::Console;
use crate::control::context::MAX_IN_FLIGHT;

/// The maximum wait for all names. Names are optional: targets are generated without them too.
const DISPLAY_NAMES_TIMEOUT: Duration = Duration::from_secs(30);

/// The display names of subscriptions that can be read. None if the cloud is not Azure.
///
/// # Errors
/// If the async runtime cannot be started, or the console cannot be written to.
pub(super) fn of(
    config: &Config,
    subscriptions: &[SubscriptionId],
    console: &mut Console<'_>,
) -> std::io::Result<BTreeMap<SubscriptionId, String>> {
    if config.azure_cloud().is_none() || subscriptions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let runtime = process::runtime()?;
    let names =
        runtime.block_on(async { tokio::time::timeout(DISPLAY_NAMES_TIMEOUT, read(config, subscriptions)).await });
    runtime.shutdown_background();
    match names {
        Ok(Ok(names)) => Ok(names),
        Ok(Err(reason)) => {
            writeln!(console.notes, "display names of subscriptions cannot be read: {reason}")?;
            Ok(BTreeMap::new())
        }
        Err(_) => {
            writeln!(
                console.notes,
                "display names of subscriptions cannot be read: no answer within {DISPLAY_NAMES_TIMEOUT:?}"
            )?;
            Ok(BTreeMap::new())
        }
    }
}

async fn read(config: &Config, subscriptions: &[SubscriptionId]) -> Result<BTreeMap<SubscriptionId, String>, String> {
    let Some(inspector) = goldfleet_connect::open_inspector(config).map_err(|error| error.to_string())? else {
        return Ok(BTreeMap::new());
    };
    inspector.sign_in().await.map_err(|error| error.to_string())?;
    let names = stream::iter(subscriptions)
        .map(async |id| (*id, inspector.subscription_name(id, None).await))
        .buffer_unordered(MAX_IN_FLIGHT)
        .collect::<Vec<_>>()
        .await;
    // A subscription that may not be read has no name.
    Ok(names.into_iter().filter_map(|(id, name)| Some((id, name.ok()??))).collect())
}
