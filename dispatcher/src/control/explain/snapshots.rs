//! Codes of copies and syncs of snapshots: what a plan reports, and why an operation refuses to act.

use super::Code;

pub(super) static CODES: &[Code] = &[
    Code {
        codes: &["snapshot-foreign"],
        cause: "A snapshot has the name of a replica, and is not a replica that this sync created. It is never changed.",
        remedy: "Rename or delete that snapshot, or use another resource group for the replicas; then run the sync again.",
    },
    Code {
        codes: &["temporary-foreign"],
        cause: "A resource has the name of a temporary of this job, and does not have its tags. It is never changed.",
        remedy: "Delete or rename that resource, or use another `scratch` group; then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["security-not-exported"],
        cause: "The destination is in another tenant, and the source has a security type such as Trusted Launch. The guest state of \
                such a machine is not in the disk, so it cannot be exported. Nothing was begun.",
        remedy: "Copy it within its tenant. To another tenant, take a snapshot of a disk without a security type.",
    },
    Code {
        codes: &["size-unknown"],
        cause: "The destination is in another tenant, and the service reports no `diskSizeBytes` of the source, which an upload needs.",
        remedy: "Take another snapshot of the disk, and copy that.",
    },
    Code {
        codes: &["not-supported-here"],
        cause: "A probe (`goldfleet help probe`) found that the platform does not do what the copy or the image needs in this region, or \
                between these subscriptions. Nothing was begun.",
        remedy: "Do what the message says, or use another destination or route. If the platform changed, run the probe again: a newer \
                 result replaces this one, and each is used for 180 days.",
    },
    Code {
        codes: &["replica-outdated"],
        cause: "The source was deleted and created again under the same name, and the replica is of the earlier source.",
        remedy: "With `delete = \"mirror\"` a later run replaces the replica. Otherwise delete the replica, and run the sync again.",
    },
    Code {
        codes: &["replica-doubtful"],
        cause: "The service reports a failure for a replica, and does not show whether its content was complete before.",
        remedy: "Inspect the replica. If it is not usable, delete it, and run the sync again.",
    },
    Code {
        codes: &["replica-duplicate"],
        cause: "Two replicas of one source exist at a destination. Both are kept.",
        remedy: "Delete the one that nothing uses.",
    },
    Code {
        codes: &["replica-unconfirmed"],
        cause: "The service does not report which snapshot was copied, so nothing proves whose replica it is. It is not deleted.",
        remedy: "Delete the replica yourself if its source is gone.",
    },
    Code {
        codes: &["deletion-pending"],
        cause: "A replica is not needed any more. Only a second run, at least `grace` later, deletes it.",
        remedy: "Nothing needs to be done. To keep the replica, restore its source or the tag of its source.",
    },
    Code {
        codes: &["deletion-deferred"],
        cause: "A replica is not needed any more, and another copy still depends on it. A later run deletes it.",
        remedy: "Nothing needs to be done.",
    },
    Code {
        codes: &["too-many-deletions"],
        cause: "More replicas have no use than a run may delete, so none is deleted.",
        remedy: "Inspect them with `goldfleet snapshots list`. If all can be deleted, run the sync with `--max-deletes`.",
    },
    Code {
        codes: &["source-empty"],
        cause: "No source snapshot is selected at all, which is often a mistake in the filters. No replica is deleted.",
        remedy: "Correct the filters. If it is intended, run the sync with `--allow-empty`.",
    },
    Code {
        codes: &["destination-incomplete"],
        cause: "A destination could not be listed completely, so the run leaves it out.",
        remedy: "Create the resource group or grant the permission that the reason names; then run the sync again.",
    },
    Code {
        codes: &["source-unreadable"],
        cause: "A snapshot has a property that this program cannot read. It is not copied.",
        remedy: "Check whether a newer version of goldfleet supports it, or exclude it with `exclude_names`.",
    },
    Code {
        codes: &["locks-unlisted"],
        cause: "The locks of a destination could not be read, so replicas that were copied before `lock = true` stay without a lock.",
        remedy: "Grant the permission that the reason names; then run the sync again.",
    },
    Code {
        codes: &["replica-name-taken"],
        cause: "Two snapshots of a copy would get replicas of the same name, so only the first of them is copied.",
        remedy: "Use `{name}` in `--name`.",
    },
    Code {
        codes: &["replica-named-otherwise"],
        cause: "A replica of the snapshot exists under another name than `--name` demands. It is kept, and no other one is made.",
        remedy: "To have the other name, delete that replica, and copy again.",
    },
    Code {
        codes: &["destination-unreadable"],
        cause: "A snapshot at a destination has a property that this program cannot read. It counts as somebody else's, and is \
                never changed. If it has no readable id either, no replica is deleted there.",
        remedy: "Check whether a newer version of goldfleet supports it, or move it to another resource group.",
    },
    Code {
        codes: &["source-unknown", "list-inconsistent", "other-source-group"],
        cause: "A replica's source is not in the list of the source group, and nothing proves that it is gone. The replica is kept.",
        remedy: "Nothing needs to be done. If the sync has another source group now, delete replicas of the earlier one yourself.",
    },
    Code {
        codes: &["source-failed"],
        cause: "The service reports that a source snapshot failed, so its content may not be complete. It is not copied.",
        remedy: "Create the snapshot again.",
    },
    Code {
        codes: &["source-changed"],
        cause: "The source was deleted and created again when the copy began, so the copy is of another snapshot.",
        remedy: "Run the sync again. It deletes the wrong copy and makes a new one.",
    },
    Code {
        codes: &["source-gone"],
        cause: "The snapshot to copy was deleted after the run was planned.",
        remedy: "Nothing needs to be done: the next run plans without it.",
    },
    Code {
        codes: &["temporary-missing"],
        cause: "A temporary of the job that an operation copies does not exist: it was deleted, or the job removed it at its end.",
        remedy: "Run `goldfleet retry JOB`, which creates it again; or run the sync again.",
    },
    Code {
        codes: &["copy-failed"],
        cause: "The service could not copy the content of a disk or snapshot; the reason is the service's. goldfleet deletes what \
                the copy left behind and retries.",
        remedy: "See the reason, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["resource-vanished"],
        cause: "The service reported that it created a disk or snapshot, which does not exist.",
        remedy: "goldfleet retries. If it fails again, find out who deletes resources of that group.",
    },
    Code {
        codes: &["source-is-replica"],
        cause: "A selected snapshot is a replica or a temporary of goldfleet. Such snapshots are not copied.",
        remedy: "Copy its source, or exclude it with `exclude_names`.",
    },
    Code {
        codes: &["not-hydrated"],
        cause: "The content of the source is not complete yet.",
        remedy: "Nothing needs to be done: a later run copies it.",
    },
    Code {
        codes: &["not-kept"],
        cause: "The source is older than the replicas that `keep` retains, so it is not copied again.",
        remedy: "Nothing needs to be done. To have it, increase `keep`.",
    },
    Code {
        codes: &["ade-encrypted"],
        cause: "Azure Disk Encryption encrypts the content inside the operating system. A copy has no keys.",
        remedy: "Use encryption at host or a disk encryption set for the disk, and take a new snapshot.",
    },
    Code {
        codes: &["confidential"],
        cause: "The snapshot belongs to a confidential machine, whose disks cannot be copied.",
        remedy: "Leave it out with `exclude_names` or `exclude_tags`.",
    },
    Code {
        codes: &["encryption-set-missing"],
        cause: "A customer's key encrypts the source, and the destination names no disk encryption set.",
        remedy: "Set `disk_encryption_set` of the destination, or `--des`.",
    },
    Code {
        codes: &["des-elsewhere"],
        cause: "A disk encryption set is in another subscription or region than the resources that should use it.",
        remedy: "Name a disk encryption set in the subscription and region of the destination.",
    },
    Code {
        codes: &["scratch-missing"],
        cause: "A full snapshot is copied to another region through a temporary disk, and no `scratch` group is named.",
        remedy: "Set `scratch` of the sync, or `--scratch`, to a resource group in the subscription of the source; or take \
                 incremental snapshots.",
    },
    Code {
        codes: &["too-many-tags"],
        cause: "A replica needs 11 tags of goldfleet, and a resource has at most 50 tags.",
        remedy: "Remove tags from the source.",
    },
    Code {
        codes: &["more-findings"],
        cause: "A job's row holds at most 50 findings.",
        remedy: "Run the command with `--dry-run`: it shows all.",
    },
];
