//! Codes that only `goldfleet doctor` reports.

use super::Code;

pub(super) static CODES: &[Code] = &[
    Code {
        codes: &["no-targets"],
        cause: "No target in the targets file is enabled.",
        remedy: "Add targets, or enable some with `goldfleet targets enable`.",
    },
    Code {
        codes: &["region-unknown"],
        cause: "A target is in a region that is not known, but whose name is similar to a known one.",
        remedy: "Correct the region in the targets file.",
    },
    Code {
        codes: &["subscription-disabled"],
        cause: "The subscription is disabled and read-only.",
        remedy: "Enable the subscription, or disable its targets.",
    },
    Code {
        codes: &["region-not-available"],
        cause: "The subscription cannot create managed images in this region.",
        remedy: "Correct the region, or get access to it.",
    },
    Code {
        codes: &["account-kind", "account-hierarchical"],
        cause: "Storage accounts of this kind do not support page blobs.",
        remedy: "Use a general-purpose v2 account without a hierarchical namespace.",
    },
    Code {
        codes: &["account-endpoint"],
        cause: "The blobs of the account have another address than the one in the configuration.",
        remedy: "Set `[cloud] blob_suffix`, or the endpoint of this account.",
    },
    Code {
        codes: &["account-not-found", "account-not-seen"],
        cause: "The storage account is in none of the subscriptions that the identity can read.",
        remedy: "Correct `account`, or assign the role Reader on the account.",
    },
    Code {
        codes: &["account-firewall", "store-firewall"],
        cause: "The firewall of the account blocks this machine, or the services that copy from the store.",
        remedy: "Run workers in a network that the account allows, or change its network rules.",
    },
    Code {
        codes: &["account-rights"],
        cause: "The identity lacks permissions on the account's data.",
        remedy: "Assign the role that the finding names.",
    },
    Code {
        codes: &["copy-scope"],
        cause: "The account accepts copies only from accounts of its tenant or virtual network (`allowedCopyScope`).",
        remedy: "Check that the stores belong to it, or remove the restriction.",
    },
    Code {
        codes: &["shared-key", "public-blobs"],
        cause: "The account accepts account keys, or allows public containers. goldfleet uses neither.",
        remedy: "Turn it off with the `az storage account update` command that the finding shows.",
    },
];
