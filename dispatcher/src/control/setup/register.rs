//! Registers subscriptions for the resource providers that goldfleet needs there.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_ports::Ports;
use goldfleet_ports::backoff::Backoff;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::providers::{Providers, Registration};
use goldfleet_ports::retry::retry_transient;

use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::snapshots::groups_of;

/// The provider of images, disks and snapshots.
pub const COMPUTE: &str = "Microsoft.Compute";
/// The provider of storage accounts.
pub const STORAGE: &str = "Microsoft.Storage";

/// How long to wait for a registration. Azure names no time; it takes a few minutes.
const LONGEST: Duration = Duration::from_secs(600);

/// The first time between two polls of a registration.
const FIRST_POLL: Duration = Duration::from_secs(1);

/// The longest time between two polls.
const LAST_POLL: Duration = Duration::from_secs(15);

/// What happened to a registration.
#[derive(Debug)]
pub enum RegisterOutcome {
    /// The subscription was registered before.
    Registered,
    /// It was registered now.
    New,
    /// The service accepted the registration, and has not finished it.
    InProgress,
    /// It is not registered, and nothing was changed, because a dry run was requested.
    Missing,
    /// It could not be read or registered.
    Failed(PortError),
}

/// The registration of a subscription for a provider.
#[derive(Debug)]
pub struct RegisterResult {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The namespace of the provider.
    pub namespace: &'static str,
    /// What happened.
    pub outcome: RegisterOutcome,
}

/// Registers the subscriptions of the configuration, of enabled targets and of syncs for the providers that goldfleet
/// needs in each, and waits until they are registered. With `dry_run`, nothing is changed.
///
/// # Errors
/// If the targets file cannot be read. A subscription that cannot be registered is part of the result.
pub async fn register(
    control: &ControlContext,
    providers: &dyn Providers,
    dry_run: bool,
) -> Result<Vec<RegisterResult>, ControlError> {
    let wanted = wanted(&control.config)?;
    let registered = stream::iter(wanted)
        .map(async |((subscription, namespace), tenant)| {
            let tenant = tenant.as_deref();
            let outcome = one(&control.ports, providers, &subscription, namespace, tenant, dry_run).await;
            RegisterResult { subscription, namespace, outcome: outcome.unwrap_or_else(RegisterOutcome::Failed) }
        })
        .buffered(MAX_IN_FLIGHT);
    Ok(registered.collect().await)
}

/// The registrations that the configuration needs, each with the tenant of its subscription.
fn wanted(config: &Config) -> Result<BTreeMap<(SubscriptionId, &'static str), Option<String>>, ControlError> {
    let mut wanted = BTreeMap::from([((config.source.subscription, STORAGE), None)]);
    for group in config.sync.iter().flat_map(groups_of) {
        wanted.insert((group.subscription, COMPUTE), None);
    }
    // A configuration for syncs alone needs no targets file.
    if config.targets.file.exists() {
        let file = TargetsFile::load(&config.targets.file)?;
        for target in file.targets.iter().filter(|target| target.enabled) {
            for namespace in [COMPUTE, STORAGE] {
                wanted.insert((target.subscription, namespace), target.tenant.clone());
            }
        }
    }
    Ok(wanted)
}

async fn one(
    ports: &Ports,
    providers: &dyn Providers,
    subscription: &SubscriptionId,
    namespace: &str,
    tenant: Option<&str>,
    dry_run: bool,
) -> PortResult<RegisterOutcome> {
    let clock = ports.clock.as_ref();
    let read = || providers.registration(subscription, namespace, tenant);
    let mut state = retry_transient(clock, PortError::is_retryable, read).await?;
    if state == Registration::Registered {
        return Ok(RegisterOutcome::Registered);
    }
    if dry_run {
        return Ok(match state {
            Registration::InProgress => RegisterOutcome::InProgress,
            _ => RegisterOutcome::Missing,
        });
    }
    if state == Registration::Missing {
        let register = || providers.register(subscription, namespace, tenant);
        state = retry_transient(clock, PortError::is_retryable, register).await?;
    }
    let (began, waits) = (clock.now(), Backoff::new(FIRST_POLL, LAST_POLL));
    let mut polls = 0;
    while state != Registration::Registered && elapsed(began, clock.now()) < LONGEST {
        clock.sleep(waits.wait(polls)).await;
        polls += 1;
        state = retry_transient(clock, PortError::is_retryable, read).await?;
    }
    Ok(if state == Registration::Registered { RegisterOutcome::New } else { RegisterOutcome::InProgress })
}
