//! The content of disks and snapshots behind a SAS: a page blob that allows Get Page Ranges, ranged reads and page
//! writes, and refuses everything else.
//!
//! Source: Azure, Get Page Ranges, Get Blob, status and error codes; azure-storage-azcopy, `ste/sender-pageBlob.go`:
//! such blobs support neither tokens nor conditions. The content of an exported disk ends with the footer of a fixed
//! VHD.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use goldfleet_disk::Footer;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::behaviours::Renewal;
use super::disk_pages;
use super::disk_put::FAMILY;
use super::disks::{Disk, DiskKind};
use super::images::ImageState;
use super::response::ArmAnswer;
use super::route::Query;
use super::state::TenantState;

/// The resource type by which requests are counted, and selected for faults.
pub const CONTENT: &str = "content";

/// The size of a page.
const PAGE: usize = 512;

/// What a SAS gives access to.
#[derive(Debug, Clone)]
struct Grant {
    key: String,
    expires: Timestamp,
    writes: bool,
    url: String,
}

/// The contents of disks and snapshots, and the access to them.
#[derive(Debug, Clone)]
pub struct DiskData {
    /// Whether the content ends with the footer of a VHD.
    pub footers: bool,
    /// The number of ranges in a page of a list.
    pub ranges: usize,
    /// Contents by unique id, as far as they are not zero.
    contents: BTreeMap<String, Arc<Vec<u8>>>,
    /// Contents of the disks of images and gallery versions, by their ids in lower case and the LUN.
    pub(super) kept: BTreeMap<(String, Option<i64>), Arc<Vec<u8>>>,
    /// The footers that were written behind the contents, by unique id.
    written_footers: BTreeMap<String, Vec<u8>>,
    /// SAS by their signature.
    grants: BTreeMap<String, Grant>,
    /// The number of lists of differences that were answered.
    pub differences: usize,
    /// The bytes of contents that were read.
    pub bytes_read: u64,
    /// Requests that no client may send to such a blob.
    pub violations: Vec<String>,
}

impl Default for DiskData {
    /// Source: Azure, Get Page Ranges: a list has up to 10,000 ranges.
    fn default() -> Self {
        Self {
            footers: true,
            ranges: 10_000,
            contents: BTreeMap::new(),
            kept: BTreeMap::new(),
            written_footers: BTreeMap::new(),
            grants: BTreeMap::new(),
            differences: 0,
            bytes_read: 0,
            violations: vec![],
        }
    }
}

impl DiskData {
    /// The number of SAS that exist.
    #[must_use]
    pub fn access(&self) -> usize {
        self.grants.len()
    }

    /// Makes all existing SAS expire.
    pub fn expire(&mut self) {
        self.grants.clear();
    }

    /// Gives a SAS. The URL has the recorded form, at the address of the double.
    pub(super) fn give(
        &mut self,
        endpoint: &str,
        key: &str,
        now: Timestamp,
        (seconds, writes, renewal): (i64, bool, Renewal),
    ) -> String {
        let earlier = self.grants.values_mut().find(|grant| grant.key == key && grant.expires > now);
        if let (Renewal::SameUrl, Some(earlier)) = (renewal, earlier) {
            let lasts = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
            earlier.expires = now.checked_add(lasts).unwrap_or(Timestamp::MAX);
            return earlier.url.clone();
        }
        if renewal == Renewal::EndsFirst {
            self.end(key);
        }
        let id = || Uuid::new_v4().simple().to_string();
        let (signature, blob) = (id(), &id()[..12]);
        let lasts = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let expires = now.checked_add(lasts).unwrap_or(Timestamp::MAX);
        let url = format!("{endpoint}/md-{blob}/abcd?sv=2018-03-28&sr=b&si={}&sig={signature}", Uuid::new_v4());
        self.grants.insert(signature, Grant { key: key.to_owned(), expires, writes, url: url.clone() });
        url
    }

    /// Whether access to a resource exists.
    pub(super) fn has_access(&self, key: &str, now: Timestamp) -> bool {
        self.grants.values().any(|grant| grant.key == key && grant.expires > now)
    }

    /// The resource to which a SAS gives write access.
    pub(super) fn writable(&self, signature: &str, now: Timestamp) -> Result<String, ArmAnswer> {
        let grant = self.grants.get(signature).filter(|grant| grant.expires > now && grant.writes);
        grant.map(|grant| grant.key.clone()).ok_or_else(unauthenticated)
    }

    /// Sets the content of the disk with this unique id.
    pub(super) fn set(&mut self, unique_id: &str, content: Arc<Vec<u8>>) {
        self.contents.insert(unique_id.to_owned(), content);
    }

    /// Sets the footer behind the content of the disk with this unique id.
    pub(super) fn set_footer(&mut self, unique_id: &str, footer: &[u8]) {
        self.written_footers.insert(unique_id.to_owned(), footer.to_vec());
    }

    /// Ends all access to a resource.
    pub(super) fn end(&mut self, key: &str) {
        self.grants.retain(|_, grant| grant.key != key);
    }
}

pub(super) fn unique_id(disk: &Disk) -> String {
    disk.properties["uniqueId"].as_str().unwrap_or_default().to_owned()
}

impl TenantState {
    /// Adds a disk or snapshot that somebody created earlier.
    ///
    /// # Panics
    /// If the id is not complete.
    pub fn add_disk(&mut self, kind: DiskKind, id: &str, region: &str, properties: Value) {
        let parts: Vec<&str> = id.split('/').collect();
        self.disks.push(Disk {
            kind,
            subscription: parts[2].to_owned(),
            group: parts[4].to_owned(),
            name: parts[8].to_owned(),
            region: region.to_owned(),
            tags: BTreeMap::new(),
            members: BTreeMap::new(),
            properties,
            state: ImageState::Succeeded,
            arriving: None,
            source_gone: false,
            source_order: None,
        });
    }

    /// Writes bytes to the content of a disk, as a machine does. Copies keep what they have.
    ///
    /// # Panics
    /// If there is no such disk or snapshot.
    pub fn write_disk(&mut self, id: &str, offset: u64, bytes: &[u8]) {
        let key = id.to_ascii_lowercase();
        let disk = self.disks.iter().find(|disk| disk.key() == key).unwrap_or_else(|| panic!("there is no {id}"));
        let written = unique_id(disk);
        let mut content = (*self.content_of(disk)).clone();
        let copies: Vec<String> = self
            .disks
            .iter()
            .filter(|copy| copy.properties["creationData"]["sourceUniqueId"] == written.as_str())
            .map(unique_id)
            .collect();
        let before = Arc::new(content.clone());
        for copy in copies {
            self.disk_data.contents.entry(copy).or_insert_with(|| Arc::clone(&before));
        }
        let start = usize::try_from(offset).unwrap();
        content[start..start + bytes.len()].copy_from_slice(bytes);
        self.disk_data.contents.insert(written, Arc::new(content));
    }

    /// The bytes of the disk or snapshot with this name, without the footer.
    ///
    /// # Panics
    /// If there is no such disk or snapshot.
    #[must_use]
    pub fn disk_bytes(&self, name: &str) -> Arc<Vec<u8>> {
        let found = self.disks.iter().find(|disk| disk.name == name);
        self.content_of(found.unwrap_or_else(|| panic!("there is no {name}")))
    }

    /// The content of a disk or snapshot without the footer: its own, that of its source, or zeros.
    pub(super) fn content_of(&self, disk: &Disk) -> Arc<Vec<u8>> {
        let contents = &self.disk_data.contents;
        let mut id = unique_id(disk);
        loop {
            if let Some(content) = contents.get(&id) {
                return Arc::clone(content);
            }
            let found = self.disks.iter().find(|disk| unique_id(disk) == id);
            match found.and_then(|disk| disk.properties["creationData"]["sourceUniqueId"].as_str()) {
                Some(source) => id = source.to_owned(),
                None => break,
            }
        }
        Arc::new(vec![0; disk.properties["diskSizeBytes"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)])
    }
}

/// Whether a path is that of a content.
pub(super) fn is_content(path: &str) -> bool {
    path.starts_with("/md-")
}

/// The bytes behind a SAS.
struct Content {
    disk: Arc<Vec<u8>>,
    footer: Vec<u8>,
}

impl Content {
    fn length(&self) -> usize {
        self.disk.len() + self.footer.len()
    }

    fn bytes(&self, range: Range<usize>) -> Vec<u8> {
        let size = self.disk.len();
        let mut bytes = self.disk[range.start.min(size)..range.end.min(size)].to_vec();
        bytes.extend_from_slice(&self.footer[range.start.max(size) - size..range.end.max(size) - size]);
        bytes
    }
}

/// Answers a request for a content.
pub(super) fn answer(world: &mut TenantState, parts: &Parts, body: &[u8]) -> ArmAnswer {
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    if parts.method == Method::PUT && query.get("comp") == Some("page") && violation(parts).is_none() {
        return disk_pages::put(world, parts, &query, body);
    }
    match checked(world, parts, &query) {
        Ok(content) if query.get("comp") == Some("pagelist") => match parts.headers.get("x-ms-previous-snapshot-url") {
            Some(url) => difference(world, &content, (url.to_str().unwrap_or_default(), &query)),
            None => page_list(world, &content, query.get("marker")),
        },
        Ok(content) => read(world, parts, &content),
        Err(refusal) => refusal,
    }
}

/// The content to which the SAS of a request gives access.
fn checked(world: &mut TenantState, parts: &Parts, query: &Query) -> Result<Content, ArmAnswer> {
    let violation = violation(parts).or_else(|| {
        let is_read = parts.method == Method::GET && query.get("comp").is_none_or(|comp| comp == "pagelist");
        (!is_read).then_some("an unsupported operation")
    });
    if let Some(what) = violation {
        world.disk_data.violations.push(format!("{} with {what}", parts.method));
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "UnsupportedHeader",
            "The request is not supported by this blob.",
        ));
    }
    let now = world.clock.now();
    let signature = query.get("sig").unwrap_or_default();
    let grant = world.disk_data.grants.get(signature).filter(|grant| grant.expires > now);
    let disk = grant.and_then(|grant| world.disks.iter().find(|disk| disk.key() == grant.key));
    let found = disk.ok_or_else(unauthenticated)?;
    let (disk, written) = (world.content_of(found), world.disk_data.written_footers.get(&unique_id(found)));
    let footer = world.disk_data.footers.then(|| Footer::fixed_for(disk.len() as u64, Uuid::new_v4().as_u128()));
    let footer = footer.map_or_else(Vec::new, |footer| footer.to_bytes().to_vec());
    Ok(Content { disk, footer: written.cloned().unwrap_or(footer) })
}

/// What no client may send to such a blob.
fn violation(parts: &Parts) -> Option<&'static str> {
    let conditions = [
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "x-ms-lease-id",
        "x-ms-if-sequence-number-le",
    ];
    if parts.headers.contains_key(header::AUTHORIZATION) {
        Some("a token")
    } else if conditions.iter().any(|name| parts.headers.contains_key(*name)) {
        Some("a condition")
    } else if !parts.headers.contains_key("x-ms-version") {
        Some("no version")
    } else {
        None
    }
}

fn unauthenticated() -> ArmAnswer {
    let message = "Server failed to authenticate the request. Make sure the value of Authorization header is formed \
                   correctly including the signature.";
    refused(StatusCode::FORBIDDEN, "AuthenticationFailed", message)
}

/// The content to which a SAS gives access.
pub(super) fn content_for(world: &TenantState, signature: &str) -> Result<Arc<Vec<u8>>, ArmAnswer> {
    let grant = world.disk_data.grants.get(signature).filter(|grant| grant.expires > world.clock.now());
    let disk = grant.and_then(|grant| world.disks.iter().find(|disk| disk.key() == grant.key));
    disk.map(|disk| world.content_of(disk)).ok_or_else(unauthenticated)
}

/// Get Page Ranges of two incremental snapshots of one managed disk. Source: Azure, Get Page Ranges, and blob service
/// error codes.
fn difference(world: &mut TenantState, content: &Content, (url, query): (&str, &Query)) -> ArmAnswer {
    let now = world.clock.now();
    let granted = |world: &TenantState, query: &Query| {
        let grant = world.disk_data.grants.get(query.get("sig").unwrap_or_default());
        let key = grant.filter(|grant| grant.expires > now)?.key.clone();
        world.disks.iter().find(|disk| disk.key() == key).cloned()
    };
    let Some(to) = granted(world, query) else { return unauthenticated() };
    let Some(from) = granted(world, &Query::parse(url.split_once('?').unwrap_or_default().1)) else {
        return unauthenticated();
    };
    let refuse = |code| refused(StatusCode::CONFLICT, code, "The previous snapshot cannot be used.");
    let both = |name: &str| (&to.properties[name], &from.properties[name]);
    let (family, incremental, sizes) = (both(FAMILY), both("incremental"), both("diskSizeBytes"));
    if family.0.is_null() || family.0 != family.1 || incremental != (&json!(true), &json!(true)) || sizes.0 != sizes.1 {
        return refuse("PreviousSnapshotOperationNotSupported");
    }
    let time = |of: &Value| of.as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let created = both("timeCreated");
    if time(created.1) > time(created.0) {
        return refuse("PreviousSnapshotCannotBeNewer");
    }
    world.disk_data.differences += 1;
    let before = world.content_of(&from);
    let mut ranges: Vec<(&str, Range<usize>)> = Vec::new();
    for (n, (page, before)) in content.disk.chunks(PAGE).zip(before.chunks(PAGE)).enumerate() {
        if page == before {
            continue;
        }
        let kind = if page == [0; PAGE] { "ClearRange" } else { "PageRange" };
        match ranges.last_mut() {
            Some((last, range)) if *last == kind && range.end == n * PAGE => range.end += page.len(),
            _ => ranges.push((kind, n * PAGE..n * PAGE + page.len())),
        }
    }
    // Each export has another footer.
    if !content.footer.is_empty() {
        ranges.push(("PageRange", content.disk.len()..content.length()));
    }
    listed(world, content, query.get("marker"), &ranges)
}

/// Get Page Ranges.
fn page_list(world: &TenantState, content: &Content, marker: Option<&str>) -> ArmAnswer {
    let ranges: Vec<_> = page_ranges(content).into_iter().map(|range| ("PageRange", range)).collect();
    listed(world, content, marker, &ranges)
}

/// A page of a list of ranges.
fn listed(world: &TenantState, content: &Content, marker: Option<&str>, ranges: &[(&str, Range<usize>)]) -> ArmAnswer {
    let from = marker.and_then(|marker| marker.parse::<usize>().ok()).unwrap_or_default();
    let until = from.saturating_add(world.disk_data.ranges).min(ranges.len());
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><PageList>");
    for (kind, range) in &ranges[from.min(until)..until] {
        text += &format!("<{kind}><Start>{}</Start><End>{}</End></{kind}>", range.start, range.end - 1);
    }
    text += &match until < ranges.len() {
        true => format!("<NextMarker>{until}</NextMarker></PageList>"),
        false => "<NextMarker/></PageList>".to_owned(),
    };
    ArmAnswer::bytes(StatusCode::OK, "application/xml", text.into_bytes())
        .header("x-ms-blob-content-length", content.length().to_string())
}

fn page_ranges(content: &Content) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (n, page) in content.disk.chunks(PAGE).chain(content.footer.chunks(PAGE)).enumerate() {
        let at = n * PAGE..n * PAGE + page.len();
        match ranges.last_mut() {
            _ if page == [0; PAGE] => {}
            Some(last) if last.end == at.start => last.end = at.end,
            _ => ranges.push(at),
        }
    }
    ranges
}

/// Get Blob with a range. A range that ends behind the blob is cut, as at Azure.
fn read(world: &mut TenantState, parts: &Parts, content: &Content) -> ArmAnswer {
    let asked = ["x-ms-range", "range"].iter().find_map(|name| parts.headers.get(*name)?.to_str().ok());
    let bounds = asked.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let bounds = bounds.and_then(|(first, last)| Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?)));
    match bounds {
        Some((first, last)) if first <= last && first < content.length() => {
            let end = (last + 1).min(content.length());
            world.disk_data.bytes_read += (end - first) as u64;
            ArmAnswer::bytes(StatusCode::PARTIAL_CONTENT, "application/octet-stream", content.bytes(first..end))
                .header("content-range", format!("bytes {first}-{}/{}", end - 1, content.length()))
                .header("content-length", (end - first).to_string())
                .header("x-ms-blob-type", "PageBlob")
                .header("etag", "\"0x8D0\"")
                .header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        }
        _ => refused(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "The range specified is invalid."),
    }
}

pub(super) fn refused(status: StatusCode, code: &'static str, message: &str) -> ArmAnswer {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}\nRequestId:1</Message>\
         </Error>"
    );
    ArmAnswer::bytes(status, "application/xml", text.into_bytes()).header("x-ms-error-code", code)
}
