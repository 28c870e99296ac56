//! Codes of jobs, copies and images.

use super::Code;

pub(super) static CODES: &[Code] = &[
    Code {
        codes: &["not-plannable"],
        cause: "The job could not be planned; the reason says why.",
        remedy: "Correct the targets file or the configuration, and dispatch again.",
    },
    Code {
        codes: &["not-listed"],
        cause: "The source group of a sync or copy could not be listed, so nothing was decided and nothing changed.",
        remedy: "Create the resource group or grant the permission that the reason names; then run the command again.",
    },
    Code {
        codes: &["ring-stopped"],
        cause: "The target was not started because an operation of an earlier ring did not succeed.",
        remedy: "Fix the failure in the earlier ring, then run `goldfleet retry JOB`: the rings then follow each other again.",
    },
    Code {
        codes: &["predecessor-failed"],
        cause: "The operation was not started because an earlier operation at its place failed or was cancelled.",
        remedy: "Fix the failure that the reason names, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["gate-broken"],
        cause: "The operation was not started because an operation that it waits for did not succeed; the reason names it.",
        remedy: "Fix the failure that the reason names, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["source-not-found"],
        cause: "No store that the operation can read from has the chunk.",
        remedy: "Upload the version again: only what its store lacks is sent. Then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["source-corrupt"],
        cause: "The chunk arrived with wrong bytes from every store that has it: it is corrupt there, or was corrupted in transit.",
        remedy: "Run `goldfleet retry JOB`. If it fails again, run `goldfleet verify JOB --read --remove` to delete damaged chunks from the stores. Upload the version again, \
                 then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["source-denied"],
        cause: "The store's account does not let the target's account read it (a firewall, or a SAS whose key was revoked), or \
                does not give the worker a key for a SAS.",
        remedy: "Run `goldfleet doctor` to check firewalls and roles, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["source-unavailable"],
        cause: "No store that has the chunk can be read at the moment.",
        remedy: "Wait until the accounts of the stores respond again, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["fenced"],
        cause: "Another worker took over the VHD.",
        remedy: "Run `goldfleet retry JOB`. If it happens again, check whether two fleets have the same targets.",
    },
    Code {
        codes: &["worker-lost"],
        cause: "One worker after another disappeared while it ran the operation.",
        remedy: "Check the logs of the workers (out of memory?), then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["vhd-foreign"],
        cause: "A blob that goldfleet did not create is at the place of the VHD.",
        remedy: "Delete or rename the blob, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["vhd-not-found", "vhd-invalid"],
        cause: "The staged VHD is missing, or is not a fixed VHD.",
        remedy: "Run `goldfleet retry JOB`: the VHD is copied again, then the image is created. If the platform rejects a VHD \
                 that is complete, delete that VHD first.",
    },
    Code {
        codes: &["vhd-not-accessible"],
        cause: "The platform cannot read the staged VHD. goldfleet retries this, up to `worker.max_attempts` times.",
        remedy: "Check that the network rules of the staging account let the platform read it, then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["vhd-in-other-subscription", "vhd-in-other-region"],
        cause: "The staging account is not in the subscription or region of the target.",
        remedy: "Correct `account` of the target, and dispatch again.",
    },
    Code {
        codes: &["image-foreign"],
        cause: "An image with this name exists that goldfleet did not create, or created from another golden image or version. \
                `web` 1-2 and `web-1` 2 have the same name, and names are not case-sensitive.",
        remedy: "Delete or rename that image; or change `[images] name`, and dispatch again.",
    },
    Code {
        codes: &["image-region-change"],
        cause: "An image with this name exists in another region.",
        remedy: "Delete that image; or add `{region}` to `[images] name`, and dispatch again.",
    },
    Code {
        codes: &["image-vanished", "image-failed", "operation-failed"],
        cause: "The platform lost the image while it was created, or failed without a code.",
        remedy: "Run `goldfleet retry JOB`. If it fails again, ask Azure support, with the request id.",
    },
    Code {
        codes: &["image-not-removed"],
        cause: "The platform reported that it deleted an image with other content, but the image still exists.",
        remedy: "Run `goldfleet retry JOB`. If it fails again, delete the image.",
    },
    Code {
        codes: &["manifest-changed"],
        cause: "The version was deleted and uploaded again after the job was created, or its manifest is damaged.",
        remedy: "Dispatch the version again. If the reason says that the manifest cannot be read, see `manifest-damaged`.",
    },
    Code {
        codes: &["artifact-damaged"],
        cause: "The artifact record in the source store cannot be read.",
        remedy: "Delete the version with `goldfleet cleanup --image NAME --version V`, and upload it again.",
    },
    Code {
        codes: &["artifact-version"],
        cause: "A later release of goldfleet wrote the artifact record, in a format that this release does not read.",
        remedy: "Update goldfleet.",
    },
    Code {
        codes: &["manifest-damaged", "manifest-missing"],
        cause: "The manifest of a disk cannot be read, or is not in the source store.",
        remedy: "Upload the same source as the same image and version again: the upload writes the manifest again.",
    },
    Code {
        codes: &["manifest-version"],
        cause: "Another release of goldfleet uploaded the version, in a format that this release does not read.",
        remedy: "If an earlier release did: delete this version with `goldfleet cleanup --image NAME --version V` and upload \
                 it again. If a later release did: update goldfleet.",
    },
    Code {
        codes: &["row-damaged"],
        cause: "A row of the tables cannot be read, or is missing. It is set aside: everything that does not need it continues, and a job that needs it ends as failed.",
        remedy: "Check whether all processes have the same release (`goldfleet version`), and who else writes to the tables. Restore the row and run `goldfleet retry JOB`; or dispatch again. Nothing is deleted that the row might name: if it cannot be restored, delete it from the table.",
    },
];
