//! Copies inside the service: starting Copy Blob, and its status.

use std::collections::BTreeMap;

use azure_core::http::{NoFormat, Response};
use azure_storage_blob::BlobClient;
use azure_storage_blob::models::{
    BlobClientGetPropertiesResultHeaders as _, BlobClientStartCopyFromUrlOptions, BlobClientStartCopyFromUrlResult,
    BlobClientStartCopyFromUrlResultHeaders as _, CopyStatus as Sdk,
};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::{CopyState, CopyStatus};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult, SourceFault};

use crate::error::{incomplete, port_error, source_error};

/// The response to a request that starts a copy.
type StartCopyResponse = Response<BlobClientStartCopyFromUrlResult, NoFormat>;

pub(super) async fn start(
    client: &BlobClient,
    url: String,
    metadata: &BTreeMap<String, String>,
) -> azure_core::Result<StartCopyResponse> {
    let options = BlobClientStartCopyFromUrlOptions {
        if_none_match: Some("*".into()),
        metadata: Some(metadata.clone().into_iter().collect()),
        ..BlobClientStartCopyFromUrlOptions::default()
    };
    client.start_copy_from_url(url, Some(options)).await
}

/// Converts the error of a copy that did not start.
pub(super) fn start_error(blob: &BlobAddress, source: &BlobAddress, error: &azure_core::Error) -> PortError {
    let what = format!("{blob} from {source}");
    if let Some(said) = source_error(&what, error).filter(|said| said.kind == ErrorKind::NotFound) {
        return said.with_source_fault(SourceFault::Missing);
    }
    let error = port_error(what, error);
    // A missing container is the destination's. The service reports a missing source with a specific code or as a
    // missing blob.
    match (error.code.as_str(), error.kind) {
        ("cannot-verify-copy-source" | "blob-not-found" | "source-not-found", ErrorKind::NotFound) => {
            error.with_source_fault(SourceFault::Missing)
        }
        _ => error,
    }
}

pub(super) fn started(blob: &BlobAddress, source: &BlobAddress, begun: &StartCopyResponse) -> PortResult<CopyStatus> {
    let failed = |error: azure_core::Error| start_error(blob, source, &error);
    let id = begun.copy_id().map_err(failed)?.ok_or_else(|| incomplete(blob, "id of a copy"))?;
    let status = begun.copy_status().map_err(failed)?;
    Ok(CopyStatus { id, state: state(status.as_ref(), None, None) })
}

pub(super) async fn status(client: &BlobClient, blob: &BlobAddress) -> PortResult<Option<CopyStatus>> {
    let failed = |error: azure_core::Error| port_error(blob, &error);
    let properties = match client.get_properties(None).await.map_err(failed) {
        Ok(properties) => properties,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(id) = properties.copy_id().map_err(failed)? else { return Ok(None) };
    let progress = properties.copy_progress().map_err(failed)?;
    let reason = properties.copy_status_description().map_err(failed)?;
    let status = properties.copy_status().map_err(failed)?;
    Ok(Some(CopyStatus { id, state: state(status.as_ref(), progress.as_deref(), reason) }))
}

pub(super) async fn abort(client: &BlobClient, blob: &BlobAddress, id: &str) -> PortResult<()> {
    match client.abort_copy(id, None).await {
        Ok(_) => Ok(()),
        Err(error) => match port_error(blob, &error) {
            error if error.code == "no-pending-copy-operation" => Ok(()),
            error => Err(error),
        },
    }
}

fn state(status: Option<&Sdk>, progress: Option<&str>, reason: Option<String>) -> CopyState {
    match status {
        Some(Sdk::Success) => CopyState::Done,
        Some(Sdk::Aborted) => CopyState::Aborted,
        Some(Sdk::Failed) => CopyState::Failed(reason.unwrap_or_else(|| "the service does not say why".to_owned())),
        _ => {
            // The format is `COPIED/TOTAL`, in bytes.
            let counts = progress.and_then(|text| text.split_once('/'));
            let (done, total) = counts.map_or((0, 0), |(a, b)| (a.parse().unwrap_or(0), b.parse().unwrap_or(0)));
            CopyState::Pending { done, total }
        }
    }
}
