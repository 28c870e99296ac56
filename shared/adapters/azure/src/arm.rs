//! A thin Resource Manager client on the SDK's pipeline: requests with an api-version, and long-running operations.

use std::time::Duration;

use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{ClientOptions, Context, Method, Pipeline, PipelineSendOptions, Request, Url};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::connection::Connection;
use super::error::{ErrorResponse, port_error, retry_after};
use super::failure::{error, failure_of_operation};
use super::policies::{Auxiliary, Tenant};

/// The poll interval if the service does not send one.
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(5);

const ASYNC_OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");
const LOCATION: HeaderName = HeaderName::from_static("location");

/// A Resource Manager client that uses the identity of the process.
#[derive(Clone)]
pub struct ResourceManager {
    endpoint: Url,
    pipeline: Pipeline,
    connection: Connection,
}

/// A response of Resource Manager.
pub(super) struct ArmResponse {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Value,
}

/// The address at which to poll an operation. Addresses are opaque, may contain a signature, and stay in memory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(super) enum PollTarget {
    /// The address of the operation. Its response contains the status.
    Operation {
        /// The address.
        url: String,
    },
    /// The address of the result. It returns 202 until the result exists.
    Result {
        /// The address.
        url: String,
    },
    /// The resource itself.
    Resource,
}

/// The status of a long-running operation.
pub(super) enum OperationStatus {
    /// It is done. The value is the last response: the result, or the status of the operation.
    Done(Value),
    InProgress(PollTarget, Duration),
    Failed(PortError),
}

impl ResourceManager {
    /// Creates a client for the Resource Manager at `endpoint`.
    ///
    /// # Errors
    /// Returns an error if `endpoint` is not a valid URL.
    pub fn new(connection: &Connection, endpoint: &str) -> PortResult<Self> {
        let endpoint = Url::parse(endpoint).map_err(|error| {
            PortError::new(ErrorKind::Invalid, format!("resource_manager_endpoint {endpoint:?}: {error}"))
        })?;
        let scope = format!("{}/.default", connection.identity().environment.resource_manager());
        Ok(Self { endpoint, pipeline: connection.pipeline(&scope), connection: connection.clone() })
    }

    /// Options for a client of a URL that contains its signature.
    pub(super) fn signed_options(&self) -> ClientOptions {
        self.connection.signed_options()
    }

    /// Sends a request for the resource at `path`, which begins with a slash. Returns the response with any status.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        api_version: &str,
        body: Option<&Value>,
        tenant: Option<&str>,
    ) -> PortResult<ArmResponse> {
        self.send(self.request(method, path, api_version)?, body, tenant, path).await
    }

    /// Sends a PUT that the service refuses with 412 if the resource exists.
    pub(super) async fn put_if_absent(
        &self,
        path: &str,
        api_version: &str,
        body: &Value,
        tenant: Option<&str>,
    ) -> PortResult<ArmResponse> {
        let mut request = self.request(Method::Put, path, api_version)?;
        request.insert_header("if-none-match", "*");
        self.send(request, Some(body), tenant, path).await
    }

    /// Sends a PUT for a resource with a source in another tenant, with a token of that tenant.
    pub(super) async fn put_linked(
        &self,
        path: &str,
        api_version: &str,
        body: &Value,
        tenant: Option<&str>,
        source_tenant: Option<&str>,
    ) -> PortResult<ArmResponse> {
        let context = Context::new().with_value(Auxiliary(source_tenant.map(str::to_owned)));
        let request = self.request(Method::Put, path, api_version)?;
        self.send_with(context, request, Some(body), tenant, path).await
    }

    fn request(&self, method: Method, path: &str, api_version: &str) -> PortResult<Request> {
        let base = self.endpoint.as_str().trim_end_matches('/');
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = Url::parse(&format!("{base}{path}{separator}api-version={api_version}"))
            .map_err(|error| PortError::new(ErrorKind::Invalid, format!("{path}: {error}")))?;
        Ok(Request::new(url, method))
    }

    /// Reads the resource at `path`. Returns None if it does not exist. A missing resource group or subscription is an
    /// error.
    pub(super) async fn get(&self, path: &str, api_version: &str, tenant: Option<&str>) -> PortResult<Option<Value>> {
        let reply = self.call(Method::Get, path, api_version, None, tenant).await?;
        match reply.error_of_response() {
            None => Ok(Some(reply.body)),
            Some(refusal)
                if refusal.status == 404
                    && matches!(refusal.code.as_str(), "ResourceNotFound" | "NotFound" | "ParentResourceNotFound") =>
            {
                Ok(None)
            }
            Some(refusal) => Err(error(refusal, path)),
        }
    }

    /// Polls an operation. Returns None if the address is unknown to the service or the identity may not read it. The
    /// caller then reads the resource instead.
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
            // An error from the address of the operation only means that the poll failed. An error from the address of
            // the result is the outcome of the operation.
            (PollTarget::Operation { .. }, Some(refusal)) => Err(error(refusal, what)),
            (_, Some(refusal)) => match error(refusal, what) {
                error if error.is_retryable() => Err(error),
                error => Ok(Some(OperationStatus::Failed(error))),
            },
            (PollTarget::Operation { .. }, None) => Ok(Some(match status(reply.body.get("status"), reply.status) {
                ProvisioningStatus::Succeeded => OperationStatus::Done(reply.body),
                ProvisioningStatus::InProgress => OperationStatus::InProgress(poll.clone(), wait),
                ProvisioningStatus::Failed => OperationStatus::Failed(failure_of_operation(&reply, what)),
            })),
            (_, None) if reply.status == 202 => Ok(Some(OperationStatus::InProgress(self.poll_target(&reply), wait))),
            (_, None) => Ok(Some(OperationStatus::Done(reply.body))),
        }
    }

    /// Reads the next page of a list at the address from the previous page.
    pub(super) async fn next_page(&self, url: &str, tenant: Option<&str>, what: &str) -> PortResult<Value> {
        match Url::parse(url) {
            Ok(parsed) if self.is_ours(url) => {
                let reply = self.send(Request::new(parsed, Method::Get), None, tenant, what).await?;
                let page = reply.check_status(what)?.body;
                if page.get("nextLink").and_then(Value::as_str) == Some(url) {
                    let message = format!("{what}: a page of the list names itself as the next one");
                    return Err(PortError::new(ErrorKind::Unavailable, message));
                }
                Ok(page)
            }
            _ => Err(PortError::new(ErrorKind::Unavailable, format!("{what}: the next page lies elsewhere"))),
        }
    }

    /// The status of a change according to the first response.
    pub(super) fn initial_status(&self, reply: &ArmResponse, what: &str) -> OperationStatus {
        // After 202, the body may still show the state before the change.
        match status(reply.body.pointer("/properties/provisioningState"), reply.status) {
            ProvisioningStatus::Failed if reply.status != 202 => {
                OperationStatus::Failed(failure_of_operation(reply, what))
            }
            ProvisioningStatus::Succeeded if reply.status != 202 => OperationStatus::Done(reply.body.clone()),
            _ => OperationStatus::InProgress(self.poll_target(reply), reply.wait()),
        }
    }

    /// The address that a response names for polling. Only addresses of Resource Manager itself are accepted, because
    /// the token is sent to them.
    fn poll_target(&self, reply: &ArmResponse) -> PollTarget {
        let header =
            |name: &HeaderName| reply.headers.get_optional_str(name).filter(|url| self.is_ours(url)).map(str::to_owned);
        if let Some(url) = header(&ASYNC_OPERATION) {
            return PollTarget::Operation { url };
        }
        header(&LOCATION).map_or(PollTarget::Resource, |url| PollTarget::Result { url })
    }

    fn is_ours(&self, url: &str) -> bool {
        // Regional addresses such as westeurope.management.azure.com also belong to Resource Manager.
        let of = |url: &Url| url.host_str().map(str::to_owned).zip(url.port_or_known_default());
        let (Ok(url), Some((own, own_port))) = (Url::parse(url), of(&self.endpoint)) else { return false };
        url.scheme() == "https"
            && of(&url)
                .is_some_and(|(host, port)| port == own_port && (host == own || host.ends_with(&format!(".{own}"))))
    }

    async fn send(
        &self,
        request: Request,
        body: Option<&Value>,
        tenant: Option<&str>,
        what: &str,
    ) -> PortResult<ArmResponse> {
        self.send_with(Context::new(), request, body, tenant, what).await
    }

    async fn send_with(
        &self,
        mut context: Context<'_>,
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
    /// The error of the response, or None for a success.
    pub(super) fn error_of_response(&self) -> Option<ErrorResponse> {
        let failed = !(200..300).contains(&self.status);
        failed.then(|| ErrorResponse::read(self.status, &self.headers, self.body.to_string().as_bytes()))
    }

    /// Returns the response, or its error with `what` in the message.
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

/// Whether the error refuses the poll and not the operation. Operations are outside resource groups, in
/// `SUBSCRIPTION/providers/Microsoft.Compute/locations`, which a role on a resource group does not cover.
fn is_poll_denied(refusal: &ErrorResponse) -> bool {
    refusal.code == "AuthorizationFailed" && refusal.message.contains("/locations/")
}

enum ProvisioningStatus {
    Succeeded,
    InProgress,
    Failed,
}

/// The state of an operation or resource according to a response with the HTTP status `http`. Source: Resource Manager,
/// asynchronous operations: Succeeded, Failed and Canceled are final, all other values mean in progress. Without a
/// value, the HTTP status decides.
fn status(said: Option<&Value>, http: u16) -> ProvisioningStatus {
    match said.and_then(Value::as_str) {
        Some("Succeeded") => ProvisioningStatus::Succeeded,
        Some("Failed" | "Canceled") => ProvisioningStatus::Failed,
        None if http != 202 => ProvisioningStatus::Succeeded,
        _ => ProvisioningStatus::InProgress,
    }
}
