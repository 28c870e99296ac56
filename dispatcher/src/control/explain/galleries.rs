//! Codes of galleries: why a version is not published, and why it is not promoted.

use super::Code;

pub(super) static CODES: &[Code] = &[
    Code {
        codes: &["gallery-version-name"],
        cause: "A gallery of the targets file receives the image, and the name of the version is not three numbers with dots between \
                them.",
        remedy: "Use a version such as 2026.11.1, or limit `images` of the `[[gallery]]`.",
    },
    Code {
        codes: &["galleries-not-served"],
        cause: "A job by the route `staging` publishes to no gallery, because galleries receive versions from golden snapshots. The message \
                names the galleries.",
        remedy: "Run the command of the message, which publishes the version, or set `[plan] route = \"region\"`.",
    },
    Code {
        codes: &["gallery-version-foreign"],
        cause: "The gallery has a version of that name that this fleet did not create, or that has another content. It is never changed, \
                and a version cannot get another content.",
        remedy: "Use another version.",
    },
    Code {
        codes: &["version-soft-deleted"],
        cause: "A version of this name was deleted, and the gallery has a policy to keep deleted versions for some days. Until then no other \
                version can get the name.",
        remedy: "Restore it (a PUT with `restore: true`) and dispatch again: goldfleet adopts it if it has the same content. Or use another \
                 version.",
    },
    Code {
        codes: &["gallery-missing", "parent-resource-not-found"],
        cause: "The gallery does not exist, or it was deleted.",
        remedy: "Create the gallery, or correct `name`, `subscription` and `resource_group` of the `[[gallery]]`; then run `goldfleet retry \
                 JOB`.",
    },
    Code {
        codes: &["definition-missing"],
        cause: "The gallery has no image definition for the image, and `create_definition` is not set.",
        remedy: "Create the definition, or set `create_definition = true` of the `[[gallery]]`; then dispatch again.",
    },
    Code {
        codes: &["definition-differs"],
        cause: "The image definition has another value than the configuration for a property that cannot be changed. The message \
                names it.",
        remedy: "Change the `[[gallery]]`, or name another `definition`; then dispatch again.",
    },
    Code {
        codes: &["gallery-versions-limit"],
        cause: "`doctor`: an image definition has nearly as many versions as a subscription may have in a region.",
        remedy: "Delete versions that nothing uses, or have the limit raised.",
    },
    Code {
        codes: &["gallery-disk-too-large"],
        cause: "A gallery receives the version, and one of its disks is larger than 2 TiB, the most that a replicated version can have.",
        remedy: "Limit `images` of the `[[gallery]]`, or use smaller disks.",
    },
    Code {
        codes: &["gallery-region-failed"],
        cause: "The version is not ready in some regions. The message names them with the reason that the service gives. Each was taken \
                out of the version and added again once. All other regions are ready.",
        remedy: "Repair what the reason names, or remove the region from the `[[gallery]]`; then run `goldfleet retry JOB`, which handles \
                 only these regions.",
    },
    Code {
        codes: &["gallery-image-not-found"],
        cause: "A gallery version cannot be used in the region of a disk. The service says so for minutes after a replication is complete.",
        remedy: "Nothing needs to be done: goldfleet tries again until the region counts as failed.",
    },
    Code {
        codes: &[
            "required-parameter-missing",
            "region-removal-not-allowed",
            "cannot-delete-resource",
            "invalid-parameter",
        ],
        cause: "The service refused a change of a gallery, an image definition or a version. The message names the reason.",
        remedy: "Correct what the message names; then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["not-published"],
        cause: "`promote`: a gallery of the targets file receives the image, and does not have the version.",
        remedy: "Dispatch it: an uploaded version with `--route region`, a disk or snapshot with `--from SOURCE`.",
    },
    Code {
        codes: &["not-ready"],
        cause: "`promote`: the version is missing or not ready in a wanted region of a gallery.",
        remedy: "Wait until `goldfleet status JOB` shows the regions as ready, or run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["not-verified"],
        cause: "`promote`: no successful result of `goldfleet verify` is recorded for this content of the version.",
        remedy: "Run `goldfleet verify JOB` for the job that published the version.",
    },
    Code {
        codes: &["latest-backwards"],
        cause: "`promote`: a newer version is the latest one. Versions are compared as numbers: 1.0.10 is newer than 1.0.9.",
        remedy: "Promote a newer version, or use `--backwards`.",
    },
    Code {
        codes: &["latest-foreign"],
        cause: "`promote --backwards`: a newer version is the latest one, and this fleet did not create it. It is never changed.",
        remedy: "Set `excludeFromLatest` of that version yourself.",
    },
];
