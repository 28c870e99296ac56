//! The properties of a storage account, and whether it can store what goldfleet needs.

use goldfleet_ports::inspector::{AccountFacts, CopyScope};

use super::Finding;

/// Why an account cannot store VHDs, which are page blobs. Source: Azure, types of storage accounts; known issues with
/// Data Lake Storage, where Put Page From URL is not supported.
pub(super) fn check_for_vhds(subject: &str, facts: &AccountFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !is_general_purpose(facts) {
        let message = format!("account {} is a {}, which does not support page blobs", facts.name, facts.kind);
        findings.push(Finding::error(subject, "account-kind", message, "use a general-purpose v2 account"));
    }
    if facts.hierarchical {
        let message = format!("account {} has a hierarchical namespace, so it does not support page blobs", facts.name);
        let remedy = "name an account without one; it cannot be disabled on an account";
        findings.push(Finding::error(subject, "account-hierarchical", message, remedy));
    }
    findings.extend(elsewhere(subject, facts));
    findings
}

/// Why an account cannot store chunks, which are block blobs. Source: Azure, page blobs with premium storage: premium
/// general-purpose accounts store page blobs only.
pub(super) fn check_for_chunks(subject: &str, facts: &AccountFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.kind == "FileStorage" || (facts.premium && is_general_purpose(facts)) {
        let premium = if facts.premium { "premium " } else { "" };
        let message =
            format!("account {} is a {premium}{}, which does not support block blobs", facts.name, facts.kind);
        let remedy = "use a standard general-purpose v2 account; for a region, name it in a [[store]]";
        findings.push(Finding::error(subject, "account-kind", message, remedy));
    }
    findings.extend(elsewhere(subject, facts));
    findings
}

/// Why an account rejects copies of blobs of other accounts. Source: Azure, permitted scope for copy operations.
pub(super) fn check_for_copies(subject: &str, facts: &AccountFacts, other_tenant: bool) -> Option<Finding> {
    let sources = match facts.copies_from {
        CopyScope::PrivateLinks => "with private links to its own virtual network",
        CopyScope::Tenant if other_tenant => "of its own tenant, which differs from the fleet's tenant",
        CopyScope::Tenant | CopyScope::All => return None,
    };
    let message = format!("account {} accepts copies only from accounts {sources}", facts.name);
    let remedy = "remove the limit (allowedCopyScope), or check that the stores from which it copies are within it";
    Some(Finding::warning(subject, "copy-scope", message, remedy))
}

/// Warns about an account with network restrictions. The service that copies from it is refused first, and then reads
/// on behalf of the worker that requested the copy. Source: Azure, copying blobs between storage accounts with network
/// restrictions.
pub(super) fn check_for_readers(subject: &str, facts: &AccountFacts) -> Option<Finding> {
    if !facts.is_closed() {
        return None;
    }
    let message =
        "its firewall denies public access: other accounts can copy from it only on behalf of workers that it admits";
    let remedy = "run all workers in networks that it admits (a private endpoint must be in the workers' own network); or \
                  allow all networks on it (it stays private: tokens only)";
    Some(Finding::warning(subject, "store-firewall", message, remedy))
}

fn elsewhere(subject: &str, facts: &AccountFacts) -> Option<Finding> {
    let endpoint = facts.elsewhere.as_ref()?;
    let message =
        format!("account {} has its blob endpoint at {endpoint}, which differs from the configured one", facts.name);
    let remedy =
        "check [cloud] environment, blob_suffix and blob_endpoint; or name an account with a standard endpoint";
    Some(Finding::error(subject, "account-endpoint", message, remedy))
}

fn is_general_purpose(facts: &AccountFacts) -> bool {
    matches!(facts.kind.as_str(), "StorageV2" | "Storage")
}
