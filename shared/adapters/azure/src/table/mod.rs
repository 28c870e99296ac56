//! A thin client of the Table service on the SDK's pipeline, limited to the needs of the job table.
//!
//! There is no maintained crate for tables. Source of the protocol: Azure Storage, Table service REST API, with JSON
//! and minimal metadata, which includes the ETag of each row.

mod batch;

use azure_core::http::headers::HeaderName;
use azure_core::http::{Context, Method, Pipeline, PipelineSendOptions, RawResponse, Request, Url};
use goldfleet_ports::ETag;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::pages::Pages;
use serde_json::{Map, Value, json};

use super::connection::{Connection, STORAGE_SCOPE};
use super::error::{ErrorResponse, incomplete, port_error};

/// The maximum number of actions in one transaction. Source: Table service, entity group transactions, 100.
pub(super) const MAX_ACTIONS: usize = 100;

/// The maximum number of rows in one response. Source: Table service, query timeout and pagination.
const MAX_PAGE: usize = 1000;

/// The maximum size of the JSON of all rows in one transaction, in bytes. Source: the limit is 4 MiB for the request;
/// the rest is for the parts around the rows.
pub(super) const MAX_BATCH_BYTES: usize = 3 * 1024 * 1024;

/// The protocol version: the first one in which an error names the account's tenant. Source: Azure SDKs for tables,
/// tenant discovery.
const VERSION: &str = "2020-12-06";

const ETAG: HeaderName = HeaderName::from_static("etag");
const NEXT_PARTITION: HeaderName = HeaderName::from_static("x-ms-continuation-nextpartitionkey");
const NEXT_ROW: HeaderName = HeaderName::from_static("x-ms-continuation-nextrowkey");
const JSON: &str = "application/json;odata=minimalmetadata";

/// The properties of a row by name, in the JSON of the service.
pub(super) type Entity = Map<String, Value>;

/// The partition key and row key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) partition: String,
    pub(super) row: String,
}

impl Key {
    /// Creates a key. All parts of keys consist of validated names, numbers and dots, so no key contains characters
    /// that the service forbids: `/ \ # ?` and control characters.
    pub(super) fn new(partition: impl Into<String>, row: impl Into<String>) -> Self {
        let key = Self { partition: partition.into(), row: row.into() };
        debug_assert!(
            !key.partition
                .chars()
                .chain(key.row.chars())
                .any(|c| matches!(c, '/' | '\\' | '#' | '?' | '\'') || c.is_control()),
            "{key:?}"
        );
        key
    }

    fn put_into(&self, mut entity: Entity) -> Entity {
        entity.insert("PartitionKey".to_owned(), json!(self.partition));
        entity.insert("RowKey".to_owned(), json!(self.row));
        entity
    }
}

/// One action of a transaction.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Adds a row. Fails if the row exists.
    Insert(Key, Entity),
    /// Writes properties of a row that must have this version. Keeps its other properties.
    Merge(Key, Entity, ETag),
    /// Removes a row of any version.
    Delete(Key),
}

impl Action {
    fn key(&self) -> &Key {
        match self {
            Self::Insert(key, _) | Self::Merge(key, ..) | Self::Delete(key) => key,
        }
    }
}

/// A table.
pub(super) struct Table {
    service: Url,
    name: String,
    pipeline: Pipeline,
}

impl Table {
    /// Opens the table `name` of the service at `endpoint`.
    pub(super) fn new(connection: &Connection, endpoint: &str, name: String) -> PortResult<Self> {
        let service = Url::parse(endpoint)
            .map_err(|error| PortError::new(ErrorKind::Invalid, format!("table_endpoint {endpoint:?}: {error}")))?;
        Ok(Self { service, name, pipeline: connection.pipeline(STORAGE_SCOPE) })
    }

    /// Creates the table if it does not exist.
    pub(super) async fn ensure(&self) -> PortResult<()> {
        let mut request = self.request(Method::Post, "Tables")?;
        set_json(&mut request, &json!({ "TableName": self.name }));
        match self.send(request).await {
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(()),
            sent => sent.map(drop),
        }
    }

    /// Adds a row.
    pub(super) async fn insert(&self, key: &Key, entity: Entity) -> PortResult<ETag> {
        let mut request = self.request(Method::Post, &self.name)?;
        set_json(&mut request, &Value::Object(key.put_into(entity)));
        self.etag(&self.send(request).await?)
    }

    /// Writes a row. Creates it if it does not exist.
    pub(super) async fn replace(&self, key: &Key, entity: Entity) -> PortResult<()> {
        let mut request = self.request(Method::Put, &self.row(key))?;
        set_json(&mut request, &Value::Object(entity));
        self.send(request).await.map(drop)
    }

    /// Writes properties of a row that must have the version `if_match`.
    pub(super) async fn merge(&self, key: &Key, entity: Entity, if_match: &ETag) -> PortResult<ETag> {
        let mut request = self.request(Method::Patch, &self.row(key))?;
        set_json(&mut request, &Value::Object(entity));
        request.insert_header("if-match", if_match.0.clone());
        self.etag(&self.send(request).await?)
    }

    /// Reads one row. Returns None if it does not exist.
    pub(super) async fn get(&self, key: &Key) -> PortResult<Option<Entity>> {
        let request = self.request(Method::Get, &self.row(key))?;
        match self.send(request).await {
            Ok(response) => Ok(Some(self.parse(&response)?)),
            // A missing table has another code. It is reported as an error, because the operator must create the table.
            Err(error) if error.code == "resource-not-found" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a row that must have the version `if_match`.
    pub(super) async fn delete(&self, key: &Key, if_match: &ETag) -> PortResult<()> {
        let mut request = self.request(Method::Delete, &self.row(key))?;
        request.insert_header("if-match", if_match.0.clone());
        self.send(request).await.map(drop)
    }

    /// Reads all rows that match `filter`, in the order of the keys. If `select` is given, reads only those properties.
    pub(super) async fn query(&self, filter: &str, select: Option<&str>) -> PortResult<Vec<Entity>> {
        self.query_some(filter, select, usize::MAX).await
    }

    /// Reads the first `limit` rows that match `filter`, in the order of the keys.
    pub(super) async fn query_some(&self, filter: &str, select: Option<&str>, limit: usize) -> PortResult<Vec<Entity>> {
        let top = limit.min(MAX_PAGE).to_string();
        let mut rows = Vec::new();
        let mut next: Option<(String, String)> = None;
        let mut pages = Pages::default();
        loop {
            let mut request = self.request(Method::Get, &format!("{}()", self.name))?;
            let mut pairs = vec![("$filter", filter)];
            pairs.extend(select.map(|select| ("$select", select)));
            if limit < MAX_PAGE {
                pairs.push(("$top", &top));
            }
            if let Some((partition, row)) = &next {
                pairs.push(("NextPartitionKey", partition));
                pairs.push(("NextRowKey", row));
            }
            set_query(request.url_mut(), &pairs);
            let response = self.send(request).await?;
            let headers = response.headers();
            let continued =
                |name: &HeaderName| headers.get_optional_str(name).filter(|value| !value.is_empty()).map(str::to_owned);
            next = continued(&NEXT_PARTITION).map(|partition| (partition, continued(&NEXT_ROW).unwrap_or_default()));
            let Page { value } = self.parse(&response)?;
            rows.extend(value);
            if next.is_none() || rows.len() >= limit {
                rows.truncate(limit);
                return Ok(rows);
            }
            if let Some((partition, row)) = &next {
                pages.check(&format!("{partition}/{row}"), &self.name)?;
            }
        }
    }

    /// Applies actions to rows of one partition atomically. Returns the versions of the written rows in order.
    pub(super) async fn transact(&self, actions: &[Action]) -> PortResult<Vec<ETag>> {
        let one_partition = actions.windows(2).all(|pair| pair[0].key().partition == pair[1].key().partition);
        if actions.is_empty() || actions.len() > MAX_ACTIONS || !one_partition {
            let message = format!("a transaction has 1 to {MAX_ACTIONS} actions on rows of one partition");
            return Err(PortError::new(ErrorKind::Invalid, message));
        }
        let mut request = self.request(Method::Post, "$batch")?;
        let (content_type, body) = batch::write(actions, |action| match action {
            Action::Insert(..) => self.url(&self.name).map(String::from),
            Action::Merge(key, ..) | Action::Delete(key) => self.url(&self.row(key)).map(String::from),
        })?;
        request.insert_header("content-type", content_type);
        request.set_body(body);
        let response = self.send(request).await?;
        let answers = batch::read(response.body()).map_err(|refusal| refusal.into_port_error(self.what()))?;
        if answers.len() != actions.len() {
            return Err(self.incomplete("part for every action"));
        }
        let written = actions.iter().zip(answers).filter(|(action, _)| !matches!(action, Action::Delete(_)));
        written.map(|(_, etag)| etag.ok_or_else(|| self.incomplete("ETag"))).collect()
    }

    fn row(&self, key: &Key) -> String {
        format!("{}(PartitionKey='{}',RowKey='{}')", self.name, key.partition, key.row)
    }

    fn url(&self, path: &str) -> PortResult<Url> {
        let base = self.service.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{path}")).map_err(|error| PortError::new(ErrorKind::Invalid, error.to_string()))
    }

    fn request(&self, method: Method, path: &str) -> PortResult<Request> {
        let mut request = Request::new(self.url(path)?, method);
        request.insert_header("accept", JSON);
        request.insert_header("dataserviceversion", "3.0;NetFx");
        request.insert_header("maxdataserviceversion", "3.0;NetFx");
        request.insert_header("x-ms-version", VERSION);
        Ok(request)
    }

    async fn send(&self, mut request: Request) -> PortResult<RawResponse> {
        let options = PipelineSendOptions { skip_checks: true, ..PipelineSendOptions::default() };
        let sent = self.pipeline.send(&Context::new(), &mut request, Some(options)).await;
        let response = sent.map_err(|error| port_error(self.what(), &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(ErrorResponse::read(status.into(), response.headers(), response.body()).into_port_error(self.what()))
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, response: &RawResponse) -> PortResult<T> {
        serde_json::from_slice(response.body()).map_err(|_| self.incomplete("JSON that can be read"))
    }

    fn etag(&self, response: &RawResponse) -> PortResult<ETag> {
        let etag = response.headers().get_optional_str(&ETAG);
        etag.map(|etag| ETag(etag.to_owned())).ok_or_else(|| self.incomplete("ETag"))
    }

    fn what(&self) -> String {
        format!("table {}", self.name)
    }

    fn incomplete(&self, part: &str) -> PortError {
        incomplete(self.what(), part)
    }
}

#[derive(serde::Deserialize)]
struct Page {
    value: Vec<Entity>,
}

fn set_json(request: &mut Request, body: &Value) {
    request.insert_header("content-type", "application/json");
    // Without this header the response to an insert contains the whole row.
    request.insert_header("prefer", "return-no-content");
    request.set_body(body.to_string());
}

fn set_query(url: &mut Url, pairs: &[(&str, &str)]) {
    url.query_pairs_mut().clear().extend_pairs(pairs);
    // Not every server decodes `+` as a blank. A literal plus sign is already encoded as %2B.
    let query = url.query().unwrap_or_default().replace('+', "%20");
    url.set_query(Some(&query));
}
