//! The registration of subscriptions for resource providers. A subscription can have resources of a provider only after
//! it was registered for it. Source: Resource Manager, resource providers and types.

use async_trait::async_trait;
use goldfleet_model::ids::SubscriptionId;

use super::error::PortResult;

/// Whether a subscription is registered for a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// It is.
    Registered,
    /// The service is registering it, which takes minutes.
    InProgress,
    /// It is not.
    Missing,
}

/// The registrations of subscriptions. `tenant` is the tenant of a subscription if it differs from that of the
/// identity.
#[async_trait]
pub trait Providers: Send + Sync {
    /// Whether a subscription is registered for the provider with this namespace, such as `Microsoft.Compute`.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn registration(
        &self,
        subscription: &SubscriptionId,
        namespace: &str,
        tenant: Option<&str>,
    ) -> PortResult<Registration>;

    /// Starts to register a subscription. It is not an error if it is registered. Returns the registration afterwards.
    ///
    /// # Errors
    /// `Denied` if the identity may not register it; or if the service refuses or cannot be reached.
    async fn register(
        &self,
        subscription: &SubscriptionId,
        namespace: &str,
        tenant: Option<&str>,
    ) -> PortResult<Registration>;
}
