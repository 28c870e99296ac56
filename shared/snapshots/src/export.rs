//! Copies to another tenant: what cannot be copied that way.
//!
//! The platform copies nothing between tenants. So the source is read by a SAS, and what a SAS does not give is lost.

use crate::snapshot::{ExportPolicy, Snapshot};

/// Checks that the content of a source can be read by a SAS, and that it is all that a replica needs.
///
/// # Errors
/// The code and the reason, with what to do.
pub(crate) fn check(source: &Snapshot) -> Result<(), (&'static str, String)> {
    let refuse = |code, message: &str| Err((code, message.to_owned()));
    if source.disk_encryption_extension {
        return refuse(
            "ade-encrypted",
            "Azure Disk Encryption encrypts it with keys of a vault of its tenant: decrypt the disk, and take another snapshot",
        );
    }
    if let Some(kind) = &source.machine.security_type {
        let message = format!(
            "it has the security type {kind}, and the guest state of such a disk is not exported: take a snapshot of a disk \
             without a security type"
        );
        return Err(("security-not-exported", message));
    }
    if let Some(property) = export_fault(&source.export) {
        let message =
            format!("{property} denies its export, and a copy to another tenant needs a SAS: change the policy");
        return Err(("export-denied", message));
    }
    if source.size.is_none() {
        return refuse("size-unknown", "the service reports no size in bytes (diskSizeBytes), which an upload needs");
    }
    Ok(())
}

/// The property that denies a SAS for this machine.
fn export_fault(export: &ExportPolicy) -> Option<&'static str> {
    let is = |value: &Option<String>, denied: &[&str]| {
        value.as_ref().is_some_and(|value| denied.iter().any(|denied| value.eq_ignore_ascii_case(denied)))
    };
    if is(&export.network_access, &["DenyAll", "AllowPrivate"]) {
        return Some("networkAccessPolicy");
    }
    if is(&export.public_network_access, &["Disabled"]) {
        return Some("publicNetworkAccess");
    }
    is(&export.data_access_auth, &["AzureActiveDirectory"]).then_some("dataAccessAuthMode")
}
