//! What Resource Manager's refusals and failed operations mean.
//!
//! Codes decide, those of the parts of a composed error included. Compute answers most of what is wrong with a VHD with
//! `InvalidParameter` and a sentence: only then does the sentence decide, without the addresses and ids in it, which
//! contain names that an operator chose.

use goldfleet_ports::error::{ErrorKind, PortError};

use super::arm::ArmResponse;
use super::error::ErrorResponse;

/// Codes that are transient whatever the status. Source: Azure, common error messages of virtual machines.
const TRANSIENT_CODES: [&str; 8] = [
    "OperationPreempted",
    "RetryableError",
    "InternalExecutionError",
    "StorageAccountTooBusy",
    "StorageAccountOperationInternalError",
    "ResourceUpdateBlockedOnPlatformUpdate",
    // No host is free at the moment. Source: Azure, allocation failures.
    "AllocationFailed",
    "ZonalAllocationFailed",
];

/// Codes that are transient as the result of an asynchronous operation. A response with such a code has a status that
/// says the same. Source: Azure, common error messages of virtual machines; asynchronous operations of Resource
/// Manager.
const TRANSIENT_RESULTS: [&str; 9] = [
    "InternalOperationError",
    "InternalDiskManagementError",
    "InternalError",
    "OperationTimedOut",
    "ServerTimeout",
    "ServiceUnavailable",
    "Conflict",
    "AnotherOperationInProgress",
    "RetryableErrorDueToAnotherOperation",
];

/// Codes by which an asynchronous operation says that the service limits requests.
const THROTTLED_RESULTS: [&str; 2] = ["TooManyRequests", "SubscriptionRequestsThrottled"];

/// The reason that an operation gives for its failure.
pub(super) fn failure_of_operation(reply: &ArmResponse, what: &str) -> PortError {
    let mut refusal = ErrorResponse::read(reply.status, &reply.headers, reply.body.to_string().as_bytes());
    // The response itself is a success. What failed is the operation.
    refusal.status = 400;
    if refusal.code.is_empty() {
        refusal.code = "OperationFailed".to_owned();
    }
    let has = |codes: &[&str]| codes_of(&refusal).any(|code| codes.contains(&code));
    let kind = if has(&THROTTLED_RESULTS) {
        Some(ErrorKind::Throttled)
    } else if has(&TRANSIENT_RESULTS) || has(&TRANSIENT_CODES) {
        Some(ErrorKind::Unavailable)
    } else {
        None
    };
    let error = error(refusal, what);
    PortError { kind: kind.unwrap_or(error.kind), ..error }
}

/// A refusal with the reason that operators see, if the service's code does not state it well enough.
pub(super) fn error(refusal: ErrorResponse, what: &str) -> PortError {
    let parts = refusal.details.iter().map(|(code, message)| (code.as_str(), message.as_str()));
    let mut own_and_parts = std::iter::once((refusal.code.as_str(), refusal.message.as_str())).chain(parts);
    let is_image = !names_other_resource(what);
    let code = own_and_parts.find_map(|(code, message)| error_code(code, message, is_image));
    let transient = codes_of(&refusal).any(is_transient_code);
    let mut error = refusal.into_port_error(what);
    if let Some(code) = code {
        error.code = code.to_owned();
    }
    error.kind = match error.code.as_str() {
        _ if transient => ErrorKind::Unavailable,
        "vhd-not-found" => ErrorKind::NotFound,
        // The platform says the same of a blob that its own service could not read for a moment.
        "vhd-not-accessible" => ErrorKind::Unavailable,
        // These come with the status of a conflict, but waiting does not help.
        "scope-locked" => ErrorKind::Locked,
        "read-only-disabled-subscription" => ErrorKind::Denied,
        "quota-exceeded" | "resource-quota-exceeded" => ErrorKind::Quota,
        "image-region-change" | "provider-not-registered" | "property-change-not-allowed" => ErrorKind::Invalid,
        _ => error.kind,
    };
    error
}

/// The code of a refusal, and those of its parts.
fn codes_of(refusal: &ErrorResponse) -> impl Iterator<Item = &str> {
    std::iter::once(refusal.code.as_str()).chain(refusal.details.iter().map(|(code, _)| code.as_str()))
}

/// Whether a code is transient whatever the status.
fn is_transient_code(code: &str) -> bool {
    TRANSIENT_CODES.contains(&code) || code.starts_with("InternalServerError")
}

/// Whether an error concerns another resource than an image. Sentences about a VHD are only read in errors of images.
fn names_other_resource(what: &str) -> bool {
    ["disks", "snapshots", "virtualMachines", "galleries"]
        .map(|kind| format!("/Microsoft.Compute/{kind}/"))
        .iter()
        .any(|part| what.contains(part.as_str()))
}

/// The reasons of [`goldfleet_ports::resources::ResourceService`].
fn error_code(code: &str, message: &str, is_image: bool) -> Option<&'static str> {
    Some(match code {
        // Source: Azure, quotas of virtual machines: "Operation could not be completed as it results in exceeding
        // approved … quota".
        "OperationNotAllowed" if message.to_ascii_lowercase().contains("quota") => "quota-exceeded",
        "RequestDisallowedByPolicy" => "policy-denied",
        "MissingSubscriptionRegistration" => "provider-not-registered",
        "SharingNotEnabled" | "ImageSharingDisabled" | "FeatureNotEnabled" => "image-sharing-off",
        "StorageAccountLocationMismatch" => "vhd-in-other-region",
        "StorageAccountSubscriptionMismatch" => "vhd-in-other-subscription",
        "BlobNotFound" | "DiskBlobNotFound" | "ImageBlobNotFound" | "StorageAccountNotFound" => "vhd-not-found",
        "InvalidResourceLocation" => "image-region-change",
        "IncorrectDiskBlobType" | "IncorrectImageBlobType" | "VHDSizeInvalid" | "InvalidVhd" | "VhdInvalid" => {
            "vhd-invalid"
        }
        "InvalidParameter" | "InvalidRequestContent" | "BadRequest" | "OperationFailed" if is_image => {
            return vhd_error_of_sentence(message);
        }
        _ => return None,
    })
}

/// What a sentence says about a VHD.
fn vhd_error_of_sentence(message: &str) -> Option<&'static str> {
    let words = without_addresses(message).to_ascii_lowercase();
    let says = |word: &str| words.contains(word);
    if !(says("blob") || says("vhd") || says("disk")) {
        None
    } else if says("sharing") {
        Some("image-sharing-off")
    } else if says("subscription") {
        Some("vhd-in-other-subscription")
    } else if says("location") || says("region") {
        Some("vhd-in-other-region")
    } else if says("not found") || says("does not exist") || says("could not be found") {
        Some("vhd-not-found")
    } else if says("not accessible") {
        Some("vhd-not-accessible")
    } else if says("cookie") || says("footer") || says("formatted as vhd") || says("page blob") || says("size") {
        Some("vhd-invalid")
    } else {
        None
    }
}

/// A sentence without the addresses and resource ids in it.
fn without_addresses(message: &str) -> String {
    message.split_whitespace().filter(|word| !word.contains('/')).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use azure_core::http::headers::Headers;
    use serde_json::json;

    use super::*;

    #[test]
    fn vhd_errors_are_classified_by_message() {
        let cases = [
            (
                "The source blob https://a/b belongs to a storage account in another subscription.",
                "vhd-in-other-subscription",
            ),
            ("The source blob https://a/b is not in the location westeurope.", "vhd-in-other-region"),
            ("The blob https://a/b could not be found.", "vhd-not-found"),
            // The words in an address are the operator's.
            ("The blob https://a/web-location/subscription.vhd could not be found.", "vhd-not-found"),
            ("The source blob https://a/region.vhd is not accessible.", "vhd-not-accessible"),
            ("The specified cookie value in VHD footer indicates that the disk is not supported.", "vhd-invalid"),
        ];
        for (message, expected) in cases {
            assert_eq!(error_code("InvalidParameter", message, true), Some(expected), "{message}");
        }
        assert_eq!(error_code("InvalidParameter", "The value of parameter name is invalid.", true), None);
        assert_eq!(error_code("InvalidParameter", "The size of the disk is invalid.", false), None);
    }

    #[test]
    fn published_error_codes_are_known() {
        let told = |code: &str| {
            let refusal = ErrorResponse { status: 400, code: code.to_owned(), ..ErrorResponse::default() };
            let error = error(refusal, "image");
            (error.kind, error.code)
        };
        assert_eq!(told("ImageBlobNotFound"), (ErrorKind::NotFound, "vhd-not-found".to_owned()));
        assert_eq!(told("IncorrectImageBlobType"), (ErrorKind::Invalid, "vhd-invalid".to_owned()));
        let elsewhere = (ErrorKind::Invalid, "vhd-in-other-subscription".to_owned());
        assert_eq!(told("StorageAccountSubscriptionMismatch"), elsewhere);
        assert_eq!(told("StorageAccountTooBusy"), (ErrorKind::Unavailable, "storage-account-too-busy".to_owned()));
        assert_eq!(told("StorageAccountLimitation"), (ErrorKind::Invalid, "storage-account-limitation".to_owned()));
    }

    fn failed(code: &str, details: &[&str]) -> PortError {
        let details: Vec<_> = details.iter().map(|code| json!({ "code": code, "message": "it failed" })).collect();
        let body = json!({ "status": "Failed", "error": { "code": code, "message": "it failed", "details": details } });
        failure_of_operation(&ArmResponse { status: 200, headers: Headers::new(), body }, "image")
    }

    #[test]
    fn platform_failures_of_operations_are_transient() {
        for code in TRANSIENT_RESULTS.iter().chain(&TRANSIENT_CODES) {
            assert!(failed(code, &[]).is_retryable(), "{code}");
            assert!(failed("OperationFailed", &[code]).is_retryable(), "{code} as a part");
        }
        assert_eq!(failed("TooManyRequests", &[]).kind, ErrorKind::Throttled);
        assert_eq!(failed("OperationNotAllowed", &["TooManyRequests"]).kind, ErrorKind::Throttled);
        assert_eq!(failed("QuotaExceeded", &[]).kind, ErrorKind::Quota);
    }

    #[test]
    fn parts_of_a_composed_error_give_the_reason() {
        let error = failed("OperationFailed", &["SomethingElse", "ImageBlobNotFound"]);
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::NotFound, "vhd-not-found"));
    }
}
