//! The registration for resource providers. Source: Microsoft.Resources 2025-04-01, `Providers_Get` and
//! `Providers_Register`.

use async_trait::async_trait;
use azure_core::http::Method;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::providers::{Providers, Registration};
use serde_json::Value;

use super::arm::ResourceManager;

const VERSION: &str = "2025-04-01";

/// The registrations of the subscriptions that the identity of the process can access.
pub struct AzureProviders {
    arm: ResourceManager,
}

impl AzureProviders {
    /// Opens the registrations behind `arm`.
    #[must_use]
    pub fn new(arm: ResourceManager) -> Self {
        Self { arm }
    }

    async fn call(&self, method: Method, path: &str, tenant: Option<&str>) -> PortResult<Registration> {
        let reply = self.arm.call(method, path, VERSION, None, tenant).await?.check_status(path)?;
        match reply.body.get("registrationState").and_then(Value::as_str) {
            Some("Registered") => Ok(Registration::Registered),
            Some("Registering") => Ok(Registration::InProgress),
            Some(_) => Ok(Registration::Missing),
            None => {
                let message = format!("{path}: the answer has no registration state");
                Err(PortError::new(ErrorKind::Unavailable, message))
            }
        }
    }
}

fn path(subscription: &SubscriptionId, namespace: &str) -> String {
    format!("/subscriptions/{subscription}/providers/{namespace}")
}

#[async_trait]
impl Providers for AzureProviders {
    async fn registration(
        &self,
        subscription: &SubscriptionId,
        namespace: &str,
        tenant: Option<&str>,
    ) -> PortResult<Registration> {
        self.call(Method::Get, &path(subscription, namespace), tenant).await
    }

    async fn register(
        &self,
        subscription: &SubscriptionId,
        namespace: &str,
        tenant: Option<&str>,
    ) -> PortResult<Registration> {
        self.call(Method::Post, &format!("{}/register", path(subscription, namespace)), tenant).await
    }
}
