//! Codes of dispatches by snapshots: why one is refused, what it loses, and why an operation fails.

use super::Code;

pub(super) static CODES: &[Code] = &[
    Code {
        codes: &["other-tenant"],
        cause: "A target, a hub or the place of a clone is in another tenant than the source: by its `tenant`, or by `[tenants]`. The \
                platform copies nothing between tenants.",
        remedy: "Select other targets; or use `upload --from`, and dispatch the uploaded version. `snapshots copy` copies a snapshot to \
                 another tenant.",
    },
    Code {
        codes: &["hub-missing"],
        cause: "No subscription and resource group is known in which the snapshot of a region can be created. The route \
                `region` needs a configured one.",
        remedy: "Give a `[[store]]` of the region `subscription` and `resource_group`; for copies of a disk or snapshot, enabling a \
                 target of the region suffices.",
    },
    Code {
        codes: &["encryption-set-missing"],
        cause: "A customer's key encrypts the source, and a target or hub names no disk encryption set.",
        remedy: "Set `disk_encryption_set` of the target, or of the `[[store]]` that is the hub of the region.",
    },
    Code {
        codes: &["des-elsewhere"],
        cause: "A disk encryption set is in another subscription than the resources that should use it.",
        remedy: "Name a disk encryption set in the subscription and region of the target or hub.",
    },
    Code {
        codes: &["sink-foreign"],
        cause: "A resource has the name of the snapshot or disk that a target receives, and this fleet did not create it for this \
                version. It is never changed.",
        remedy: "Delete or rename that resource, or change `[images] name`; then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["sink-in-use"],
        cause: "A target has a snapshot or disk of this version with other content, and a machine or a SAS uses it.",
        remedy: "Detach the disk, or end the access to it; then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["snapshot-removed"],
        cause: "A dispatch of a disk takes one snapshot of it, which the job removed at its end. Another snapshot may have other \
                content, and all targets of a job get the same.",
        remedy: "Dispatch the disk again: that replaces the version at all targets. A dispatch of a snapshot can be retried.",
    },
    Code {
        codes: &["data-disks"],
        cause: "The version has more than 15 disks, which is the most that the route `region` delivers.",
        remedy: "Dispatch it with `--route staging`.",
    },
    Code {
        codes: &["disk-incomplete", "disk-corrupt"],
        cause: "The service confirmed writes to the disk of a region, and the disk has no data or other bytes there. No snapshot \
                of it was created.",
        remedy: "Run `goldfleet retry JOB`, which writes what is missing again. If it fails again, report it to the platform.",
    },
    Code {
        codes: &["data-disks-unknown"],
        cause: "A note: the service does not state which data disks a gallery version has that others share. Only its OS disk is copied.",
        remedy: "Nothing needs to be done if it has none. Otherwise create a machine from it, and use `vm:ID`.",
    },
    Code {
        codes: &["trusted-launch-lost"],
        cause: "A note: the source has Trusted Launch. A managed image has no security type.",
        remedy: "Nothing needs to be done. To keep Trusted Launch, let targets receive snapshots or disks (`sinks`).",
    },
];
