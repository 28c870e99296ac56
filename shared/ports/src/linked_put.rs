//! Requests that name a resource of another tenant. Such a request has two tokens: that of its own tenant, and an
//! auxiliary one. Whether a service accepts that for copies is not documented, so only the probe uses it.

use async_trait::async_trait;

use super::error::PortResult;
use super::resources::{ChangeStatus, PutRequest};

/// Creates resources from sources in another tenant.
#[async_trait]
pub trait LinkedPut: Send + Sync {
    /// Begins to create a resource. The request also has a token of `source_tenant`, or of the tenant of the credential
    /// if none is given.
    ///
    /// # Errors
    /// As [`ResourceService::put`](super::resources::ResourceService::put).
    async fn put_linked(&self, request: &PutRequest, source_tenant: Option<&str>) -> PortResult<ChangeStatus>;
}
