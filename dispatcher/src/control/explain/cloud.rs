//! Codes of storage accounts, permissions and Resource Manager, and of the directory cloud that replaces them.

use super::Code;

pub(super) static CODES: &[Code] = &[
    Code {
        codes: &["list-endless"],
        cause: "The pages of a list that a service returns follow each other in a circle, or are too many.",
        remedy: "Run `goldfleet retry JOB`. If it fails again, give the reason to Azure support.",
    },
    Code {
        codes: &["account-unusable"],
        cause: "The storage account cannot be used. In the directory cloud: a file is in the place of the account's folder, or \
                the folder is not writable.",
        remedy: "Fix the account, then run `goldfleet retry JOB`; or correct `account` of the target, and dispatch again.",
    },
    Code {
        codes: &["container-not-found"],
        cause: "The container does not exist and could not be created.",
        remedy: "Create it, then run `goldfleet retry JOB`; or correct `container` of the target, and dispatch again.",
    },
    Code {
        codes: &["name-taken"],
        cause: "Directory cloud: a file is in the place of a folder, or a folder in the place of a file.",
        remedy: "Move it away, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["sidecar-damaged"],
        cause: "Directory cloud: the file with the properties of a blob cannot be read.",
        remedy: "Delete that file and the blob, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["disk-full"],
        cause: "Directory cloud: the disk is full.",
        remedy: "Free some disk space, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["blob-busy"],
        cause: "Directory cloud: another process held a blob for too long.",
        remedy: "Run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["storage-account-limitation", "storage-account-type-not-supported"],
        cause: "The staging account does not support page blobs, or has reached its quota.",
        remedy: "Set `account` of the target to another account (`goldfleet help deploy` describes suitable ones), and dispatch \
                 again.",
    },
    Code {
        codes: &["resource-group-not-found", "subscription-not-found"],
        cause: "It does not exist, or this identity may not see it.",
        remedy: "Create it or grant access, then run `goldfleet retry JOB`; or correct the target, and dispatch again.",
    },
    Code {
        codes: &["authorization-failed", "authorization-permission-mismatch", "linked-authorization-failed"],
        cause: "The identity lacks a permission; the reason names the action.",
        remedy: "Assign the role that `goldfleet doctor` names, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["authorization-failure"],
        cause: "The network rules of the account block the worker, or its `allowedCopyScope` forbids copies from the store.",
        remedy: "Run the workers in a network that the account allows, or remove that restriction; then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["credential-unavailable"],
        cause: "No credential gave a token: the sign-in service refused it, or could not be reached.",
        remedy: "Check the identity that `[cloud] credential` selects, and that the service can be reached.",
    },
    Code {
        codes: &["credential-not-set-up"],
        cause: "The credential needs something that this machine lacks: a program, an environment variable, a file, or a sign-in. \
                No service was asked.",
        remedy: "With `azure-cli` or `default`, install `az` and run `az login`; `goldfleet help configuration` lists what other \
                 credentials need. Then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["blob-immutable-due-to-policy", "blob-immutable-due-to-legal-hold"],
        cause: "A policy or a legal hold on the container prevents its blobs from being changed or deleted.",
        remedy: "Use a container without one: VHDs are written in place.",
    },
    Code {
        codes: &["invalid-header-value"],
        cause: "Most likely, this storage service does not support the service version that goldfleet requests.",
        remedy: "Run `goldfleet doctor`, and ask Azure support when that cloud or region gets the version.",
    },
    Code {
        codes: &["policy-denied"],
        cause: "A policy of the subscription forbids it; the reason names the policy.",
        remedy: "Get an exemption from the policy, or comply with it; then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["provider-not-registered"],
        cause: "The subscription is not registered for Microsoft.Compute.",
        remedy: "Run `az provider register --namespace Microsoft.Compute`, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["scope-locked"],
        cause: "A lock of the resource, its resource group or its subscription prevents the operation: any lock a deletion or a \
                replacement, a read-only lock also changes, new resources and access to disks. The reason names the lock.",
        remedy: "Remove the lock, then run `goldfleet retry JOB`; or, if an image must be replaced and the lock is not read-only, \
                 upload under a new version. goldfleet never removes a lock that it did not put.",
    },
    Code {
        codes: &["lock-unreadable"],
        cause: "Directory cloud: a file in a folder of locks is no lock. Nothing is deleted, because it may be meant as one.",
        remedy: "Correct or delete the file that the reason names, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["resource-unreadable"],
        cause: "The platform describes a resource in a way that this release cannot read; the reason names the property.",
        remedy: "Update goldfleet, then run `goldfleet retry JOB`. On a directory cloud, correct or remove the file.",
    },
    Code {
        codes: &["copy-source-not-found"],
        cause: "The source that a resource is created from does not exist.",
        remedy: "Check whether the VHD, disk or snapshot was deleted, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["copy-source-busy"],
        cause: "The source of a copy is not complete, or another snapshot of the same disk is being copied to the region. \
                goldfleet retries this.",
        remedy: "Wait until the copy or the upload that the reason names has ended, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["operation-not-allowed"],
        cause: "Azure does not allow the operation in the present state of the resource, for example while another copy of the \
                disk or access to it is in progress. goldfleet retries this.",
        remedy: "See the reason, wait until the other operation has ended, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["invalid-parameter"],
        cause: "Azure refuses a value in a request; the reason names it.",
        remedy: "Correct what the reason names. If goldfleet chose the value, report it with the reason and the request id.",
    },
    Code {
        codes: &["copy-limit-reached"],
        cause: "100 snapshots are being copied to the region in this subscription, the maximum. goldfleet retries this.",
        remedy: "Wait until some copies have ended, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["snapshot-order"],
        cause: "A newer snapshot of the same disk was copied to the region before, and the platform copies the snapshots of a \
                disk only in the order of their creation.",
        remedy: "Leave the older snapshot out; or delete the newer copies in the region, and copy the snapshots again in order.",
    },
    Code {
        codes: &["copy-source-not-incremental"],
        cause: "Only an incremental snapshot can be copied to another region, and the copy is incremental too.",
        remedy: "Create an incremental snapshot of the disk, and copy that.",
    },
    Code {
        codes: &["incremental-in-other-subscription"],
        cause: "An incremental snapshot of a disk can only be created in the subscription of the disk.",
        remedy: "Create the snapshot in the subscription of the disk, and copy it to the other subscription.",
    },
    Code {
        codes: &["create-option-unsupported"],
        cause: "The directory cloud and the modelled cloud create disks and snapshots by upload or as a copy only.",
        remedy: "Use Azure for this operation.",
    },
    Code {
        codes: &["linked-invalid-property-id"],
        cause: "The id of the source of an image, disk or snapshot is not that of a disk or snapshot which can be used there.",
        remedy: "Correct the id that the reason names, and run the command again.",
    },
    Code {
        codes: &["property-change-not-allowed"],
        cause: "A resource with this name exists, and was created from another source. The source cannot be changed.",
        remedy: "Delete or rename the existing resource, or choose another name; then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["region-change"],
        cause: "A disk or snapshot with this name exists in another region.",
        remedy: "Delete or rename the existing resource, or choose another name; then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["resource-type-mismatch"],
        cause: "A request for one type of resource was sent to the id of another type.",
        remedy: "This is a fault of goldfleet: report it with the reason.",
    },
    Code {
        codes: &["upload-size-invalid"],
        cause: "A disk can be uploaded if it has 20 MiB to 32 TiB, in whole sectors of 512 bytes.",
        remedy: "Check the size of the disk that the reason names; `goldfleet convert` rounds it up to whole MiB.",
    },
    Code {
        codes: &["access-not-supported"],
        cause: "Access was requested to a resource whose content cannot be read or written, or not in its present state.",
        remedy: "See the reason: it names the resource and the state that it must have.",
    },
    Code {
        codes: &["access-duration-invalid"],
        cause: "Access to a disk or snapshot was requested for longer than an hour, or for less than a second.",
        remedy: "This is a fault of goldfleet: report it with the reason.",
    },
    Code {
        codes: &["access-ended"],
        cause: "The access to the content of a disk or snapshot has expired or was ended, also after it was requested again.",
        remedy: "Check that no other program ends the access, and that no firewall rejects this machine. Then run the command again.",
    },
    Code {
        codes: &["disk-attached"],
        cause: "A machine has the disk, so its content cannot be read.",
        remedy: "Detach the disk or deallocate the machine, or use a snapshot of the disk.",
    },
    Code {
        codes: &["page-ranges-invalid"],
        cause: "The list of the ranges with data of a disk or snapshot is not in order or exceeds the content. Data could be missing.",
        remedy: "Run the command again. If it fails again, give the reason to Azure support.",
    },
    Code {
        codes: &["access-url-missing"],
        cause: "Azure granted access to a disk or snapshot, and its response has no URL.",
        remedy: "goldfleet retries. If it fails again, give the request id to Azure support.",
    },
    Code {
        codes: &["operation-status-denied"],
        cause: "The identity may start an operation of Resource Manager and may not read its status.",
        remedy: "Grant the identity the read action that the reason names, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["image-sharing-off"],
        cause: "The platform does not share images or disks of this subscription.",
        remedy: "Ask Azure support to turn the feature on.",
    },
    Code {
        codes: &["read-only-disabled-subscription"],
        cause: "The subscription is disabled and read-only.",
        remedy: "Enable the subscription, then run `goldfleet retry JOB`; or disable the target, and dispatch again.",
    },
    Code {
        codes: &["queue-not-found", "table-not-found"],
        cause: "The queues or tables do not exist.",
        remedy: "Run `goldfleet setup`.",
    },
    Code {
        codes: &["corrupt"],
        cause: "The service wrote other bytes than were sent, in every attempt.",
        remedy: "Run `goldfleet retry JOB`. If it fails again, the path to that account corrupts data: give the reason and the \
                 request id to the operator of the network or to Azure support.",
    },
    Code {
        codes: &["already-exists", "not-found", "denied", "invalid", "conflict", "throttled", "unavailable"],
        cause: "The service gave no code.",
        remedy: "See the reason and the request id.",
    },
];
