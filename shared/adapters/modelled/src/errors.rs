//! The errors of the modelled cloud.

use std::time::Duration;

use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::blob_store::SourceRange;
use goldfleet_ports::error::{ErrorKind, PortError, SourceFault};

use super::limits::Limit;

pub(super) fn invalid(message: String) -> PortError {
    PortError::new(ErrorKind::Invalid, message)
}

pub(super) fn no_container(container: &Container) -> PortError {
    let message = format!("there is no container {container}");
    PortError::new(ErrorKind::NotFound, message).with_code("container-not-found")
}

pub(super) fn no_blob(blob: &BlobAddress) -> PortError {
    PortError::new(ErrorKind::NotFound, format!("there is no blob {blob}"))
}

pub(super) fn already_exists(blob: &BlobAddress) -> PortError {
    PortError::new(ErrorKind::AlreadyExists, format!("there is a blob {blob} already"))
}

pub(super) fn changed(blob: &BlobAddress) -> PortError {
    PortError::new(ErrorKind::Conflict, format!("{blob} is no longer in the version that was shown"))
}

pub(super) fn fenced(blob: &BlobAddress) -> PortError {
    PortError::new(ErrorKind::Fenced, format!("{blob}: a newer fence was taken"))
}

pub(super) fn no_source(source: &SourceRange) -> PortError {
    let message = format!("the source {} is not there", source.blob);
    PortError::new(ErrorKind::NotFound, message).with_source_fault(SourceFault::Missing)
}

pub(super) fn length_mismatch(source: &SourceRange, length: u64) -> PortError {
    corrupt(source, &format!("the blob has {length} bytes"))
}

pub(super) fn corrupt(source: &SourceRange, why: &str) -> PortError {
    let (blob, range) = (&source.blob, &source.range);
    let message = format!("the source {blob}, bytes {} to {}: {why}", range.start, range.end);
    PortError::new(ErrorKind::Corrupt, message).with_source_fault(SourceFault::Corrupt)
}

pub(super) fn bytes_not_stored(blob: &BlobAddress) -> PortError {
    let message = format!("{blob}: the modelled cloud has not kept these bytes, only checksums of whole pieces");
    PortError::new(ErrorKind::Invalid, message).with_code("bytes-not-kept")
}

pub(super) fn no_answer(blob: &BlobAddress, source: &SourceRange) -> PortError {
    PortError::new(ErrorKind::Unavailable, format!("{blob} from {}: the service said nothing", source.blob))
}

pub(super) fn server_busy(limit: Limit, name: &str, after: Duration) -> PortError {
    let message = format!("{name} is too busy: {}", limit.as_str());
    PortError::new(ErrorKind::Throttled, message).with_code("server-busy").with_retry_after(after)
}

pub(super) fn too_many_requests(after: Duration) -> PortError {
    let message = "too many requests to Resource Manager for one subscription";
    PortError::new(ErrorKind::Throttled, message).with_code("too-many-requests").with_retry_after(after)
}
