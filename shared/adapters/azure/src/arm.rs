//! A thin client of Resource Manager on the SDK's pipeline: requests with an api-version, and operations that take their
//! time.

use std::time::Duration;

use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{Context, Method, Pipeline, PipelineSendOptions, Request, Url};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::connection::Connection;
use super::error::{ErrorResponse, port_error, retry_after};
use super::failure::{error, failure_of_operation};
use super::policies::Tenant;

/// How long to wait before asking again where the service does not say.
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(5);

const ASYNC_OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");
const LOCATION: HeaderName = HeaderName::from_static("location");

/// Resource Manager, as the process's identity.
#[derive(Clone)]
pub struct ResourceManager {
    endpoint: Url,
    pipeline: Pipeline,
}

/// What Resource Manager answers.
pub(super) struct ArmResponse {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Value,
}

/// Where to ask how far an operation is. Addresses are opaque, may hold a signature, and stay in memory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(super) enum PollTarget {
    /// At the address of the operation, whose answer says its status.
    Operation {
        /// The address.
        url: String,
    },
    /// At the address of the result: 202 until there is one.
    Result {
        /// The address.
        url: String,
    },
    /// At the resource itself.
    Resource,
}

/// How far an operation is.
pub(super) enum OperationStatus {
    Done,
    InProgress(PollTarget, Duration),
    Failed(PortError),
}

impl ResourceManager {
    /// Resource Manager at `endpoint`.
    ///
    /// # Errors
    /// Where `endpoint` is no address.
    pub fn new(connection: &Connection, endpoint: &str) -> PortResult<Self> {
        let endpoint = Url::parse(endpoint).map_err(|error| {
            PortError::new(ErrorKind::Invalid, format!("resource_manager_endpoint {endpoint:?}: {error}"))
        })?;
        let scope = format!("{}/.default", connection.identity().environment.resource_manager());
        Ok(Self { endpoint, pipeline: connection.pipeline(&scope) })
    }

    /// A request to the resource at `path` (which begins with a slash), and its answer, whatever it is.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        api_version: &str,
        body: Option<&Value>,
        tenant: Option<&str>,
    ) -> PortResult<ArmResponse> {
        let base = self.endpoint.as_str().trim_end_matches('/');
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = Url::parse(&format!("{base}{path}{separator}api-version={api_version}"))
            .map_err(|error| PortError::new(ErrorKind::Invalid, format!("{path}: {error}")))?;
        self.send(Request::new(url, method), body, tenant, path).await
    }

    /// The resource at `path`; none where it is not there. A resource group or subscription that is not there is an error.
    pub(super) async fn get(&self, path: &str, api_version: &str, tenant: Option<&str>) -> PortResult<Option<Value>> {
        let reply = self.call(Method::Get, path, api_version, None, tenant).await?;
        match reply.error_of_response() {
            None => Ok(Some(reply.body)),
            Some(refusal)
                if refusal.status == 404 && matches!(refusal.code.as_str(), "ResourceNotFound" | "NotFound") =>
            {
                Ok(None)
            }
            Some(refusal) => Err(error(refusal, path)),
        }
    }

    /// Asks how far an operation is. None where the address is no longer known, or not ours to ask: then the resource tells.
    pub(super) async fn poll(
        &self,
        poll: &PollTarget,
        tenant: Option<&str>,
        what: &str,
    ) -> PortResult<Option<OperationStatus>> {
        let (PollTarget::Operation { url } | PollTarget::Result { url }) = poll else { return Ok(None) };
        let Ok(url) = Url::parse(url) else { return Ok(None) };
        let reply = self.send(Request::new(url, Method::Get), None, tenant, what).await?;
        let wait = reply.wait();
        match (poll, reply.error_of_response()) {
            (_, Some(refusal)) if refusal.status == 404 || is_poll_denied(&refusal) => Ok(None),
            // The operation's own address refuses only to tell; the result's tells how the operation ended.
            (PollTarget::Operation { .. }, Some(refusal)) => Err(error(refusal, what)),
            (_, Some(refusal)) => match error(refusal, what) {
                error if error.is_retryable() => Err(error),
                error => Ok(Some(OperationStatus::Failed(error))),
            },
            (PollTarget::Operation { .. }, None) => Ok(Some(match status(reply.body.get("status"), reply.status) {
                ProvisioningStatus::Succeeded => OperationStatus::Done,
                ProvisioningStatus::InProgress => OperationStatus::InProgress(poll.clone(), wait),
                ProvisioningStatus::Failed => OperationStatus::Failed(failure_of_operation(&reply, what)),
            })),
            (_, None) if reply.status == 202 => Ok(Some(OperationStatus::InProgress(self.poll_target(&reply), wait))),
            (_, None) => Ok(Some(OperationStatus::Done)),
        }
    }

    /// The next page of a list, at the address that the page before gave.
    pub(super) async fn next_page(&self, url: &str, tenant: Option<&str>, what: &str) -> PortResult<Value> {
        match Url::parse(url) {
            Ok(parsed) if self.is_ours(url) => {
                let reply = self.send(Request::new(parsed, Method::Get), None, tenant, what).await?;
                Ok(reply.check_status(what)?.body)
            }
            _ => Err(PortError::new(ErrorKind::Unavailable, format!("{what}: the next page lies elsewhere"))),
        }
    }

    /// What the answer to a change says of how far it is.
    pub(super) fn initial_status(&self, reply: &ArmResponse, what: &str) -> OperationStatus {
        // What was merely accepted may still show the state of the time before.
        match status(reply.body.pointer("/properties/provisioningState"), reply.status) {
            ProvisioningStatus::Failed if reply.status != 202 => {
                OperationStatus::Failed(failure_of_operation(reply, what))
            }
            ProvisioningStatus::Succeeded if reply.status != 202 => OperationStatus::Done,
            _ => OperationStatus::InProgress(self.poll_target(reply), reply.wait()),
        }
    }

    /// Where an answer says to ask. Only addresses of Resource Manager itself are followed, as the token goes with them.
    fn poll_target(&self, reply: &ArmResponse) -> PollTarget {
        let header =
            |name: &HeaderName| reply.headers.get_optional_str(name).filter(|url| self.is_ours(url)).map(str::to_owned);
        if let Some(url) = header(&ASYNC_OPERATION) {
            return PollTarget::Operation { url };
        }
        header(&LOCATION).map_or(PollTarget::Resource, |url| PollTarget::Result { url })
    }

    fn is_ours(&self, url: &str) -> bool {
        // Regional addresses such as westeurope.management.azure.com are Resource Manager's too.
        let of = |url: &Url| url.host_str().map(str::to_owned).zip(url.port_or_known_default());
        let (Ok(url), Some((own, own_port))) = (Url::parse(url), of(&self.endpoint)) else { return false };
        url.scheme() == "https"
            && of(&url)
                .is_some_and(|(host, port)| port == own_port && (host == own || host.ends_with(&format!(".{own}"))))
    }

    async fn send(
        &self,
        mut request: Request,
        body: Option<&Value>,
        tenant: Option<&str>,
        what: &str,
    ) -> PortResult<ArmResponse> {
        request.insert_header("accept", "application/json");
        if let Some(body) = body {
            request.insert_header("content-type", "application/json");
            request.set_body(body.to_string());
        }
        let mut context = Context::new();
        if let Some(tenant) = tenant {
            context = context.with_value(Tenant(tenant.to_owned()));
        }
        let options = PipelineSendOptions { skip_checks: true, ..PipelineSendOptions::default() };
        let sent = self.pipeline.send(&context, &mut request, Some(options)).await;
        let (status, headers, body) = sent.map_err(|error| port_error(what, &error))?.deconstruct();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(ArmResponse { status: status.into(), headers, body })
    }
}

impl ArmResponse {
    /// What it refuses, if it does.
    pub(super) fn error_of_response(&self) -> Option<ErrorResponse> {
        let failed = !(200..300).contains(&self.status);
        failed.then(|| ErrorResponse::read(self.status, &self.headers, self.body.to_string().as_bytes()))
    }

    /// The answer, or the error that it is, told of `what`.
    pub(super) fn check_status(self, what: &str) -> PortResult<Self> {
        match self.error_of_response() {
            None => Ok(self),
            Some(refusal) => Err(error(refusal, what)),
        }
    }

    fn wait(&self) -> Duration {
        retry_after(&self.headers).unwrap_or(DEFAULT_POLL_INTERVAL)
    }
}

/// Whether it is the look at an operation that is refused, and not the operation. Operations lie beside resource groups, in
/// `SUBSCRIPTION/providers/Microsoft.Compute/locations`, where a role that was given on a group does not reach.
fn is_poll_denied(refusal: &ErrorResponse) -> bool {
    refusal.code == "AuthorizationFailed" && refusal.message.contains("/locations/")
}

enum ProvisioningStatus {
    Succeeded,
    InProgress,
    Failed,
}

/// What an answer with an HTTP status says of its operation's or resource's state. Source: Resource Manager, asynchronous
/// operations: Succeeded, Failed and Canceled are ends, all else is under way; without a word of it, the HTTP status tells.
fn status(said: Option<&Value>, http: u16) -> ProvisioningStatus {
    match said.and_then(Value::as_str) {
        Some("Succeeded") => ProvisioningStatus::Succeeded,
        Some("Failed" | "Canceled") => ProvisioningStatus::Failed,
        None if http != 202 => ProvisioningStatus::Succeeded,
        _ => ProvisioningStatus::InProgress,
    }
}
